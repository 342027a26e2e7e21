"""Where the arrays of a run are: on every device, or spread over them (fully sharded data parallelism).

Spread, each large array is cut along one dimension, and a device keeps and updates its piece alone. The loss sees whole
arrays, gathered for one step, and the gradient is scattered as it is summed. So what stays between steps (parameters,
optimiser, targets) takes one copy over all devices; the gathered copies and the activations of a step are as they were.

Source: Rajbhandari et al. 2020, arXiv:1910.02054, stage 3; Xu et al. 2020, arXiv:2004.13336.
"""

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import PyTree

from sslax.methods import Method

SMALL = 4096
"""Elements below which an array is not worth cutting: biases, norms and their statistics."""


def spread(tree: PyTree, mesh: Mesh) -> PyTree:
    """A sharding for each array: along its largest dimension that the devices divide, or whole where it is small or none is.

    Args:
      tree: arrays, or their shapes and types.
      mesh: of one axis.
    """

    def one(leaf) -> NamedSharding:
        fitting = [axis for axis, size in enumerate(leaf.shape) if size % mesh.size == 0]
        if leaf.size < SMALL or not fitting:
            return NamedSharding(mesh, PartitionSpec())
        longest = max(fitting, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*[None] * longest, *mesh.axis_names))

    return jax.tree.map(one, tree)


def gathering(method: Method, mesh: Mesh) -> Method:
    """`method` for parameters and aux that are spread: each of its functions sees them whole, and gives them back spread."""
    everywhere = NamedSharding(mesh, PartitionSpec())

    @jax.custom_vjp
    def whole(tree):
        return jax.lax.with_sharding_constraint(tree, everywhere)

    # The constraint's own derivative would keep whole gradients.
    whole.defvjp(lambda tree: (whole(tree), None), lambda _, gradient: (scatter(gradient),))

    def scatter(tree):
        return jax.lax.with_sharding_constraint(tree, spread(tree, mesh))

    def loss(params, aux, *rest):
        value, output = method.loss(whole(params), whole(aux), *rest)
        return value, output._replace(aux=scatter(output.aux))

    def embed(params, aux, *rest, **options):
        return method.embed(whole(params), whole(aux), *rest, **options)

    attention = method.attention

    def attend(params, aux, *rest):
        assert attention is not None, "only where there is one"
        return attention(whole(params), whole(aux), *rest)

    return method._replace(loss=loss, embed=embed, attention=None if attention is None else attend)
