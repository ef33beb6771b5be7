"""Frozen dataclasses to and from JSON, strictly, and the JSON schema that describes them."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from medssl.errors import InputError
from medssl.registry import nearest

__all__ = ["from_json", "json_schema", "to_json"]

R = TypeVar("R")


def to_json(record: Any) -> Any:
    """Return a record as dictionaries, lists and primitives."""
    if dataclasses.is_dataclass(record) and not isinstance(record, type):
        return {f.name: to_json(getattr(record, f.name)) for f in dataclasses.fields(record)}
    if isinstance(record, Mapping):
        return {str(key): to_json(value) for key, value in record.items()}
    if isinstance(record, list | tuple):
        return [to_json(value) for value in record]
    return record


def from_json(kind: type[R], data: Any, *, where: str = "manifest") -> R:
    """Build a record from parsed JSON.

    Args:
        kind: A frozen dataclass.
        data: Parsed JSON.
        where: Name of the record in messages.

    Raises:
        InputError: If a key is unknown or missing, or a value has another type.
    """
    built: R = _convert(kind, data, where)
    return built


def _convert(hint: Any, value: Any, where: str) -> Any:
    origin = get_origin(hint)
    if dataclasses.is_dataclass(hint):
        return _convert_record(hint, value, where)
    if origin in (Union, types.UnionType):
        return None if value is None else _convert(_optional(hint), value, where)
    if origin is tuple:
        _expect(isinstance(value, list), where, "a list", value)
        return tuple(_convert(get_args(hint)[0], item, f"{where}[…]") for item in value)
    if origin is Literal:
        _expect(value in get_args(hint), where, f"one of {get_args(hint)}", value)
    elif origin is not None:  # a mapping of primitives
        _expect(isinstance(value, dict), where, "an object", value)
    elif hint is float and type(value) is int:
        return float(value)
    elif hint is not Any:
        _expect(type(value) is hint, where, f"a value of type {hint.__name__}", value)
    return value


def _optional(hint: Any) -> Any:
    """Return T of ``T | None``."""
    (inner,) = (option for option in get_args(hint) if option is not type(None))
    return inner


def _convert_record(kind: Any, value: Any, where: str) -> Any:
    _expect(isinstance(value, dict), where, "an object", value)
    hints = get_type_hints(kind)
    for key in value:
        if key not in hints:
            raise InputError(f'{where} has an unknown key "{key}"; {nearest(key, hints)}')
    missing = [f.name for f in dataclasses.fields(kind) if f.name not in value and _is_required(f)]
    if missing:
        raise InputError(f"{where} lacks {', '.join(missing)}")
    return kind(**{key: _convert(hints[key], v, f"{where}.{key}") for key, v in value.items()})


def _is_required(field: dataclasses.Field[Any]) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _expect(holds: bool, where: str, expected: str, value: Any) -> None:
    if not holds:
        raise InputError(f"{where} is {value!r}; expected {expected}")


_NAMES = {str: "string", int: "integer", float: "number", bool: "boolean"}


def json_schema(kind: Any) -> dict[str, Any]:
    """Return the JSON schema (draft 2020-12) of a record type."""
    if dataclasses.is_dataclass(kind):
        hints = get_type_hints(kind)
        fields = dataclasses.fields(kind)
        return {
            "type": "object",
            "description": (kind.__doc__ or "").split("\n", 1)[0],
            "properties": {field.name: json_schema(hints[field.name]) for field in fields},
            "required": [field.name for field in fields if _is_required(field)],
            "additionalProperties": False,
        }
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return {"anyOf": [json_schema(_optional(kind)), {"type": "null"}]}
    if origin is tuple:
        return {"type": "array", "items": json_schema(arguments[0])}
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is not None:
        return {"type": "object"}
    return {"type": _NAMES[kind]} if kind in _NAMES else {}
