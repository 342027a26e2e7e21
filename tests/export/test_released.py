"""State dicts of DINOv2's and DINOv3's releases against the same weights under timm's names."""

import numpy as np
import pytest

from sslax.errors import InputError
from sslax.export.released import networks_of, timm_names


def state(golden, name):
    return {key.removeprefix("state|"): array for key, array in golden(name).items() if key.startswith("state|")}


def same(found, wanted):
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=1e-7, err_msg=name)


def test_dinov2_with_registers_and_swiglu(golden):
    """The release keeps a position for [CLS]; timm adds it to the token."""
    timm = state(golden, "vit_dinov2_2")
    released = {name.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3"): a for name, a in timm.items()}
    own = np.linspace(-1, 1, timm["cls_token"].size, dtype=np.float32).reshape(timm["cls_token"].shape)
    released["register_tokens"] = released.pop("reg_token")
    released["cls_token"] = timm["cls_token"] - own
    released["pos_embed"] = np.concatenate([own, timm["pos_embed"]], axis=1)
    released["mask_token"] = np.zeros((1, 48), np.float32)
    (network,) = networks_of({f"teacher.backbone.{name}": array for name, array in released.items()}).values()
    same(timm_names(network), timm)


@pytest.mark.parametrize("gates", ["mlp.w1 mlp.w2", "mlp.fc1_g mlp.fc1_x"])
def test_dinov3_with_biases(golden, gates):
    timm = state(golden, "vit_dinov3_1")
    released = {"mask_token": np.zeros((1, 32)), "rope_embed.periods": np.zeros(4)}
    for name, array in timm.items():
        if ".q_bias" in name:
            released[name.replace("q_bias", "qkv.bias")] = np.concatenate(
                [array, np.full_like(array, np.nan), timm[name.replace("q_bias", "v_bias")]]
            )
            released[name.replace("q_bias", "qkv.bias_mask")] = np.ones(96)
        elif "mlp.fc1" in name:
            for part, half in zip(gates.split(), np.split(array, 2), strict=True):
                released[name.replace("mlp.fc1", part)] = half
        elif ".v_bias" not in name:
            name = name.replace("gamma_1", "ls1.gamma").replace("gamma_2", "ls2.gamma").replace("fc2", "w3")
            released[name.replace("reg_token", "storage_tokens")] = array
    (network,) = networks_of(released).values()
    same(timm_names(network), timm)


def test_dinov3_biases_of_zero_are_absent(golden):
    timm = state(golden, "vit_dinov3_0")
    released = {name.replace("gamma_", "ls") + (".gamma" if "gamma_" in name else ""): a for name, a in timm.items()}
    released["storage_tokens"] = released.pop("reg_token")
    released |= {f"blocks.{block}.attn.qkv.bias": np.zeros(144, np.float32) for block in range(3)}
    same(timm_names(released), timm)


def test_half_a_gate_is_an_error(golden):
    tensors = state(golden, "vit_dinov3_1")
    tensors["blocks.0.mlp.w1.weight"] = tensors.pop("blocks.0.mlp.fc1.weight")
    with pytest.raises(InputError, match=r"tensors hold one half of blocks\.0\.mlp\.fc1\.weight only"):
        timm_names(tensors)


def test_heads_and_decoders_are_left_aside():
    kept = {"norm.weight": np.zeros(1)}
    aside = (
        "fc.weight",
        "head.0.bias",
        "decoder_blocks.0.norm1.weight",
        "decoder_pos_embed",
        "mask_token",
        "ibot_head.last",
    )
    assert networks_of(kept | {name: np.zeros(1) for name in aside}) == {"": kept}
