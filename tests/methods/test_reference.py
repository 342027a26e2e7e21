"""Runs of every method beside a plain loop, after each step: parameters, target, statistics, centre, metrics, features."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from sslax.config import NetworkConfig, OptimizerConfig, to_dict
from sslax.methods import METHODS, base
from sslax.runs import RunDir
from sslax.training import Faults, TrainState, build, fit, loop
from tests import tiny
from tests.methods import reference, reference_later, reference_masked, reference_queues

reference.METHODS.update(reference_queues.METHODS | reference_masked.METHODS | reference_later.METHODS)

# Two epochs of three steps, and two images that are left over in each.
STEPS, IMAGES = 6, 26
CONVOLUTIONS = NetworkConfig(name="patch-resnet", width=4, patch_size=2)
# What of its tiny configuration a method changes: options, and fields of the configuration. Rates, decays and averages
# are so large that each shows within a step, and DINO's clip lies between the norms of its gradients.
OPTIONS = {
    "simclr": {},
    "byol": {"decay": 0.8},
    "dino": {"decay": 0.8, "clip": 0.5, "frozen_epochs": 1.0, "teacher_temperature_epochs": 2},
    "simsiam": {},
    "barlow-twins": {"off_diagonal": 0.1},
    "vicreg": {"halved": False},
    # Queues of two batches, which are written twice.
    "moco-v3": {"decay": 0.8, "queue": 16},
    "swav": {"queue": 16},
    "nnclr": {"queue": 16},
    "ibot": {"decay": 0.8, "clip": 3.0},
    "dinov2": {"decay": 0.8, "clip": 0.5, "group": 4, "patch_embedding_rate": 0.5},
    "mae": {},
    "lejepa": {"sigreg": 0.2},
}
# Stochastic depth, which draws by the key of the loss, as the masks do.
MASKED = {
    "network": NetworkConfig(name="vit-micro", width=8, depth=2, patch_size=2, drop_path=0.5),
    "optim": OptimizerConfig(name="adamw", lr=0.05, end_lr=0.02, weight_decay=0.5),
    "feed": "resident",
}
FIELDS = {
    "simclr": {
        # Stochastic depth, which draws by the key of the loss.
        "network": NetworkConfig(name="vit-micro", width=8, depth=2, patch_size=2, drop_path=0.5),
        "optim": OptimizerConfig(name="lars", lr=100.0, lr_scaling="linear", weight_decay=0.1),
        "feed": "resident",
    },
    "byol": {
        "network": CONVOLUTIONS,
        "optim": OptimizerConfig(name="sgd", lr=0.05, end_lr=0.02, weight_decay=0.1),
        "feed": "streamed",
    },
    "dino": {
        "network": CONVOLUTIONS,
        "optim": OptimizerConfig(
            name="adamw", lr=0.02, warmup="dino", end_lr=0.005, weight_decay=0.5, end_weight_decay=2.0, momentum=0.8
        ),
        "feed": "resident",
    },
    "simsiam": {
        "network": CONVOLUTIONS,
        "optim": OptimizerConfig(name="sgd", lr=0.5, end_lr=0.1, weight_decay=0.1),
        "feed": "resident",
    },
    "barlow-twins": {
        "network": CONVOLUTIONS,
        "optim": OptimizerConfig(name="lars", lr=250.0, bias_lr=1.0, lr_scaling="linear", lr_after_momentum=True),
        "feed": "resident",
    },
    "vicreg": {"network": CONVOLUTIONS, "optim": OptimizerConfig(name="adamw", lr=0.02), "feed": "resident"},
    "moco-v3": {"network": CONVOLUTIONS, "optim": OptimizerConfig(name="adamw", lr=0.02), "feed": "resident"},
    "swav": {"network": CONVOLUTIONS, "optim": OptimizerConfig(name="adamw", lr=0.02), "feed": "resident"},
    "nnclr": {"network": CONVOLUTIONS, "optim": OptimizerConfig(name="sgd", lr=0.1), "feed": "resident"},
    "ibot": MASKED | {"network": tiny.NETWORKS["ibot"]},
    "dinov2": MASKED,
    "mae": {
        "network": tiny.NETWORKS["mae"],
        "optim": OptimizerConfig(name="adamw", lr=0.02, b2=0.9),
        "feed": "resident",
    },
    "lejepa": {"network": CONVOLUTIONS, "optim": OptimizerConfig(name="adamw", lr=0.02), "feed": "streamed"},
}


def config(name):
    options, fields = tiny.OPTIONS[name], FIELDS[name]
    lengths = {"epochs": 2, "batch_size": 8, "log_every": 1, "eval_every": 0, "checkpoint_every": 2}
    fields = fields | {"optim": dataclasses.replace(fields["optim"], warmup_epochs=2 / 3)}
    options = dataclasses.replace(options, **OPTIONS[name])
    return tiny.config(name, method=options, on_collapse="ignore", **lengths, **fields)


def dataset():
    """Images that were squashed, each from an aspect of its own."""
    data = tiny.dataset(IMAGES)
    aspects = np.linspace(0.5, 2.0, IMAGES, dtype=np.float32)
    return dataclasses.replace(data, train=dataclasses.replace(data.train, aspects=aspects))


def start(built):
    """The state before the first step."""
    params, aux = tiny.drawn(built.method)
    # The memory of every optimiser is empty at first.
    memory = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), jax.eval_shape(built.tx.init, params))
    state = TrainState(np.int32(0), params, memory, aux, jax.random.key(3), Faults(np.int32(0), np.int32(-1)))
    return jax.device_put(state, jax.NamedSharding(built.mesh, jax.P()))


def recording(compiler, taken):
    """`compile_steps` or `compile_update`, whose programs leave a copy of what they return in `taken`."""

    def compiled(*arguments, **options):
        run = compiler(*arguments, **options)

        def recorded(*inputs):
            state, metrics, seen = run(*inputs)
            # On the host, as the next step takes the state's memory.
            taken.append(jax.tree.map(np.array, (state.params, state.aux, seen.features, seen.labels)))
            return state, metrics, seen

        return recorded

    return compiled


@pytest.fixture(scope="module", params=METHODS)
def both(request, tmp_path_factory):
    """The library's run and the plain loop, in float64: Adam turns the rounding of a gradient of 0 into a whole step."""
    own, data, taken, lines = config(request.param), dataset(), [], []
    with tiny.wide() as patch:
        for compiler in ("compile_steps", "compile_update"):
            patch.setattr(loop, compiler, recording(getattr(loop, compiler), taken))
        for module in (base, reference):
            patch.setattr(module, "make_views", tiny.plain_views)
        built = build(own, data, devices=jax.devices()[:1])
        state = start(built)
        patch.setattr(loop, "start_state", lambda config, built: state)
        begun = reference.wide((state.params, state.aux))
        plain = reference.train(own, data, *begun, state.key, STEPS)
        fit(own, built, data, RunDir(tmp_path_factory.mktemp("runs") / "run", to_dict(own)), follow=lines.append)
    return own, begun, taken, lines, plain


def close(found, wanted, what):
    found, wanted = reference.named(found), reference.named(wanted)
    assert found.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, atol=1e-5, err_msg=f"{name} {what}")


def test_every_step_is_that_of_the_plain_loop(both):
    _, _, taken, lines, plain = both
    assert len(taken) == len(lines) == len(plain) == STEPS
    for step, (found, line, wanted) in enumerate(zip(taken, lines, plain, strict=True)):
        params, aux, features, labels = found
        np.testing.assert_array_equal(labels, wanted.labels)
        close(features, wanted.features, f"of step {step}")
        close({name: line[name] for name in wanted.metrics}, wanted.metrics, f"of step {step}")
        close(params, wanted.params, f"after step {step}")
        close(aux, wanted.aux, f"after step {step}")


def test_every_part_shows_in_every_step(both):
    """Of the plain loop: a comparison says nothing of a part that does nothing here."""
    own, begun, _, _, plain = both
    method = reference.METHODS[own.method.NAME](own)
    states = [begun, *((step.params, step.aux) for step in plain)]
    for step, (before, after) in enumerate(itertools.pairwise(states)):
        before, after = (reference.named({"params": params, "aux": aux}) for params, aux in (before, after))
        for name, value in after.items():
            # The first rate is 0, but targets start elsewhere; of other arrays some have no gradient.
            moves = value.ndim > 1 and (step > 0 or name.startswith("aux"))
            # MoCo v3's decay after the last step is 1.
            moves = moves and not (name.startswith("aux/target/params") and method.ema(step, STEPS) == 1)
            if moves and not method.frozen(name, step, STEPS // own.epochs):
                assert np.abs(value - before[name]).max() > 1e-3, f"{name} in step {step}"
    for step in plain:
        if own.method.NAME in ("dino", "ibot"):
            assert min(step.norms.values()) < own.method.clip < max(step.norms.values())
