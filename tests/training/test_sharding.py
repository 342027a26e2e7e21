"""State that is sharded over the devices: its shardings, the bytes per device, and checkpoints for any number of devices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.config import NetworkConfig
from sslax.runs.checkpoints import Checkpoints
from sslax.training import build, start_state
from sslax.training.sharding import SMALL, spread
from sslax.training.state import initial_state
from tests import tiny


def configured(fsdp):
    """A BYOL run with heads wide enough to be sharded."""
    method = dataclasses.replace(tiny.OPTIONS["byol"], projector_hidden=512, projector_dim=128, predictor_hidden=512)
    network = NetworkConfig(name="patch-resnet", width=32, patch_size=2)
    return dataclasses.replace(tiny.config("byol"), method=method, network=network, fsdp=fsdp)


def shapes_on(devices, *, fsdp):
    """Shapes and shardings of the state of that run, and a key: all that a checkpoint needs."""
    b = build(configured(fsdp), tiny.dataset(), devices=jax.devices()[:devices])
    state = jax.eval_shape(initial_state(b.method, b.tx, b.image_shape, b.mesh, fsdp=fsdp), jax.random.key(1))
    placed = spread(state, b.mesh) if fsdp else jax.tree.map(lambda _: jax.NamedSharding(b.mesh, jax.P()), state)
    state = jax.tree.map(lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state, placed)
    return state._replace(key=jax.device_put(jax.random.key(1), placed.key))


@pytest.fixture(scope="module")
def state():
    config = configured(fsdp=True)
    return start_state(config, build(config, tiny.dataset()))


@pytest.mark.parametrize(
    ("shape", "cut"),
    [
        ((64, 128), (None, "data")),
        ((128, 64), ("data",)),
        ((3, 3, 64, 100), (None, None, "data")),
        ((SMALL,), ("data",)),
        ((SMALL - 8,), ()),
        ((99, 101), ()),
        ((), ()),
    ],
)
def test_the_largest_divisible_dimension_is_sharded(shape, cut):
    mesh = jax.make_mesh((8,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    assert spread(jax.ShapeDtypeStruct(shape, jnp.float32), mesh).spec == jax.P(*cut)


def test_eight_devices_store_about_one_copy(state):
    leaves = jax.tree.leaves((state.params, state.opt_state, state.aux))
    held = dict.fromkeys(jax.devices(), 0)
    for leaf in leaves:
        for shard in leaf.addressable_shards:
            held[shard.device] += shard.data.nbytes
    whole = sum(leaf.nbytes for leaf in leaves)
    assert sum(held.values()) < 1.25 * whole
    assert max(held.values()) == min(held.values())


def test_a_sharded_checkpoint_resumes_on_any_number_of_devices(state, tmp_path):
    """From eight devices to two, and to one with the whole state, bitwise equal."""
    saved = Checkpoints(tmp_path / "a")
    saved.save(state)
    for devices, fsdp in ((2, True), (1, False)):
        like = shapes_on(devices, fsdp=fsdp)
        found = saved.newest_whole(like)
        for was, now, there in zip(*map(jax.tree.leaves, (state, found.state, like)), strict=True):
            assert now.sharding == there.sharding
            if not jnp.issubdtype(now.dtype, jax.dtypes.prng_key):
                np.testing.assert_array_equal(np.asarray(now), np.asarray(was))
    saved.close()
