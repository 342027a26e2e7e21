"""`init` and `forward` of sslax.networks as a program each: called op by op, every op is a program of its own."""

import jax

from sslax import networks

init = jax.jit(networks.init, static_argnums=0)
forward = jax.jit(networks.forward, static_argnums=0, static_argnames=("train", "outputs"))
