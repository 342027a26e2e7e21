"""A configuration as `config.json` holds it, back as its dataclasses."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from sslax.config import Config, to_dict
from sslax.errors import InputError
from sslax.methods import METHODS


def config_from(fields: Mapping[str, Any]) -> Config:
    """The configuration that `to_dict` wrote, the method's options by the method's name.

    Raises:
      InputError: on methods that are not in `METHODS`, and fields that this version does not know.
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
        raise InputError(f"method is {name}, whose builder does not annotate its options with their dataclass.")
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
    """A JSON value as the field's type has it: lists are tuples, objects are dataclasses."""
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next((kind for kind in typing.get_args(hint) if kind is not types.NoneType), hint)
    if isinstance(value, dict) and dataclasses.is_dataclass(hint):
        return _dataclass(hint, value, prefix)
    return tuple(value) if isinstance(value, list) else value


def completed(fields: dict[str, Any]) -> dict[str, Any]:
    """Stored fields with the defaults of those that did not exist when they were written; others' folders as they are."""
    if not isinstance(fields, dict):
        return fields
    if isinstance(fields.get("pretraining"), dict):
        # A fine-tuning's folder, which holds the configuration of its run.
        return {**fields, "pretraining": completed(fields["pretraining"])}
    method = fields.get("method")
    if not isinstance(method, dict) or "name" not in method:
        return fields
    try:
        return to_dict(config_from(fields))
    except (InputError, TypeError):
        # Of another version, or damaged: what differs is then told.
        return fields
