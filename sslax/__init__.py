"""Self-supervised visual representation learning in JAX: pure losses, methods as their papers define them, experiments."""

from sslax import augment, data, evaluation, losses, methods, networks, optim, training
from sslax.training import load, pretrain

__all__ = ["augment", "data", "evaluation", "load", "losses", "methods", "networks", "optim", "pretrain", "training"]
