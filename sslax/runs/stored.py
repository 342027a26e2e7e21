"""Reads a configuration from `config.json` back into its dataclasses."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from sslax.config import Config, to_dict
from sslax.errors import InputError
from sslax.methods import METHODS


def config_from(fields: Mapping[str, Any]) -> Config:
    """Rebuild a configuration from the output of `to_dict`. The method's name selects the class of its options.

    Raises:
      InputError: if the method is not in `METHODS`, or this version does not know a field.
    """
    own = dict(fields)
    method = dict(own.pop("method"))
    name = method.pop("name")
    if name not in METHODS:
        raise InputError(
            f"method is {name}, which is not among {', '.join(METHODS)}; import the file that adds it to METHODS first."
        )
    options = typing.get_type_hints(METHODS[name]).get("options")
    if not dataclasses.is_dataclass(options):
        raise InputError(
            f"method is {name}; the parameter `options` of its builder must be annotated with a dataclass, and is not."
        )
    return _dataclass(Config, {**own, "method": _dataclass(options, method, "method.")})


def _dataclass(kind: Any, fields: Mapping[str, Any], prefix: str = "") -> Any:
    hints = typing.get_type_hints(kind)
    known = {field.name for field in dataclasses.fields(kind)}
    if strange := sorted(fields.keys() - known):
        raise InputError(
            f"{prefix}{strange[0]} is in the run's config.json, but this version of sslax does not know it."
        )
    return kind(**{name: _value(hints[name], value, f"{prefix}{name}.") for name, value in fields.items()})


def _value(hint: Any, value: Any, prefix: str) -> Any:
    """Convert a JSON value to the field's type: lists become tuples, objects become dataclasses."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next((kind for kind in typing.get_args(hint) if kind is not types.NoneType), hint)
    if isinstance(value, dict) and dataclasses.is_dataclass(hint):
        return _dataclass(hint, value, prefix)
    return tuple(value) if isinstance(value, list) else value


def completed(fields: dict[str, Any]) -> dict[str, Any]:
    """Add defaults for fields that did not exist when the configuration was written. Other JSON is returned unchanged."""
    if not isinstance(fields, dict):
        return fields
    if isinstance(fields.get("pretraining"), dict):
        # The folder of a fine-tuning, whose configuration contains that of its pretraining run.
        return {**fields, "pretraining": completed(fields["pretraining"])}
    method = fields.get("method")
    if not isinstance(method, dict) or "name" not in method:
        return fields
    try:
        return to_dict(config_from(fields))
    except (InputError, TypeError):
        # Another version wrote it, or it is damaged. The comparison that follows then reports the differences.
        return fields
