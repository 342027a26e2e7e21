"""Placement of a run's arrays: replicated on every device, or sharded over them (fully sharded data parallelism).

When sharded, each large array is split along one dimension, and a device stores and updates only its shard. Each step gathers
whole arrays for the loss and reduce-scatters the gradient. The state between steps (parameters, optimiser, targets) then
takes one copy over all devices; the gathered copies and the activations within a step take as much memory as without.

Source: Rajbhandari et al. 2020, arXiv:1910.02054, stage 3; Xu et al. 2020, arXiv:2004.13336.
"""

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from sslax.methods import Method

SMALL = 4096
"""Arrays with fewer elements are not sharded: biases, norms and their statistics."""


def spread(tree: PyTree, mesh: Mesh) -> PyTree:
    """A sharding for each array: along its largest dimension that the device count divides; small arrays are replicated.

    An array without such a dimension is replicated too.

    Args:
      tree: arrays, or their shapes and dtypes.
      mesh: a mesh with one axis.
    """

    def one(leaf) -> NamedSharding:
        fitting = [axis for axis, size in enumerate(leaf.shape) if size % mesh.size == 0]
        if leaf.size < SMALL or not fitting:
            return NamedSharding(mesh, PartitionSpec())
        longest = max(fitting, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * longest, *mesh.axis_names))

    return jax.tree.map(one, tree)


def gathering(method: Method, mesh: Mesh) -> Method:
    """Wrap `method` for sharded params and aux: its functions receive gathered arrays, and their results are sharded again."""
    everywhere = NamedSharding(mesh, PartitionSpec())

    @jax.custom_vjp
    def whole(tree):
        return jax.lax.with_sharding_constraint(tree, everywhere)

    # The constraint's own derivative would keep the gradients unsharded.
    whole.defvjp(lambda tree: (whole(tree), None), lambda _, gradient: (scatter(gradient),))

    def scatter(tree):
        return jax.lax.with_sharding_constraint(tree, spread(tree, mesh))

    def loss(params, aux, *rest):
        value, output = method.loss(whole(params), whole(aux), *rest)
        return value, output._replace(aux=scatter(output.aux))

    def gathered(function):
        def call(params, aux, *rest, **options):
            return function(whole(params), whole(aux), *rest, **options)

        return None if function is None else call

    return method._replace(
        loss=loss,
        embed=gathered(method.embed),
        attention=gathered(method.attention),
        patches=gathered(method.patches),
    )
