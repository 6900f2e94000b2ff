"""The JSON Schema of `sources.yaml` is the models', and what they say of each key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sync_pipelines.configuration.layouts import layouts
from sync_pipelines.configuration.sources_schema import sources_schema
from sync_pipelines.configuration.stream_settings import StreamSettings
from sync_pipelines.partners import STREAMS

FILE = Path(__file__).parents[2] / "docs" / "sources.schema.json"


def keys_of(partner: str, stream: str) -> dict[str, Any]:
    source = sources_schema()["properties"]["sources"]["items"]
    (then,) = [c["then"] for c in source["allOf"] if c["if"]["properties"]["partner"]["const"] == partner]
    found: dict[str, Any] = then["properties"]["streams"]["properties"][stream]["properties"]
    return found


def test_the_file_is_what_the_models_say() -> None:
    """After a change: python -m sync_pipelines.configuration.sources_schema > docs/sources.schema.json."""
    assert json.loads(FILE.read_text()) == sources_schema()


def test_every_key_of_every_stream_is_in_it_and_described() -> None:
    definitions = sources_schema()["definitions"]
    for stream in STREAMS:
        keys = keys_of(stream.partner, stream.name)
        general = set(StreamSettings.model_fields) - {"options"} - (set() if stream.pull else {"pull"})
        assert keys.keys() == general | set(stream.options.model_fields)
        for key in keys.values():
            name = key.get("$ref", "").rpartition("/")[2]
            assert not name or definitions[name]["description"]


def test_layouts_stand_at_their_streams_alone() -> None:
    told = {stream.full_name: keys_of(stream.partner, stream.name)["layout"]["enum"] for stream in STREAMS}
    assert "shopify_orders" in told["replenit/orders"]
    assert told["nilo/stores"] == [None]
    assert {name for names in told.values() for name in names if name} == set(layouts())
