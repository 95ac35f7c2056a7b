"""The page of every call of the API, made from the OpenAPI description of the service as it is built."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from api.app import create_app
from api.wiring import open_services
from lookalike.settings import Settings

Json = Mapping[str, Any]

HEAD = """# Every call
Made from the description that the service itself gives at `/openapi.json`. What it cannot say (who may call what,
what an answer means, how to do a write once) is in [the HTTP API](api.md); refusals are in [errors](errors.md). A
field with `?` may be left out.
"""
_USUAL = frozenset({"401", "403", "422", "429", "503", "507"})


def description() -> dict[str, Any]:
    """What a service answers at /openapi.json."""
    with tempfile.TemporaryDirectory() as folder:
        services = open_services(Settings(data=Path(folder) / "data"))
        try:
            return create_app(services).openapi()
        finally:
            services.close()


def reference() -> str:
    """The page, as Markdown."""
    return render(description())


def render(described: Json) -> str:
    """One section for each tag, one entry for each call, then every shape that they name."""
    lines = [HEAD]
    by_tag: dict[str, list[str]] = {}
    for path, calls in described["paths"].items():
        for method, call in calls.items():
            by_tag.setdefault(call.get("tags", ["service"])[0], []).extend(_call(method, path, call))
    for tag, entries in by_tag.items():
        lines += [f"## {tag[0].upper()}{tag[1:]}", *entries]
    lines.append("## Shapes")
    for name, schema in sorted(described["components"]["schemas"].items()):
        lines += _shape(name, schema)
    return "\n".join(lines) + "\n"


def _call(method: str, path: str, call: Json) -> Iterator[str]:
    yield f"### {method.upper()} `{path}`"
    yield call.get("description", call.get("summary", "")).strip()
    yield ""
    for parameter in call.get("parameters", ()):
        needed = "" if parameter.get("required") else "?"
        told = parameter.get("description", "")
        kind = _kind(parameter["schema"])
        yield f"- {parameter['in']} `{parameter['name']}{needed}`: {kind}{' – ' + told if told else ''}"
    for content, body in call.get("requestBody", {}).get("content", {}).items():
        yield f"- body `{content}`: {_kind(body.get('schema', {}))}"
        yield from _fields(body.get("schema", {}), "    ")
    usual = []
    for status, answer in call["responses"].items():
        if status in _USUAL:
            usual.append(status)
            continue
        for content, body in answer.get("content", {}).items() or (("", {}),):
            shown = f" `{content}`: {_kind(body.get('schema', {}))}" if content else " without a body"
            yield f"- answers {status}{shown}"
    if usual:
        yield f"- refusals: {', '.join(usual)}"
    yield ""


def _shape(name: str, schema: Json) -> Iterator[str]:
    yield f"### {name}"
    if schema.get("description"):
        yield schema["description"].strip()
    yield ""
    if "properties" in schema:
        yield from _fields(schema, "")
    else:
        yield f"- {_kind(schema)}"
    yield ""


def _fields(schema: Json, indent: str) -> Iterator[str]:
    required = schema.get("required", ())
    for field, what in schema.get("properties", {}).items():
        mark = "" if field in required else "?"
        told = " ".join(what.get("description", "").split())
        yield f"{indent}- `{field}{mark}`: {_kind(what)}{' – ' + told if told else ''}{_bounds(what)}"


def _kind(schema: Json) -> str:
    """A schema in a few words, with a link to the shape that it names."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    for union in ("anyOf", "oneOf", "allOf"):
        if union in schema:
            return " or ".join(dict.fromkeys(_kind(each) for each in schema[union]))
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    kind = schema.get("type", "anything")
    if kind == "array":
        return f"list of {_kind(schema.get('items', {}))}"
    if kind == "object" and isinstance(schema.get("additionalProperties"), Mapping):
        return f"map of {_kind(schema['additionalProperties'])}"
    return f"{kind} ({schema['format']})" if "format" in schema else str(kind)


def _bounds(schema: Json) -> str:
    words = {"minimum": "≥", "maximum": "≤", "exclusiveMinimum": ">", "maxLength": "characters ≤", "default": "default"}
    said = [f"{word} {schema[name]}" for name, word in words.items() if schema.get(name) is not None]
    return f" ({', '.join(said)})" if said else ""
