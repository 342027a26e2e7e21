"""Conversion to and from PyTorch's names: exact round trips, features of the original code and of torch's layers, files."""

import errno
import functools
import json
import os
import struct

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from sslax.errors import InputError
from sslax.export import from_torch, load_safetensors, save_safetensors, to_torch
from sslax.networks import ResNet, ViT, forward, init, patch_resnet, resnet18, resnet50
from sslax.networks.resnet import BasicBlock, Bottleneck
from tests.networks.released import state_of, vit_of

BACKBONES = {
    "resnet18": resnet18(width=2),
    "small-bottleneck": ResNet(stages=(1, 2), block=Bottleneck, width=2, stem="small"),
    "patch-resnet": patch_resnet(width=4, patch_size=2),
    # Eleven blocks, whose names have one digit and two.
    "vit": ViT(image_size=8, patch_size=4, width=8, depth=11, heads=2),
}
SHALLOW = BACKBONES["vit"].clone(depth=1)


@functools.cache
def shapes(backbone, side=32):
    example = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    return jax.eval_shape(lambda key, x: init(backbone, key, x), jax.random.key(0), example)


@functools.cache
def weights(backbone):
    """Random weights. In initial weights, zeros and ones could hide a swap."""
    rng = np.random.default_rng(0)
    return jax.tree.map(
        lambda leaf: jax.device_put(rng.uniform(0.15, 0.45, leaf.shape).astype(np.float32)), shapes(backbone)
    )


def load(backbone, tensors):
    params, statistics = shapes(backbone)
    return from_torch(backbone, tensors, like_params=params, like_stats=statistics)


def sentence(call, *args, **options):
    with pytest.raises(InputError) as caught:
        call(*args, **options)
    text = str(caught.value)
    assert text.endswith(".")
    assert "\n" not in text
    return text


@pytest.mark.parametrize("name", BACKBONES)
def test_export_and_import_are_bit_identical(name, tmp_path):
    backbone = BACKBONES[name]
    trees = weights(backbone)
    tensors = to_torch(backbone, *trees)
    assert all(t.dtype == np.float32 and t.flags.c_contiguous and t.flags.owndata for t in tensors.values())
    assert sum(t.size for t in tensors.values()) == sum(leaf.size for leaf in jax.tree.leaves(trees))
    path = tmp_path / "weights.safetensors"
    save_safetensors(path, tensors, {"backbone": name})
    loaded, metadata = load_safetensors(path)
    assert metadata == {"backbone": name}
    back = load(backbone, loaded)
    assert jax.tree.structure(back) == jax.tree.structure(trees)
    for (place, actual), wanted in zip(jax.tree.leaves_with_path(back), jax.tree.leaves(trees), strict=True):
        assert isinstance(actual, jax.Array)
        np.testing.assert_array_equal(actual, wanted, err_msg=jax.tree_util.keystr(place))


def test_returned_arrays_share_no_memory():
    backbone = BACKBONES["patch-resnet"]
    tensors = to_torch(backbone, *weights(backbone))
    # Where jax would take the memory as it is: at a multiple of 64 bytes.
    memory = np.zeros(32, np.float32)
    start = -memory.ctypes.data % 64 // 4
    tensors["bn1.weight"] = memory[start : start + 4]
    params, _ = load(backbone, tensors)
    scale = np.array(params["stem_norm"]["scale"])
    tensors["bn1.weight"][:] = -1
    np.testing.assert_array_equal(params["stem_norm"]["scale"], scale)


def test_names_equal_torchvisions_and_dinos():
    small = to_torch(BACKBONES["small-bottleneck"], *weights(BACKBONES["small-bottleneck"]))
    assert small["layer2.1.conv3.weight"].shape == (16, 4, 1, 1)
    assert {name for name in small if name.startswith("layer1.0.downsample")} == {
        f"layer1.0.downsample.{leaf}" for leaf in ("0.weight", "1.weight", "1.bias", "1.running_mean", "1.running_var")
    }
    vit = to_torch(BACKBONES["vit"], *weights(BACKBONES["vit"]))
    assert {name.split(".", 2)[2] for name in vit if name.startswith("blocks.10.")} == {
        f"{module}.{leaf}"
        for module in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
        for leaf in ("weight", "bias")
    }
    whole = {"cls_token", "pos_embed", "patch_embed.proj.weight", "patch_embed.proj.bias", "norm.weight", "norm.bias"}
    assert {name for name in vit if "blocks" not in name} == whole


@pytest.mark.parametrize("case", [0, 1])
def test_released_vit_weights_give_the_releases_features(golden, case):
    g = golden(f"vit_{case}")
    model, state = vit_of(g["hyper"]), state_of(g)
    params, statistics = load(model, {f"module.backbone.{name}": array for name, array in state.items()})
    features, _ = jax.jit(functools.partial(forward, model, train=False))(params, statistics, g["x_32"])
    np.testing.assert_allclose(features, g["cls_32"], rtol=0, atol=2e-5 * np.abs(g["cls_32"]).max())
    exported = to_torch(model, params, statistics)
    assert exported.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(exported[name], array)


@pytest.mark.parametrize("case", [0, 1])
def test_torchvision_weights_give_torchvisions_features(golden, case):
    g = golden(f"resnet_{case}")
    h = g["hyper"]
    block = {"BasicBlock": BasicBlock, "Bottleneck": Bottleneck}[h["block"]]
    stem = "small" if h["cifar_stem"] else "imagenet"
    model = ResNet(stages=tuple(h["layers"]), widths=tuple(h["widths"]), block=block, stem=stem)
    state = {name.removeprefix("state|"): array for name, array in g.items() if name.startswith("state|")}
    after = {name.removeprefix("state_after|"): array for name, array in g.items() if name.startswith("state_after|")}
    assert {"fc.weight", "bn1.num_batches_tracked"} <= state.keys()
    # The statistics are stored as float64.
    params, statistics = load(model, state | after)
    features, _ = jax.jit(functools.partial(forward, model, train=False))(params, statistics, g["x"])
    wanted = g["features_eval"]
    np.testing.assert_allclose(features, wanted, rtol=0, atol=5e-5 * np.abs(wanted).max())
    exported = to_torch(model, params, statistics)
    assert exported.keys() == {n for n in state if not n.startswith("fc.") and not n.endswith("num_batches_tracked")}


@pytest.mark.parametrize("make", [resnet18, resnet50], ids=["resnet18", "resnet50"])
def test_torchs_own_layers_give_the_same_features(make):
    torch = pytest.importorskip("torch", reason="PyTorch, which the library does without, is not installed here")
    F = torch.nn.functional
    backbone = make(width=4)
    params, statistics = weights(backbone)
    # With random scales every block would double the variance. Smaller scales keep the features within an absolute tolerance.
    params = jax.tree.map(lambda leaf: leaf / leaf.shape[2] ** 0.5 if leaf.ndim == 4 else leaf, params)
    state = {name: torch.tensor(array) for name, array in to_torch(backbone, params, statistics).items()}

    def conv(x, name, stride=1):
        weight = state[f"{name}.weight"]
        return F.conv2d(x, weight, stride=stride, padding=weight.shape[-1] // 2)

    def norm(x, name):
        # The layer loads strictly, without `num_batches_tracked`.
        layer = torch.nn.BatchNorm2d(x.shape[1]).eval()
        layer.load_state_dict({k.removeprefix(f"{name}."): v for k, v in state.items() if k.startswith(f"{name}.")})
        return layer(x)

    def block(x, name, stride):
        convs = 2 if make is resnet18 else 3
        y = x
        for i in range(1, convs + 1):
            # In a bottleneck the 3x3 convolution has the stride; in other blocks the first convolution has it.
            y = norm(conv(y, f"{name}.conv{i}", stride if i == convs - 1 else 1), f"{name}.bn{i}")
            y = F.relu(y) if i < convs else y
        if f"{name}.downsample.0.weight" in state:
            x = norm(conv(x, f"{name}.downsample.0", stride), f"{name}.downsample.1")
        return F.relu(x + y)

    x = np.random.default_rng(1).random((2, 64, 64, 3), np.float32)
    with torch.no_grad():
        y = F.relu(norm(conv(torch.tensor(x).permute(0, 3, 1, 2), "conv1", 2), "bn1"))
        y = F.max_pool2d(y, 3, 2, 1)
        for stage, blocks in enumerate(backbone.stages, 1):
            for i in range(blocks):
                y = block(y, f"layer{stage}.{i}", 2 if stage > 1 and i == 0 else 1)
        wanted = y.mean((2, 3)).numpy()
    features, _ = jax.jit(functools.partial(forward, backbone, train=False))(params, statistics, x)
    assert np.abs(wanted).max() > 1e-3
    np.testing.assert_allclose(features, wanted, rtol=1e-4, atol=1e-4 * np.abs(wanted).max())


def test_another_architecture_is_reported_by_its_first_tensors():
    backbone = BACKBONES["patch-resnet"]
    tensors = to_torch(BACKBONES["small-bottleneck"], *weights(BACKBONES["small-bottleneck"]))
    assert sentence(load, backbone, tensors) == (
        "tensors are not those of this ResNet: "
        "left over layer1.0.bn3.bias, layer1.0.bn3.weight, layer1.0.conv3.weight and 27 more; "
        "of another shape layer1.0.bn1.bias [2] in place of [4], layer1.0.bn1.weight [2] in place of [4], "
        "layer1.0.bn2.bias [2] in place of [4] and 27 more; "
        "build the backbone with the options of the network that they come from."
    )
    tensors = to_torch(backbone, *weights(backbone))
    del tensors["layer1.0.conv1.weight"], tensors["bn1.running_var"]
    assert "ResNet: missing layer1.0.conv1.weight, bn1.running_var; build" in sentence(load, backbone, tensors)


def test_the_network_that_fits_is_taken_and_two_are_an_error():
    tensors = to_torch(SHALLOW, *weights(SHALLOW))
    student = {f"student.module.backbone.{name}": array for name, array in tensors.items()}
    other = {f"teacher.backbone.{name}": array + 1 for name, array in tensors.items()}
    del other["teacher.backbone.norm.bias"]
    params, _ = load(SHALLOW, student | other | {"teacher.dino_head.mlp.0.weight": np.zeros((2, 2))})
    np.testing.assert_array_equal(params["norm"]["bias"], tensors["norm.bias"])
    text = sentence(load, SHALLOW, student | {f"encoder_q.{name}": a for name, a in tensors.items()})
    assert text == (
        "tensors hold 2 networks that fit, with the prefixes 'student.module.backbone.' and 'encoder_q.'; "
        "give the tensors of a single network."
    )


def test_positions_of_another_grid_report_their_image_size():
    vit = SHALLOW
    tensors = to_torch(vit, *weights(vit))
    assert sentence(load, vit.clone(image_size=16), tensors) == (
        "tensors are not those of this ViT: of another shape pos_embed [1, 5, 8] in place of [1, 17, 8]; its positions are "
        "a grid of 2 x 2, for image_size=8 at patch_size=4; build the backbone with the options of the network "
        "that they come from."
    )
    # Only the patch size differs: the message has the file's patch size.
    assert "for image_size=8 at patch_size=4" in sentence(load, vit.clone(patch_size=2), tensors)
    assert "grid" not in sentence(load, vit, tensors | {"pos_embed": np.zeros((1, 4, 8), np.float32)})
    assert "grid" not in sentence(load, vit, tensors | {"pos_embed": np.zeros((1, 0, 8), np.float32)})
    assert "grid" not in sentence(load, vit, tensors | {"cls_token": np.zeros((1, 1, 9), np.float32)})


def test_trees_of_another_backbone_are_input_errors():
    vit, resnet = SHALLOW, BACKBONES["patch-resnet"]
    params, statistics = weights(resnet)
    assert "params and batch_stats are not those of this ResNet: missing " in sentence(to_torch, resnet, params, {})
    assert "left over" in sentence(to_torch, vit, params, statistics)
    other = weights(vit.clone(image_size=16))[0]
    assert "of another shape pos_embed [1, 17, 8] in place of [1, 5, 8]" in sentence(to_torch, vit, other, {})
    text = sentence(from_torch, vit, {}, like_params=other, like_stats={})
    assert text.startswith("like_params and like_stats are not those of this ViT: of another shape pos_embed")
    assert text.endswith("; they must have the structure that networks.init gives for it.")
    # The number of rows alone cannot reveal this: 2 x 2 patches with twelve channels would give the same.
    assert "pos_embed" in sentence(to_torch, vit.clone(patch_size=2), weights(vit)[0], {})
    text = sentence(to_torch, object(), {}, {})
    assert text == "backbone is of type object; it must be a ResNet or a ViT, because only these have names in torch."


@pytest.mark.parametrize("norm", ["group", "none"])
def test_resnets_without_batch_norm_are_input_errors(norm):
    resnet = BACKBONES["patch-resnet"].clone(norm=norm)
    wanted = f"network.norm is {norm}; it must be batch, because only ResNets with BatchNorm have names in torch."
    assert sentence(to_torch, resnet, *weights(resnet)) == wanted
    assert sentence(load, resnet, to_torch(BACKBONES["patch-resnet"], *weights(BACKBONES["patch-resnet"]))) == wanted


def stored(path, dtype, shape, data):
    header = {"x": {"dtype": dtype, "shape": shape, "data_offsets": [0, len(data)]}}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def test_a_file_returns_the_saved_arrays(tmp_path):
    path = tmp_path / "x.safetensors"
    turned = np.arange(6, dtype=np.float32).reshape(2, 3).T
    tensors = {"turned": turned, "count": np.array(3), "mask": np.array([True, False]), "half": np.float16([0.5, 2])}
    save_safetensors(str(path), tensors | {"bf": np.array([1.5, -3], jnp.bfloat16)}, {})
    loaded, metadata = load_safetensors(str(path))
    assert metadata == {}
    np.testing.assert_array_equal(loaded["turned"], turned)
    assert loaded["count"].shape == ()
    assert (loaded["count"], loaded["count"].dtype) == (3, np.int64)
    np.testing.assert_array_equal(loaded["mask"], [True, False])
    for name, values in {"half": [0.5, 2], "bf": [1.5, -3]}.items():
        assert loaded[name].dtype == np.float32
        np.testing.assert_array_equal(loaded[name], values)
    stored(path, "BF16", [2], np.array([1, -2.5], jnp.bfloat16).tobytes())
    np.testing.assert_array_equal(load_safetensors(path)[0]["x"], np.float32([1, -2.5]))
    assert os.listdir(tmp_path) == ["x.safetensors"]


def test_unreadable_files_are_input_errors(tmp_path):
    path = tmp_path / "x.safetensors"
    assert sentence(load_safetensors, path) == f"{path} cannot be read: No such file or directory."
    assert sentence(load_safetensors, tmp_path) == f"{tmp_path} cannot be read: Is a directory."
    save_safetensors(path, {"x": np.ones(9, np.float32)}, {"a": "b"})
    whole = path.read_bytes()
    for data, why in (
        (b"", "header too small"),
        (b"PK\x03\x04" * 40, "header too large"),
        (whole[:-1], "incomplete metadata, file not fully covered"),
        (whole[:20], "invalid header length"),
    ):
        path.write_bytes(data)
        assert sentence(load_safetensors, path) == (
            f"{path} is not a complete safetensors file ({why}); copy it again, or, for a PyTorch pickle (.pth, .pt, "
            ".bin), save its tensors with safetensors.torch.save_file first."
        )
    stored(path, "F8_E4M3", [2], b"\x01\x01")
    start = f"{path} holds x as F8_E4M3, which is not supported; it must be one of F64, F32, "
    assert sentence(load_safetensors, path).startswith(start)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    save_safetensors(path, {"x": np.ones(2, np.float32)}, {})
    before = path.read_bytes()
    one = {"x": np.zeros(2, np.float32)}
    nowhere = tmp_path / "no" / "x.safetensors"
    assert sentence(save_safetensors, nowhere, one, {}) == f"{nowhere} cannot be written: No such file or directory."
    strange = {"x": np.zeros(2, np.complex128)}
    assert f"tensors cannot be written to {path} as safetensors: " in sentence(save_safetensors, path, strange, {})

    def full(_descriptor):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    assert sentence(save_safetensors, path, one, {}) == f"{path} cannot be written: No space left on device."
    monkeypatch.setattr(os, "fsync", lambda _descriptor: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save_safetensors(path, one, {})
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["x.safetensors"]
