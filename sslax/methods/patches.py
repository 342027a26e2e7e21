"""What iBOT and DINOv2 share: a ViT whose student sees masked patches, and heads for its [CLS] and its patch tokens.

"head" takes [CLS], and the patches too unless there is a "patch_head". The teacher has no mask token.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Key, PyTree

from sslax.errors import InputError
from sslax.methods.base import Setup
from sslax.methods.stack import apply_stack, moving_average
from sslax.networks import VITS, DINOHead, forward, init

if TYPE_CHECKING:
    from sslax.config import Config


def check_masks(options: Any, config: "Config") -> None:
    """Raise InputError unless the backbone has patches, and `mask_ratio` and `mask_share` mask some and leave some."""
    if config.network.name not in VITS:
        raise InputError(
            f"network.name is {config.network.name}; {options.NAME} masks patches, so it must be one of {', '.join(VITS)}."
        )
    low, high = options.mask_ratio
    # Written so that a value that is not a number fails.
    if not 0 < low <= high < 1:
        raise InputError(
            f"method.mask_ratio is {low}, {high}; it must be two numbers between 0 and 1, the lower one first."
        )
    if not 0 < options.mask_share <= 1:
        raise InputError(f"method.mask_share is {options.mask_share}; it must be above 0 and at most 1.")


def heads_of(options: Any, dtype: Any, *, batch_norm: bool = False) -> dict[str, DINOHead]:
    """The head for [CLS], and one for patches unless they share it."""
    prototypes = {"head": options.prototypes, "patch_head": options.patch_prototypes}
    return {
        name: DINOHead(
            features=features,
            layers=options.head_layers,
            hidden=options.head_hidden,
            bottleneck=options.head_bottleneck,
            batch_norm=batch_norm,
            norm_last_layer=options.norm_last_layer,
            dtype=dtype,
        )
        for name, features in prototypes.items()
        if name == "head" or not options.shared_head
    }


def init_masked(
    setup: Setup, heads: Mapping[str, DINOHead], key: Key[Array, ""], image_shape: tuple[int, int, int]
) -> tuple[dict[str, PyTree], dict[str, PyTree]]:
    """Parameters of the student, and aux: its statistics, the teacher, which starts as a copy, and the centres.

    As in both releases, the mask token starts at zero; weights from a file have none.
    """
    keys = jax.random.split(key, 1 + len(heads))
    params, statistics = {}, {}
    params["encoder"], statistics["encoder"], h = setup.start(keys[0], image_shape)
    for (name, head), head_key in zip(heads.items(), keys[1:], strict=True):
        params[name], statistics[name] = init(head, head_key, h)
    token = jnp.zeros((1, 1, h.shape[-1]))
    student = {**params, "encoder": {**params["encoder"], "mask_token": token}}
    center, *own = (jnp.zeros(head.features) for head in heads.values())
    centers = {"center": center, "patch_center": own[0] if own else jnp.zeros_like(center)}
    return student, {"student": statistics, "teacher": {"params": params, "statistics": statistics}, **centers}


def move_teacher(params: PyTree, aux: PyTree, decay: Array) -> tuple[PyTree, PyTree]:
    """`params`, and `aux` with the teacher moved towards them."""
    seen = {name: p for name, p in params["encoder"].items() if name != "mask_token"}
    return params, {**aux, "teacher": moving_average(aux["teacher"], {**params, "encoder": seen}, decay)}


def teacher_backbone(params: PyTree, aux: PyTree) -> tuple[PyTree, PyTree]:
    """The parameters and statistics of the teacher's backbone, which is evaluated."""
    return aux["teacher"]["params"]["encoder"], aux["teacher"]["statistics"]["encoder"]


def tokens_of_crops(
    encoder: Any,
    params: PyTree,
    resolutions: Sequence[Float[Array, "n _ _ _ 3"]],
    *,
    masks: Bool[Array, "m t"] | None = None,
    key: Key[Array, ""] | None = None,
) -> tuple[Float[Array, "n c d"], Float[Array, "n g t d"]]:
    """[CLS] of all crops, and the patch tokens of the crops of the first resolution, in training.

    Args:
      encoder: a ViT, with one forward for each resolution.
      params: its parameters.
      resolutions: the crops of each size.
      masks: True for patches that the mask token replaces, for the crops of the first resolution, an image's side by side.
      key: for stochastic depth.
    """

    def tokens(place, x, **options):
        draws = None if key is None else jax.random.fold_in(key, place)
        h, _ = forward(encoder, params, {}, x.reshape(-1, *x.shape[2:]), train=True, key=draws, **options)
        return h.reshape(*x.shape[:2], *h.shape[1:])

    first, *rest = resolutions
    h = tokens(0, first, tokens=True, mask=masks)
    cls = [h[:, :, 0], *(tokens(1 + place, x) for place, x in enumerate(rest))]
    return jnp.concatenate(cls, axis=1), h[:, :, encoder.prefix :]


def apply_heads(
    heads: Mapping[str, DINOHead],
    params: Mapping[str, PyTree],
    statistics: Mapping[str, PyTree],
    cls: Float[Array, "n c d"],
    patches: Float[Array, "n p d"],
) -> tuple[Float[Array, "n c k"], Float[Array, "n p k2"], dict[str, PyTree]]:
    """Logits of [CLS] and of patches, and the statistics afterwards; a shared head has one forward for both."""
    own, new = cls.shape[1], dict(statistics)

    def logits(name, x):
        out, stats = apply_stack({name: heads[name]}, params, statistics, x.reshape(-1, x.shape[-1]))
        new[name] = stats[name]
        return out[name].reshape(*x.shape[:2], -1)

    if "patch_head" in heads:
        of_cls, of_patches = logits("head", cls), logits("patch_head", patches)
    else:
        together = logits("head", jnp.concatenate([cls, patches], axis=1))
        of_cls, of_patches = together[:, :own], together[:, own:]
    return of_cls, of_patches, new


def mean_weights(masks: Bool[Array, "m t"]) -> Float[Array, "m t"]:
    """Weights of the masked patches with sum 1: alike within a crop, and alike for all crops that have any."""
    of_crop = masks / jnp.maximum(masks.sum(axis=1, keepdims=True), 1)
    return of_crop / jnp.maximum(of_crop.sum(), 1)
