"""docs/catalog.md's account of the schema, made from the schema so that the two cannot differ."""

import json
import types
import typing
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from cryofound.catalog.entry import CatalogEntry

BEGIN, END = "<!-- fields: begin -->", "<!-- fields: end -->"


def field_tables() -> str:
    """Markdown: a table for the entry and for every section in it, each field with its type, default and meaning."""
    return "\n".join(_table(section) for section in _sections(CatalogEntry))


def with_field_tables(text: str) -> str:
    """The document with its part between BEGIN and END made afresh."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{field_tables()}\n{END}{after}"


def _table(section: type[BaseModel]) -> str:
    heading = "The entry" if section is CatalogEntry else f"`{_title(section)}`"
    lines = [
        f"### {heading}",
        "",
        " ".join((section.__doc__ or "").split()),
        "",
        "| field | type | default | meaning |",
        "|---|---|---|---|",
    ]
    for name, field in section.model_fields.items():
        meaning = _escaped(field.description or "")
        lines.append(f"| `{name}` | {_escaped(_type(field.annotation))} | {_default(field)} | {meaning} |")
    return "\n".join([*lines, ""])


def _title(section: type[BaseModel]) -> str:
    """A member of a union is called by its kind."""
    kind = section.model_fields.get("kind")
    return f"{section.__name__}, kind: {typing.get_args(kind.annotation)[0]}" if kind else section.__name__


def _sections(section: type[BaseModel], seen: set[type] | None = None) -> Iterator[type[BaseModel]]:
    """The section and those that its fields hold, each once, in order."""
    seen = set() if seen is None else seen
    if section in seen:
        return
    seen.add(section)
    yield section
    for field in section.model_fields.values():
        for inner in _models(field.annotation):
            yield from _sections(inner, seen)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _models(part)


def _type(annotation: Any) -> str:
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        return _type(parts[0])
    if origin is Literal:
        return " or ".join(str(part) for part in parts)
    if origin in (typing.Union, types.UnionType):
        models = [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
        if len(models) > 2:
            return "one of " + ", ".join(
                str(typing.get_args(each.model_fields["kind"].annotation)[0]) for each in models
            )
        return " or ".join(_type(part) for part in parts)
    if origin is tuple:
        return f"list of {_type(parts[0])}" if parts[-1] is Ellipsis else " and ".join(_type(part) for part in parts)
    if origin is dict:
        return f"names, each with {_type(parts[1])}"
    named = {str: "text", float: "number", int: "whole number", bool: "true or false", type(None): "null"}
    return named.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "needed"
    value = field.get_default(call_default_factory=True)
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_defaults=True)
        return "`" + ", ".join(f"{key}: {each}" for key, each in value.items()) + "`" if value else "none"
    if isinstance(value, tuple):
        return "`" + ", ".join(str(each) for each in value) + "`" if value else "none"
    return "`" + json.dumps(value).strip('"') + "`"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
