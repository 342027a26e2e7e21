"""Checks of a user's view recipe, before anything is compiled."""

import dataclasses
import math
from numbers import Real
from typing import Any, get_args

from sslax.augment import color, crop, ops
from sslax.augment.records import JitterOrder, Op
from sslax.errors import InputError


def check_views(recipe: Any, canvas: int, *, prefix: str = "method.views") -> None:
    """Raise InputError, with the field's name on the command line, if a recipe is invalid for `canvas` x `canvas` images.

    It checks every field with a known name, so it works for any recipe.
    """
    fields = vars(recipe)
    declared = dataclasses.fields(recipe) if dataclasses.is_dataclass(recipe) else ()
    default = {field.name: field.default for field in declared}

    def check(name: str, right: bool, wanted: str) -> None:
        # NaN fails every comparison, and so every check.
        if name in fields and not right:
            raise InputError(f"{prefix}.{name} is {fields[name]}; it must be {wanted}.")

    def is_range(name: str, most: float = math.inf) -> bool:
        low, high = fields.get(name, (1, 1))
        return 0 < low <= high <= most and high < math.inf

    for name, value in fields.items():
        usual = default.get(name)
        if isinstance(usual, tuple) and name != "one_branch":
            right = isinstance(value, tuple) and len(value) == len(usual) and all(isinstance(x, Real) for x in value)
            check(name, right or (value is None and name in ("mean", "std")), f"{len(usual)} numbers")
    for name in ("size", "local_size"):
        value = fields.get(name, 1)
        right = isinstance(value, int) and 1 <= value <= canvas
        check(name, right, f"from 1 to {canvas} pixels, the size of the canvas")
    for name in ("crop_area", "global_area", "local_area"):
        check(name, is_range(name, 1.0), "two shares in (0, 1], the smaller first")
    for name, least in (("local_crops", 0), ("global_crops", 1)):
        crops = fields.get(name, 1)
        check(name, isinstance(crops, int) and crops >= least, f"an integer of at least {least}")
    kernel = fields.get("blur_kernel", 1)
    check("blur_kernel", isinstance(kernel, int) and kernel >= 1 and kernel % 2 == 1, "an odd number of pixels")
    for name in ("crop_aspect", "blur_sigma"):
        check(name, is_range(name), "two positive numbers, the smaller first")
    for name in ("flip", "jitter", "grayscale", "blur", "solarize"):
        value = fields.get(name, 0)
        if isinstance(value, tuple):
            check(name, all(0 <= p <= 1 for p in value), f"{len(value)} probabilities in [0, 1]")
        else:
            check(name, 0 <= value <= 1, "a probability in [0, 1]")
    choices = {"crop_sampling": crop.Sampling, "interpolation": crop.Interpolation, "semantics": color.Semantics}
    choices |= {"jitter_order": JitterOrder, "blur_padding": ops.Padding}
    for name, kind in choices.items():
        check(name, fields.get(name) in get_args(kind), f"one of {', '.join(get_args(kind))}")
    covered = fields.get("crop_min_covered", 0)
    most = fields.get("crop_area", (0, 1))[1]
    check("crop_min_covered", 0 <= covered <= most, "at least 0, and at most the largest crop_area")
    for name in ("brightness", "contrast", "saturation"):
        check(name, 0 <= fields.get(name, 0) < float("inf"), "at least 0")
    check("hue", 0 <= fields.get("hue", 0) <= 0.5, "in [0, 0.5] turns")
    strength = 0 <= fields.get("strength", 0) <= 2.5
    check("strength", strength, "in [0, 2.5], because the hue turns by up to 0.2 times it, at most 0.5")
    for name in ("mean", "std"):
        value = fields.get(name)
        right = value is None or (len(value) == 3 and all(math.isfinite(x) for x in value))
        check(name, right, "three finite numbers, one per channel")
    check("std", not fields.get("std") or min(fields["std"]) > 0, "three positive numbers, one per channel")
    chosen = fields.get("one_branch", ())
    right = isinstance(chosen, tuple) and len(chosen) <= 2 and all(op in get_args(Op) for op in chosen)
    check("one_branch", right, f"empty, or one or two of {', '.join(get_args(Op))}")
    gray = fields.get("grayscale", 1) == 0 and 0 in (fields.get("jitter", 1), fields.get("strength", 1))
    check("one_branch", not (gray and "color" in chosen), "without color if grayscale is 0 and jitter or strength is 0")
