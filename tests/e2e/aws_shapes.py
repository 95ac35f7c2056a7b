"""Whether a JSON value is what botocore's own service model says: names, types, enums, patterns and bounds."""

from __future__ import annotations

import re

_PLAIN = {
    "string": str,
    "boolean": bool,
    "integer": int,
    "long": int,
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float),
}


def check(value: object, shape, where: str = "") -> None:
    """Raises AssertionError that says where the value departs from the shape."""
    where = where or shape.name
    if shape.type_name == "structure":
        assert isinstance(value, dict), where
        assert set(value) <= set(shape.members), f"{where} has {set(value) - set(shape.members)}"
        assert set(shape.required_members) <= set(value), where
        for name, member in value.items():
            check(member, shape.members[name], f"{where}.{name}")
        return
    if shape.type_name == "list":
        assert isinstance(value, list), where
        for item in value:
            check(item, shape.member, f"{where}[]")
        return
    assert isinstance(value, _PLAIN[shape.type_name]), f"{where}: {type(value)}"
    assert isinstance(value, bool) == (shape.type_name == "boolean"), where
    size = len(value) if isinstance(value, str) else value
    assert shape.metadata.get("min", size) <= size <= shape.metadata.get("max", size), f"{where}: {size}"
    if shape.type_name == "string" and shape.enum:
        assert value in shape.enum, f"{where}: {value}"
    if "pattern" in shape.metadata:
        assert re.fullmatch(shape.metadata["pattern"], value), f"{where} does not fit {shape.metadata['pattern']}"
