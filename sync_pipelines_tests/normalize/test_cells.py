"""What cells of flat files come to: errors of spreadsheets, words, blanks, codes."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from sync_pipelines.contracts import fields
from sync_pipelines.contracts.raw import CellError
from sync_pipelines.contracts.reading import Reading
from sync_pipelines.normalize.faults import code_of


def read(kind: Any, value: Any, **conventions: Any) -> tuple[Any, dict[str, int]]:
    """A value as a field of that type reads it, or the code of its refusal; and what was forgiven."""
    reading = Reading(**{"flat": True, **conventions}, leniencies=Counter())
    try:
        return TypeAdapter(kind).validate_python(value, strict=False, context=reading), dict(reading.leniencies)
    except ValidationError as error:
        return code_of(error.errors()[0]), dict(reading.leniencies)


@pytest.mark.parametrize("kind", [fields.Key, fields.Text, fields.Money, fields.Count, fields.Flag, fields.Instant])
def test_an_error_of_a_spreadsheet_is_no_value(kind: Any) -> None:
    assert read(kind, CellError("#N/A"))[0] == "cell_error"
