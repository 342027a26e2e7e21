"""State dicts as releases ship them: one network out of several, under timm's names."""

import re
from collections.abc import Iterable, Mapping

import numpy as np

from sslax.errors import InputError

# Wrappers and names of networks that checkpoints add to the names of a backbone's tensors: DataParallel, DINO's and DINOv2's
# student and teacher, MoCo's and MoCo v3's query and key encoders, Lightning's and timm's.
_WRAPPERS = (
    "module",
    "backbone",
    "teacher",
    "student",
    "encoder_q",
    "encoder_k",
    "base_encoder",
    "momentum_encoder",
    "model",
    "encoder",
    "state_dict",
    "model_state_dict",
)
# Of two networks of a checkpoint, the one that its paper evaluates: DINO's and iBOT's, MoCo's, MoCo v3's.
_EVALUATED = (("teacher", "student"), ("encoder_q", "encoder_k"), ("base_encoder", "momentum_encoder"))
_PREFIX = re.compile(rf"^((?:{'|'.join(_WRAPPERS)})\.)*")
# What files contain besides the backbone: classifiers, projection heads, MAE's decoder, buffers that are computed anyway.
_ASIDE = re.compile(
    r"^(fc|head|predictor|dino_head|ibot_head|projector|decoder_\w+|projectors|local_cls_norm|mask_token)(\.|$)"
    r"|num_batches_tracked$|\.bias_mask$|^rope_embed\.|\.periods$"
)


def networks_of(tensors: Mapping[str, np.ndarray]) -> dict[str, dict[str, np.ndarray]]:
    """The networks of a file: prefix, such as "module.encoder_q.", -> tensors by name without it and without heads."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for full_name, tensor in tensors.items():
        match = _PREFIX.match(full_name)
        prefix = match.group() if match else ""
        name = full_name[len(prefix) :]
        if not _ASIDE.search(name):
            found.setdefault(prefix, {})[name] = tensor
    return found


def timm_names(tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The tensors of DINOv2's and DINOv3's releases under timm's names; others keep theirs.

    DINOv2: `register_tokens` is `reg_token`, and [CLS]'s row of `pos_embed` is added to `cls_token`; `mlp.w12` and `mlp.w3` are
    `mlp.fc1` and `mlp.fc2`. DINOv3: `storage_tokens` is `reg_token`; `ls1.gamma` is `gamma_1`; `attn.qkv.bias` without its part
    of the keys is `q_bias` and `v_bias`, and absent if it is zero, as in the distilled models; `mlp.w1` and `mlp.w2`, or timm's
    `mlp.fc1_g` and `mlp.fc1_x`, are packed into `mlp.fc1`, and `mlp.w3` is `mlp.fc2`.

    Source: `_convert_dinov2` and `checkpoint_filter_fn` of timm's `models/vision_transformer.py` and `models/eva.py`.
    """
    named = dict(tensors)
    rotary = "storage_tokens" in named
    for released in ("register_tokens", "storage_tokens"):
        if released in named:
            named["reg_token"] = named.pop(released)
    if "register_tokens" in tensors and {"cls_token", "pos_embed"} <= named.keys():
        named["cls_token"] = named["cls_token"] + named["pos_embed"][:, :1]
        named["pos_embed"] = named["pos_embed"][:, 1:]
    renamed: dict[str, np.ndarray] = {}
    halves: dict[str, dict[int, np.ndarray]] = {}
    for name, tensor in named.items():
        if match := re.fullmatch(r"(.*\.mlp\.)(?:w([12])|fc1_([gx]))\.(weight|bias)", name):
            place = 0 if match[2] == "1" or match[3] == "g" else 1
            halves.setdefault(f"{match[1]}fc1.{match[4]}", {})[place] = tensor
            continue
        if rotary and (match := re.fullmatch(r"(.*\.attn\.)qkv\.bias", name)):
            q, _, v = np.split(np.asarray(tensor), 3)
            renamed |= {f"{match[1]}q_bias": q, f"{match[1]}v_bias": v}
            continue
        name = re.sub(r"\.mlp\.w12\.", ".mlp.fc1.", name)
        name = re.sub(r"\.mlp\.w3\.", ".mlp.fc2.", name)
        renamed[re.sub(r"\.ls([12])\.gamma$", r".gamma_\1", name) if rotary else name] = tensor
    for name, parts in halves.items():
        if parts.keys() != {0, 1}:
            raise InputError(f"tensors hold one half of {name} only; give the whole file.")
        renamed[name] = np.concatenate([np.asarray(parts[0]), np.asarray(parts[1])])
    biases = [name for name in renamed if name.endswith((".attn.q_bias", ".attn.v_bias"))]
    if rotary and not any(np.any(renamed[name]) for name in biases):
        renamed = {name: tensor for name, tensor in renamed.items() if name not in biases}
    return renamed


def preferred(prefixes: Iterable[str]) -> str | None:
    """The only prefix, or of two the one of the network that its paper evaluates; None if this is not known."""
    known = list(prefixes)
    if len(known) == 1:
        return known[0]
    for evaluated, other in _EVALUATED:
        kinds = [{evaluated, other} & set(prefix.split(".")) for prefix in known]
        if len(known) == 2 and sorted(map(sorted, kinds)) == sorted([[evaluated], [other]]):
            return known[kinds.index({evaluated})]
    return None


def choose(networks: Mapping[str, Mapping[str, np.ndarray]], wanted: set[str]) -> dict[str, np.ndarray]:
    """The network whose tensors are all that are wanted; the one that has most of them where none has all.

    Of a teacher and a student, or a query and a key encoder, it is the one that the method's paper evaluates.

    Raises:
      InputError: if several other networks have all.
    """
    named = {prefix: timm_names(tensors) for prefix, tensors in networks.items()}
    whole = [prefix for prefix, tensors in named.items() if wanted <= tensors.keys()]
    if len(whole) > 1 and (best := preferred(whole)) is not None:
        whole = [best]
    if len(whole) > 1:
        raise InputError(
            f"tensors hold {len(whole)} networks that fit, with the prefixes {' and '.join(repr(p) for p in whole)}; "
            "give the tensors of a single network."
        )
    if whole or not named:
        return named[whole[0]] if whole else {}
    return max(named.values(), key=lambda tensors: len(wanted & tensors.keys()))
