"""A JSON Schema of `sources.yaml` for editors, built from the models that read the file.

`python -m sync_pipelines.configuration.sources_schema` prints it. `docs/sources.schema.json` is its output.

Belongs here: combining the models' schemas. Does not belong here: reading the file (`sources`), which checks more than
a schema can express.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from pydantic import BaseModel

from sync_pipelines.configuration.layouts import layouts
from sync_pipelines.configuration.pull_settings import pull_model
from sync_pipelines.configuration.stream_settings import StreamSettings
from sync_pipelines.configuration.table_settings import TableSettings
from sync_pipelines.configuration.value_settings import ValueSettings
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.partners import STREAMS

Schema = dict[str, Any]
_WORDS: Final = ("null_values", "true_values", "false_values")
_SCALAR: Final[Schema] = {"type": ["string", "number", "boolean", "null"]}
_ATTRIBUTE: Final = re.compile(r"^ {8}(\w[\w, ]*): (.*(?:\n {12}.*)*)", re.MULTILINE)


def sources_schema(streams: Iterable[Stream] = STREAMS) -> Schema:
    """Returns the schema: partners, their streams and the keys of each."""
    known = tuple(streams)
    partners = tuple(dict.fromkeys(stream.partner for stream in known))
    definitions: Schema = {}
    source = {
        "type": "object",
        "required": ["partner", "tenant"],
        "additionalProperties": False,
        "properties": {
            "partner": {"enum": list(partners)},
            "tenant": {
                "type": ["string", "number"],
                "description": "name of its folder in the landing; `*` applies to tenants that are not listed",
            },
            "streams": {"type": ["object", "null"]},
        },
        "allOf": [_of_partner(partner, known, definitions) for partner in partners],
    }
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "sources.yaml of sync_pipelines",
        "description": "Tenants, and how the exports of each of their streams are read.",
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {"sources": {"type": ["array", "null"], "items": source}},
        "definitions": dict(sorted(definitions.items())),
    }


def _of_partner(partner: str, known: Iterable[Stream], definitions: Schema) -> Schema:
    own = {stream.name: _stream(stream, definitions) for stream in known if stream.partner == partner}
    return {
        "if": {"properties": {"partner": {"const": partner}}},
        "then": {"properties": {"streams": {"properties": own, "additionalProperties": False}}},
    }


def _stream(stream: Stream, definitions: Schema) -> Schema:
    """Returns the keys of a stream: references to the keys of every stream, and its partner's own keys."""
    general = _general_keys(definitions)
    definitions |= general
    keys: Schema = {name: {"$ref": f"#/definitions/{name}"} for name in general}
    keys |= {name: _or_null(key) for name, key in _properties(stream.options, definitions).items()}
    names = [key for key, known in layouts().items() if stream.full_name in known.streams]
    keys["layout"] = {"description": _descriptions()["layout"], "enum": [*names, None]}
    if stream.pull is not None:
        keys["pull"] = _or_null(_defined(pull_model(stream.pull), definitions))
    return {"type": ["object", "null"], "additionalProperties": False, "properties": dict(sorted(keys.items()))}


def _general_keys(definitions: Schema) -> Schema:
    keys = _properties(StreamSettings, definitions)
    for name in ("options", "pull", "layout"):
        del keys[name]
    keys["date_format"] = {"anyOf": [{"type": "string"}, keys["date_format"]]}
    keys |= {name: {"anyOf": [{"type": "array", "items": _SCALAR}, _SCALAR]} for name in _WORDS}
    keys["columns"] = {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
    keys["guards"] = {"anyOf": [keys["guards"], {"enum": ["off", False]}]}
    descriptions = _descriptions()
    return {name: {"description": descriptions[name], **_or_null(key)} for name, key in keys.items()}


def _properties(model: type[BaseModel], definitions: Schema) -> Schema:
    schema = model.model_json_schema(mode="validation", ref_template="#/definitions/{model}")
    definitions |= {name: _plain(found) for name, found in schema.pop("$defs", {}).items() if name != "Options"}
    return {name: _plain(found) for name, found in schema.get("properties", {}).items()}


def _defined(model: type[BaseModel], definitions: Schema) -> Schema:
    definitions[model.__name__] = {
        "type": "object",
        "additionalProperties": False,
        "properties": _properties(model, definitions),
    }
    return {"$ref": f"#/definitions/{model.__name__}"}


def _plain(schema: Any) -> Any:
    """Returns a schema without pydantic's titles and defaults, which change with its version."""
    if isinstance(schema, list):
        return [_plain(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: {name: _plain(inner) for name, inner in value.items()} if key == "properties" else _plain(value)
        for key, value in schema.items()
        if key not in ("title", "default", "description")
    }


def _or_null(schema: Schema) -> Schema:
    if "anyOf" in schema and {"type": "null"} in schema["anyOf"]:
        return schema
    return {"anyOf": [schema, {"type": "null"}]}


def _descriptions() -> dict[str, str]:
    """Returns key -> its description in the models' docstrings."""
    found: dict[str, str] = {}
    for model in (TableSettings, ValueSettings, StreamSettings):
        for names, text in _ATTRIBUTE.findall(model.__doc__ or ""):
            found |= {name.strip(): " ".join(text.split()) for name in names.split(",")}
    return found


if __name__ == "__main__":
    print(json.dumps(sources_schema(), indent=2, ensure_ascii=False))
