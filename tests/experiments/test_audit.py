"""Every named configuration equals its source or states a reason for each difference; a changed recipe fails."""

import dataclasses
import pathlib
import types
import typing

import pytest

from experiments import audit
from experiments.ablations.table import changed
from experiments.sources import SOURCES
from experiments.sources.reading import READ
from sslax.errors import InputError
from sslax.networks import VITS
from sslax.networks.attention import Initial as ViTInitial
from sslax.networks.resnet import Initial
from sslax.recipes import CONFIGS

PAGE = pathlib.Path(__file__).resolve().parents[2] / "docs" / "recipes.md"
FOLLOWING = [name for name, source in SOURCES.items() if audit.rows_of(source)]


@pytest.fixture(scope="module")
def verdicts():
    return audit.audit()[0]


def ours(verdicts, name):
    return {v.row.what: v.ours for v in verdicts[name]}


def test_no_recipe_differs_from_its_source_without_a_reason():
    assert audit.audit()[1] == []


def test_the_page_is_up_to_date(verdicts):
    assert PAGE.read_text(encoding="utf-8") == audit.page(verdicts)


def test_every_configuration_has_a_source(verdicts):
    assert list(verdicts) == list(CONFIGS) == list(SOURCES)
    assert [name for name in CONFIGS if name not in FOLLOWING] == [name for name in CONFIGS if name.endswith("-digits")]
    with pytest.raises(InputError, match=r"^mine has no source; experiments/sources must have an entry"):
        audit.audit({"mine": CONFIGS["simclr-cifar10"]})


def test_every_number_that_can_be_read_is_in_some_source():
    assert {row.what for source in SOURCES.values() for row in source.rows} == READ.keys()


def test_the_learning_rates_and_losses_that_were_wrong_once(verdicts):
    assert ours(verdicts, "simclr-cifar10-long")["peak learning rate"] == 2.0
    assert ours(verdicts, "simclr-cifar10-long")["factor of the paper's loss"] == 2.0
    assert ours(verdicts, "byol-cifar10")["factor of the paper's loss"] == 0.25
    assert CONFIGS["byol-cifar10"].method.loss_scale == 0.25


@pytest.mark.parametrize(
    ("name", "path", "value", "sentence"),
    [
        ("simclr-cifar10-long", "optim.lr_scaling", "none", "peak learning rate is 1; it must be 2"),
        ("byol-cifar10", "method.loss_scale", 1.0, "factor of the paper's loss is 1; it must be 0.25"),
        ("simclr-cifar10", "optim.weight_decay", 1e-4, "weight decay is 0.0001; it must be 0.0005"),
        ("dino-cifar10", "method.views.global_area", (0.14, 1.0), "crop's area is 0.14, 1; it must be 0.4, 1"),
        ("byol-imagenette", "method.decay", 0.99, "decay of the moving average is 0.99; it must be 0.996"),
        ("dino-imagenet", "method.norm_last_layer", True, "gain of the last layer is 1; it must be learned"),
        ("simclr-imagenette", "method.views.blur", 0.0, "blur is 0; it must be 0.5"),
        ("dino-stl10", "epochs", 800, "epochs is 800; it must be 200"),
    ],
)
def test_a_changed_recipe_fails(name, path, value, sentence):
    found = audit.audit({name: changed(CONFIGS[name], {path: value})})[1]
    assert f"{name}: {sentence}." in found


def test_a_reason_covers_only_one_value():
    source = dataclasses.replace(SOURCES["dino-stl10"], changes={"epochs": (800, "no difference at all")})
    known = SOURCES | {"dino-stl10": source}
    (wrong,) = [w for w in audit.audit({"dino-stl10": CONFIGS["dino-stl10"]}, known)[1] if "epochs" in w.split(":")[1]][
        :1
    ]
    assert wrong == "dino-stl10: epochs has a reason to differ, but is 800 in the source too."


def fields(part, prefix=""):
    """(path, value, type) of each field of a dataclass and of nested dataclasses."""
    hints = typing.get_type_hints(type(part))
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if dataclasses.is_dataclass(value):
            yield from fields(value, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}", value, hints[field.name]


def others(value, hint):
    """Other values of a field."""
    if typing.get_origin(hint) is typing.Literal:
        return [choice for choice in typing.get_args(hint) if choice != value]
    if isinstance(value, bool):
        return [not value]
    if isinstance(value, int | float):
        return [value + 1]
    if isinstance(value, tuple):
        return [(value[0] + 0.01, *value[1:])] if value else [("crop",)]
    assert value is None
    assert typing.get_origin(hint) in (types.UnionType, typing.Union)
    kind = typing.get_args(hint)[0]
    if typing.get_origin(kind) is typing.Literal:
        return list(typing.get_args(kind))
    return [kind(8)] if kind in (int, float) else [(0.0, 0.0, 0.0)]


def without_effect(config):
    """Fields that have no effect in a run of this configuration."""
    method, views = config.method, config.method.views
    silent = {"method.semi_hard", "method.margin"}
    if not any(branch.blur for branch in views.branches().values()):
        silent |= {"method.views.blur_sigma", "method.views.blur_padding", "method.views.blur_kernel"}
    if method.NAME == "byol":
        silent |= {"method.temperature"}
    if not getattr(views, "local_crops", True):
        silent |= {"method.views.local_size", "method.views.local_area"}
    if method.NAME == "dino":
        silent |= {"method.teacher_temperature_start"} if not method.teacher_temperature_epochs else set()
    if getattr(method, "shared_head", False):
        silent |= {"method.patch_prototypes"}
    if not getattr(method, "queue", True):
        silent |= {"method.queue_start_epoch"}
    if config.optim.name != "lars":
        silent |= {"optim.lr_after_momentum", "optim.trust_coefficient", "optim.clip_trust"}
    if config.optim.name != "adamw":
        silent |= {"optim.b2"}
    silent |= {"optim.warmup", "optim.start_lr"} if not config.optim.warmup_epochs else set()
    resnets = {"network.stem", "network.norm", "network.zero_residual", "network.stem_relu"}
    vits = {
        "network.depth",
        "network.heads",
        "network.mlp_ratio",
        "network.patch_size",
        "network.drop_path",
        "network.registers",
        "network.layer_scale",
    }
    vits |= {"network.mlp", "network.qkv_bias", "network.norm_epsilon", "network.positions"}
    vits |= {"method.freeze_patch_embedding", "network.heads"}
    return silent | (resnets if config.network.name in VITS else vits)


@pytest.mark.parametrize("name", FOLLOWING)
def test_no_number_of_a_recipe_is_unaudited(name):
    config = CONFIGS[name]
    parts = [("method.", config.method), ("optim.", config.optim), ("network.", config.network)]
    known = [found for prefix, part in parts for found in fields(part, prefix)]
    known += [(path, getattr(config, path), int) for path in ("epochs", "batch_size")] + [
        ("canvas", config.canvas, int | None)
    ]
    silent = without_effect(config)
    starts = ViTInitial if config.network.name in VITS else Initial
    for path, value, hint in known:
        hint = starts if path == "network.initial" else hint
        if path not in silent:
            found = [audit.audit({name: changed(config, {path: other})})[1] for other in others(value, hint)]
            assert any(found), path
    assert audit.audit({name: changed(config, {"data": "tfds:imagenette" if "cifar" in name else "tfds:cifar10"})})[1]
