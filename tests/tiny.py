"""A run small enough to train in a test: noise images of two classes, and a network with a few thousand parameters."""

import contextlib
import dataclasses
import functools
import inspect
import math
import sys

import jax
import numpy as np
import pytest

from sslax.augment import BYOLViews, DINOViews, LeJEPAViews, MAEViews, SimCLRViews
from sslax.config import Config, NetworkConfig, OptimizerConfig
from sslax.data import Dataset, Split
from sslax.evaluation import LinearProbe, linear_probe
from sslax.methods import (
    BYOL,
    DINO,
    IBOT,
    MAE,
    METHODS,
    NNCLR,
    BarlowTwins,
    DINOv2,
    LeJEPA,
    MoCoV3,
    SimCLR,
    SimSiam,
    SwAV,
    VICReg,
)
from sslax.networks import RESNETS, build_backbone
from sslax.training import Built, Embedder, Programs, build, compile_steps, compile_update, make_step, make_update
from sslax.training.nonfinite import guarded
from sslax.training.state import initial_state

SIZE = 8

# One entry for each of METHODS: the tests that are parametrised over the table run on these.
OPTIONS = {
    "simclr": SimCLR(views=SimCLRViews.small(SIZE), temperature=0.5, projector_dim=8),
    "byol": BYOL(views=BYOLViews.small(SIZE), projector_hidden=16, projector_dim=8, predictor_hidden=16),
    "dino": DINO(
        views=DINOViews.small(SIZE, local_crops=2),
        prototypes=24,
        head_layers=2,
        head_hidden=16,
        head_bottleneck=8,
        teacher_temperature_epochs=2,
    ),
    "simsiam": SimSiam(views=SimCLRViews.small(SIZE), projector_hidden=16, projector_dim=8, predictor_hidden=4),
    "barlow-twins": BarlowTwins(views=BYOLViews.small(SIZE), projector_hidden=16, projector_dim=8, projector_layers=2),
    "vicreg": VICReg(views=BYOLViews.small(SIZE), projector_hidden=16, projector_dim=8, projector_layers=2),
    "moco-v3": MoCoV3(
        views=BYOLViews.small(SIZE),
        projector_hidden=16,
        projector_dim=8,
        predictor_hidden=16,
        temperature=0.5,
        queue=32,
    ),
    "swav": SwAV(
        views=DINOViews.small(SIZE, local_crops=1),
        projector_hidden=16,
        projector_dim=8,
        prototypes=12,
        queue=32,
        queue_start_epoch=0,
    ),
    "nnclr": NNCLR(
        views=BYOLViews.small(SIZE),
        projector_hidden=16,
        projector_dim=8,
        projector_layers=2,
        predictor_hidden=16,
        queue=32,
    ),
    "ibot": IBOT(
        views=DINOViews.small(SIZE, local_crops=1),
        prototypes=24,
        head_layers=2,
        head_hidden=16,
        head_bottleneck=8,
        teacher_temperature_epochs=2,
    ),
    "dinov2": DINOv2(
        views=DINOViews.small(SIZE, local_crops=1),
        prototypes=24,
        patch_prototypes=16,
        head_layers=2,
        head_hidden=16,
        head_bottleneck=8,
        teacher_temperature_epochs=2,
        group=2,
    ),
    "mae": MAE(views=MAEViews(size=SIZE), decoder_width=8, decoder_depth=1, decoder_heads=2),
    "lejepa": LeJEPA(
        views=LeJEPAViews(size=SIZE, local_size=SIZE // 2, local_crops=1, blur=0.0),
        projector_hidden=16,
        projector_dim=8,
        projector_layers=2,
        directions=32,
    ),
}
# SimCLR on crops and flips alone: compiling the colour operations takes a third of the time of compiling a step.
PLAIN = dataclasses.replace(OPTIONS["simclr"], views=SimCLRViews(size=SIZE, jitter=0.0, grayscale=0.0, blur=0.0))
# DINO and those that mask patches on the network of their papers, the others on one with BatchNorm.
_VIT = NetworkConfig(name="vit-micro", width=8, depth=1, patch_size=2)
NETWORKS = dict.fromkeys(("dino", "ibot", "dinov2"), _VIT) | {"mae": dataclasses.replace(_VIT, initial="mae")}
assert OPTIONS.keys() == METHODS.keys()


def config(name: str = "simclr", **changes) -> Config:
    """A configuration of three short epochs."""
    base = Config(
        method=OPTIONS[name],
        network=NETWORKS.get(name, NetworkConfig(name="patch-resnet", width=4, patch_size=2)),
        optim=OptimizerConfig(lr=1e-2, warmup_epochs=1.0),
        epochs=3,
        batch_size=16,
        log_every=2,
        eval_every=3,
        checkpoint_every=1,
    )
    return dataclasses.replace(base, **changes)


def dataset(n: int = 64, labelled: bool = True) -> Dataset:
    """Two classes that differ in their mean colour."""
    rng = np.random.default_rng(0)

    def split(n):
        labels = (np.arange(n) % 2).astype(np.int32)
        images = rng.integers(0, 128, (n, SIZE, SIZE, 3)) + 100 * labels[:, None, None, None] * np.array([1, 0, 0])
        names = tuple(f"{i:04d}" for i in range(n))
        return Split(images.astype(np.uint8), labels if labelled else None, np.ones(n, np.float32), names)

    return Dataset("tiny", split(n), split(32), ("a", "b") if labelled else (), ())


@functools.cache
def built(config: Config) -> Built:
    """`build` for `dataset()`, with programs: runs of one configuration are then traced and compiled once."""
    return with_programs(config, build(config, dataset()))


def noisy(key, images, aspects):
    """Two views of an image, the image with noise of its own, in the place of a method's, which take longer to compile."""
    noise = jax.random.uniform(key, (2, *images.shape), minval=-0.2, maxval=0.2)
    shown = images.astype(noise.dtype) / 255
    return shown + noise[0], shown + noise[1]


def alone(config: Config) -> Built:
    """`built` on one device and with noisy views, for tests of what a run does around its steps.

    Runs that differ only in their lines, checkpoints, observers and source of images share their programs.
    """
    return _alone(dataclasses.replace(config, **{name: getattr(_PLAIN, name) for name in _APART}))


# What no program of a run depends on.
_APART = (
    *("log_every", "eval_every", "checkpoint_every", "keep_checkpoints", "online_probe", "on_collapse", "knn", "seed"),
    *("data", "canvas", "feed", "workers", "cache"),
)
_PLAIN = Config(method=OPTIONS["simclr"])


@functools.cache
def _alone(config: Config) -> Built:
    one = build(config, dataset(), devices=jax.devices()[:1])
    return with_programs(config, one._replace(method=one.method._replace(views=noisy)))


def with_programs(config: Config, built: Built) -> Built:
    """What `fit` would compile for itself in every run, which takes longer than to train so little."""
    assert (config.accumulate, config.steps_per_call, config.fsdp) == (1, None, False)
    take = make_step(
        built.method, built.tx, built.mesh, batch_size=config.batch_size, steps_per_epoch=built.steps_per_epoch
    )
    programs = Programs(
        initial_state(built.method, built.tx, built.image_shape, built.mesh),
        compile_steps(guarded(take, config.on_nan), built.mesh),
        compile_update(guarded(make_update(built.method, built.tx), config.on_nan), built.mesh),
        Embedder(built.method, built.mesh),
    )
    return built._replace(programs=programs)


def backbone(name: str):
    """The network that `config(name)` trains, without its stochastic depth."""
    network = config(name).network
    return build_backbone(
        network.name,
        image_size=SIZE,
        width=network.width,
        depth=network.depth,
        patch_size=network.patch_size,
        initial=network.initial,
        drop_path=0.0,
    )


def views(method, n: int = 16):
    """Noise in the place of a method's views, which take as long to compile as its loss."""
    shapes = jax.eval_shape(method.views, jax.random.key(1), dataset().train.images[:n])
    rng = np.random.default_rng(0)
    return jax.device_put(jax.tree.map(lambda x: rng.random(x.shape, np.float32), shapes))


def plain_views(key, images, recipe, *, aspects=None):
    """In the place of `make_views`, which takes as long to compile as a loss: noise over a corner of each image."""
    sizes = [branch.size for branch in recipe.branches().values()]
    x = images.astype(np.float32) / 255 * (1 if aspects is None else aspects[:, None, None, None])
    noise = jax.random.uniform(key, (len(sizes), *x.shape))
    return tuple((x[:, :size, :size] + own[:, :size, :size]) / 2 for own, size in zip(noise, sizes, strict=True))


def short_probe(*arguments, **options):
    """`linear_probe` in its place where its figures do not matter: its thousands of steps outlast a tiny run."""
    return linear_probe(*arguments, **options | {"steps": 20})


def drawn(method):
    """A method's parameters and aux of random numbers in float64, on the host: nothing is zero, alike or has to be compiled."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        name, normal = path[-1].key, rng.standard_normal(leaf.shape)
        if not np.issubdtype(leaf.dtype, np.floating):
            return np.zeros(leaf.shape, leaf.dtype)
        if name == "var":
            return np.exp(0.1 * normal)
        if len(leaf.shape) > 1:
            return normal / math.sqrt(math.prod(leaf.shape[:-1]))
        return (name == "scale") + 0.1 * normal

    shapes = jax.eval_shape(lambda key: method.init(key, (SIZE, SIZE, 3)), jax.random.key(0))
    return jax.tree.map_with_path(draw, shapes)


@contextlib.contextmanager
def wide():
    """Networks and losses in float64, where what differs by more than rounding is wrong, and one block in the patch ResNet."""
    with jax.enable_x64(True), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules[build.__module__], "compute_dtype", lambda precision: np.dtype(np.float64))
        patch.setitem(RESNETS, "patch-resnet", functools.partial(RESNETS["patch-resnet"], stages=(1,)))
        yield patch


def mean_probe(key, train, labels, test, test_labels, *, num_classes, **options):
    """Nearest class mean in the place of `linear_probe`, where its figures do not matter: no program to compile."""
    inspect.signature(linear_probe).bind(key, train, labels, test, test_labels, num_classes=num_classes, **options)
    train, labels, test = np.asarray(train), np.asarray(labels), np.asarray(test)
    present = np.unique(labels)
    means = np.stack([train[labels == label].mean(0) for label in present])
    predictions = present[np.square(test[:, None] - means).sum(-1).argmin(1)]
    accuracy = float((predictions == np.asarray(test_labels)).mean())
    return LinearProbe(accuracy, 0.1, 0.0, accuracy, predictions)


def start(method, seed: int = 0):
    """A method's parameters and aux before the first step, drawn by one program and not by one for every op."""
    return jax.jit(method.init, static_argnums=1)(jax.random.key(seed), (SIZE, SIZE, 3))
