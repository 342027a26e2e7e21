"""Self-supervised visual representation learning in JAX: pure losses, methods as their papers define them, experiments."""

from sslax import augment, data, evaluation, losses, methods, networks, optim

__all__ = ["augment", "data", "evaluation", "losses", "methods", "networks", "optim"]
