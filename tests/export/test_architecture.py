"""The architecture told from tensors: of golden networks of the releases, of every option, and of what is no such network."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.config import NetworkConfig
from sslax.errors import InputError
from sslax.export import architecture_of
from sslax.export.names import leaf_path, to_torch_layout, torch_name
from sslax.networks import build_backbone, init

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def vit_of(network, size, *, width, depth, hidden, patch):
    """Tensors under timm's names; a ViT-g of the library itself would take seconds to trace."""
    rotary, gated = network.positions == "rope", network.mlp == "swiglu" or network.name == "vit-giant"
    first, second = ("gamma_1", "gamma_2") if rotary else ("ls1.gamma", "ls2.gamma")
    shapes = {"cls_token": (1, 1, width), "patch_embed.proj.weight": (width, 3, patch, patch), "norm.weight": (width,)}
    shapes |= {"reg_token": (1, network.registers, width)} if network.registers else {}
    shapes |= {} if rotary else {"pos_embed": (1, (size // patch) ** 2 + (not network.registers), width)}
    for block in range(depth):
        own = {"attn.qkv.weight": (3 * width, width), "norm1.weight": (width,)}
        own |= {"attn.qkv.bias": (3 * width,)} if network.qkv_bias else {}
        own |= {"mlp.fc1.weight": ((1 + gated) * hidden, width), "mlp.fc2.weight": (width, hidden)}
        own |= {first: (width,), second: (width,)} if network.layer_scale else {}
        shapes |= {f"blocks.{block}.{name}": shape for name, shape in own.items()}
    return empty(shapes)


def resnet_of(stages, convolutions, *, width, side):
    shapes = {"conv1.weight": (width, 3, side, side), "bn1.weight": (width,)}
    for stage, blocks in enumerate(stages, 1):
        names = [f"layer{stage}.{block}.conv{i + 1}.weight" for block in range(blocks) for i in range(convolutions)]
        shapes |= dict.fromkeys(names, (width, width, 3, 3))
    return empty(shapes)


def empty(shapes):
    return {name: np.broadcast_to(np.float32(1), shape) for name, shape in shapes.items()}


def tensors_of(network, size):
    """Tensors under the names and with the shapes that an export of the network would have; nothing is compiled."""
    backbone = build_backbone(image_size=size, **dataclasses.asdict(network))
    shapes = jax.eval_shape(lambda key: init(backbone, key, jnp.zeros((1, size, size, 3))), jax.random.key(0))
    leaves = {leaf_path(path): leaf for tree in shapes for path, leaf in jax.tree.leaves_with_path(tree)}
    zeros = empty({path: leaf.shape for path, leaf in leaves.items()})
    return {torch_name(backbone, path): to_torch_layout(backbone, path, leaf) for path, leaf in zeros.items()}


SMALL, BASE = {"width": 384, "depth": 12, "hidden": 1536}, {"width": 768, "depth": 12, "hidden": 3072}
GIANT, HUGE = {"width": 1536, "depth": 40, "hidden": 4096}, {"width": 1280, "depth": 32, "hidden": 5120}
# For each network: its options, the size of its images, and its tensors.
NETWORKS = {
    "dinov2": (NetworkConfig("vit-small", patch_size=14, layer_scale=1e-5), 518, SMALL | {"patch": 14}),
    "registers": (NetworkConfig("vit-small", patch_size=14, registers=4, layer_scale=1e-5), 518, SMALL | {"patch": 14}),
    "giant": (NetworkConfig("vit-giant", layer_scale=1e-5), 518, GIANT | {"patch": 14}),
    "dinov3": (
        NetworkConfig("vit-small", registers=4, layer_scale=1e-5, qkv_bias=False, positions="rope", norm_epsilon=1e-5),
        224,
        SMALL | {"patch": 16},
    ),
    "gated": (
        NetworkConfig("vit-small", depth=1, mlp="swiglu", mlp_ratio=1024 / 384),
        32,
        SMALL | {"patch": 16, "depth": 1, "hidden": 1024},
    ),
    "mae": (NetworkConfig("vit-base"), 224, BASE | {"patch": 16}),
    "huge": (NetworkConfig("vit-huge"), 224, HUGE | {"patch": 14}),
    "7B": (
        NetworkConfig(
            "vit-small",
            width=4096,
            depth=40,
            heads=32,
            mlp="swiglu",
            mlp_ratio=2.0,
            registers=4,
            layer_scale=1e-5,
            positions="rope",
            norm_epsilon=1e-5,
        ),
        224,
        {"width": 4096, "depth": 40, "hidden": 8192, "patch": 16},
    ),
}
RESNETS = {
    "resnet50": (NetworkConfig("resnet50", stem="imagenet"), 224, resnet_of((3, 4, 6, 3), 3, width=64, side=7)),
    "resnet34": (NetworkConfig("resnet34", stem="imagenet"), 224, resnet_of((3, 4, 6, 3), 2, width=64, side=7)),
    "cifar": (NetworkConfig("resnet18", stem="small", width=16), 32, resnet_of((2, 2, 2, 2), 2, width=16, side=3)),
    "patches": (
        NetworkConfig("patch-resnet", stem="patch", width=4, patch_size=2),
        16,
        resnet_of((1, 1), 2, width=4, side=2),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_tensors_tell_the_options_of_a_vit(name):
    network, size, shape = NETWORKS[name]
    rotary = network.positions == "rope"
    network = network if rotary else dataclasses.replace(network, positions="antialiased")
    tensors = vit_of(network, size, **shape)
    told = architecture_of({f"teacher.backbone.{key}": x for key, x in tensors.items()})
    assert NetworkConfig(**told.options) == network
    assert (told.image_size, told.mean, told.std) == (size, *IMAGENET)
    assert set(told.assumed) == {"heads", "norm_epsilon", "mean", "std", "image_size" if rotary else "positions"}


@pytest.mark.parametrize("name", RESNETS)
def test_tensors_tell_the_options_of_a_resnet(name):
    network, size, tensors = RESNETS[name]
    told = architecture_of(tensors)
    assert NetworkConfig(**told.options) == network
    assert (told.image_size, told.mean, told.std) == (size, *IMAGENET)
    assert set(told.assumed) == {"mean", "std", "image_size"}


def test_metadata_tells_what_tensors_do_not():
    network = NetworkConfig("vit-micro", width=64, depth=2, patch_size=2, positions="dino", norm_epsilon=1e-5)
    tensors = tensors_of(network, 8)
    told = architecture_of(tensors)
    # 64 channels a head are assumed; vit-micro has 16.
    assert (told.options["heads"], told.options["positions"]) == (1, "antialiased")
    said = {"network": "vit-micro", "network_options": json.dumps(dataclasses.asdict(network))}
    said |= {"image_size": "8", "mean": "[0.1, 0.2, 0.3]", "std": "[1.0, 1.0, 1.0]"}
    told = architecture_of(tensors, said)
    found = NetworkConfig(**told.options)
    assert dataclasses.replace(found, width=64) == network
    assert (told.mean, told.std, told.assumed) == ((0.1, 0.2, 0.3), (1.0, 1.0, 1.0), ())
    # A classifier's metadata, with no normalisation, and metadata of other programs.
    said = {"kind": "sslax classifier", "network": said["network_options"], "mean": "null", "std": "null"}
    told = architecture_of(tensors, said)
    assert NetworkConfig(**told.options).heads is None
    assert told.mean is None
    assert architecture_of(tensors, {"format": "pt", "network": "x", "mean": "{"}) == architecture_of(tensors)
    # Older exports had the number of heads alone.
    assert architecture_of(tensors, {"network": "vit-micro", "network.heads": "8"}).options["heads"] == 8
    resnet = NetworkConfig("patch-resnet", stem="patch", patch_size=3, width=4, stem_relu=False)
    said = {"network_options": json.dumps(dataclasses.asdict(resnet)), "image_size": "12"}
    told = architecture_of(resnet_of((1, 1), 2, width=4, side=3), said)
    assert (NetworkConfig(**told.options), told.image_size) == (resnet, 12)


def test_of_a_student_and_a_teacher_the_teacher_is_told():
    small = SMALL | {"patch": 16}
    student, teacher = (vit_of(NetworkConfig("vit-small"), 224, **small | {"depth": depth}) for depth in (1, 2))
    both = {f"student.module.{name}": x for name, x in student.items()} | {
        f"teacher.{n}": x for n, x in teacher.items()
    }
    assert architecture_of(both).options["depth"] == 2


def vit(**changes):
    tensors = vit_of(NetworkConfig("vit-small"), 224, **SMALL | {"patch": 16, "depth": 1})
    return {name: x for name, x in (tensors | changes).items() if x is not None}


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({}, "tensors are neither those of a ViT nor of a ResNet: there are none."),
        ({"a": np.zeros(1)}, "they begin with a; there must be patch_embed.proj.weight or conv1.weight"),
        ({"embeddings.cls_token": np.zeros(1)}, "these are names of transformers, and timm's repositories hold"),
        (vit(pos_embed=np.zeros((1, 4, 64))), r"pos_embed has shape \[1, 4, 64\]; it must be .* after that of \[CLS\]"),
        (vit(**{"patch_embed.proj.weight": np.zeros((64, 1, 4, 4))}), r"it must be \[width, 3, patch, patch\]"),
        (vit(**{"blocks.0.mlp.fc1.weight": None}), "there are no blocks with an MLP of two layers, or one gated"),
        ({"conv1.weight": np.zeros((8, 3, 7, 7))}, r"a ResNet with no blocks \(BasicBlock\) in its stages"),
        ({"conv1.weight": np.zeros((8, 4, 7, 7))}, r"conv1.weight has shape .*; it must be \[width, 3, side, side\]"),
    ],
)
def test_other_tensors_are_input_errors(tensors, said):
    with pytest.raises(InputError, match=said):
        architecture_of(tensors)
