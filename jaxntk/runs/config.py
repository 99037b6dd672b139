"""What every configuration is: a flat, frozen, typed record that goes to JSON and back."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from types import UnionType
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import tyro

from jaxntk.errors import InputError, did_you_mean

# Where files lie and who computes, not what: a run may be resumed with them elsewhere.
LOCATIONS = ("data_dir", "table", "processes", "score_cache")

_Config = TypeVar("_Config", bound="Config")
_Value = TypeVar("_Value")
Hidden = Annotated[_Value, tyro.conf.Suppress]
"""A field that means nothing to a kind of configuration: no flag in its help."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What any study is asked: a record that goes to JSON and back."""

    def to_json(self) -> dict[str, Any]:
        """Returns the fields as JSON values."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in asdict(self).items()
        }

    @classmethod
    def from_json(cls: type[_Config], row: dict[str, Any]) -> _Config:
        """Reads what :meth:`to_json` wrote.

        Args:
            row: the fields by name.

        Returns:
            The configuration.

        Raises:
            InputError: a field is unknown or not of its type, or one without a default is missing.
        """
        known = [field.name for field in fields(cls)]
        for name in row:
            if name not in known:
                cure = f"remove it{did_you_mean(name, known)}"
                raise InputError("config", f"unknown field {name!r}", cure)
        for field in fields(cls):
            if field.default is MISSING and field.name not in row:
                raise InputError("config", f"no field {field.name!r}", "give another folder")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in row.items()
        }
        check_types(cls, values)
        return cls(**values)


AnyConfig = TypeVar("AnyConfig", bound=Config)
"""A kind of configuration."""


def check_types(kind: type[Config], values: Mapping[str, Any]) -> None:
    """Checks that the values of fields are of their types.

    Args:
        kind: the configuration.
        values: of its fields, by name.

    Raises:
        InputError: the first that is not.
    """
    kinds = get_type_hints(kind)
    for name, value in values.items():
        if not _fits(value, kinds[name]):
            options = get_args(kinds[name]) if get_origin(kinds[name]) is Literal else ()
            hint = did_you_mean(str(value), options)
            raise InputError(name, repr(value), f"{_cure(kinds[name])}{hint}")


def _fits(value: Any, kind: Any) -> bool:
    options = get_args(kind)
    if get_origin(kind) is Literal:
        return isinstance(value, str) and value in options
    if get_origin(kind) is UnionType:
        return any(_fits(value, option) for option in options)
    if get_origin(kind) is tuple:
        return isinstance(value, tuple) and all(_fits(entry, options[0]) for entry in value)
    if kind in (int, float):
        # In Python a truth value is a whole number too.
        return isinstance(value, int | kind) and not isinstance(value, bool)
    return isinstance(value, kind)


def _cure(kind: Any) -> str:
    """Says in words what fits a field."""
    options = get_args(kind)
    if get_origin(kind) is Literal:
        return f"choose from {', '.join(options)}"
    if get_origin(kind) is UnionType:
        return f"{_cure(options[0])}, or nothing"
    words = {int: "a whole number", float: "a number", str: "a string"}
    return f"give {words.get(kind, 'a list of strings')}"


def check_at_least(name: str, value: int | float, least: int) -> None:
    """Refuses numbers that are too small, or no numbers.

    Args:
        name: of the field.
        value: of the field.
        least: the smallest that is allowed.

    Raises:
        InputError: the value is smaller, infinite or not a number.
    """
    if not math.isfinite(value) or value < least:
        raise InputError(name, repr(value), f"give at least {least}")
