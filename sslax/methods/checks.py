"""The checks that the options of several methods share."""

import math
import typing
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sslax.augment import check_views
from sslax.data import MAX_CANVAS
from sslax.errors import InputError
from sslax.methods.base import check_loss_scale

if TYPE_CHECKING:
    from sslax.config import Config


def check_options(
    options: Any,
    config: "Config",
    *,
    least: Mapping[str, float],
    positive: Sequence[str] = (),
    shares: Sequence[str] = (),
) -> None:
    """Raise InputError on options of a method that cannot work. Views, loss_scale, queue and fields of a Literal type are
    always checked.

    Args:
      options: a method's options, a dataclass.
      config: the run that they belong to.
      least: fields with the smallest value that each may have.
      positive: fields that must be finite and above 0.
      shares: fields that must lie in [0, 1].
    """
    check_views(options.views, config.canvas or MAX_CANVAS)
    check_loss_scale(options.loss_scale)
    for name, hint in typing.get_type_hints(type(options)).items():
        choices = typing.get_args(hint)
        if typing.get_origin(hint) is typing.Literal and getattr(options, name) not in choices:
            raise InputError(f"method.{name} is {getattr(options, name)!r}; it must be one of {', '.join(choices)}.")
    # Written so that a value that is not a number fails.
    for name in positive:
        if not 0 < getattr(options, name) < math.inf:
            raise InputError(f"method.{name} is {getattr(options, name)}; it must be a finite number above 0.")
    for name in shares:
        if not 0 <= getattr(options, name) <= 1:
            raise InputError(f"method.{name} is {getattr(options, name)}; it must lie in [0, 1].")
    for name, lowest in least.items():
        if not getattr(options, name) >= lowest:
            raise InputError(f"method.{name} is {getattr(options, name)}; it must be at least {lowest}.")
    # A batch would not fit, and nothing older would be kept.
    if 0 < (queue := getattr(options, "queue", 0)) < config.batch_size:
        raise InputError(f"method.queue is {queue}; it must be at least batch_size, which is {config.batch_size}.")
