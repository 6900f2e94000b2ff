"""The declarations and cases of a partner, see `sync_pipelines.testing`."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.partners.declarations import declaration_errors
from sync_pipelines.testing.case_files import CaseRun, answer_of
from sync_pipelines.testing.declarations import check_reading, check_settling, sent, small_blocks
from sync_pipelines.testing.declared_records import records_of, rows_of

_EXAMPLES = hypothesis_settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))


def test_the_declaration_fits_the_tables(stream: Stream) -> None:
    """It names columns and codes there are."""
    assert declaration_errors(stream) == []


@_EXAMPLES
@given(data=st.data())
def test_records_are_read_as_the_functions_read_them(
    tmp_path_factory: pytest.TempPathFactory, stream: Stream, data: st.DataObject
) -> None:
    """`prepared`, `link_fields` and `listing_fields` name all that the functions look at."""
    records = data.draw(st.lists(records_of(stream), min_size=2, max_size=8))
    with small_blocks():
        check_reading(stream, tmp_path_factory.mktemp("read"), count(), records)


@_EXAMPLES
@given(data=st.data())
def test_settle_looks_at_what_is_declared(stream: Stream, data: st.DataObject) -> None:
    """`settles` and `carries` name all that `settle` reads, writes and keeps."""
    if stream.settle is None:
        pytest.skip("it has no `settle`")
    (row, lists), (later, _) = data.draw(rows_of(stream)), data.draw(rows_of(stream))
    check_settling(stream, row, lists, sent(stream, later))


def test_case(case: Path, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """A case comes out as it says."""
    told: dict[str, Any] = yaml.safe_load(case.read_text())
    CaseRun(settings).check(told)
    for query, answer in told.get("answers", {}).items():
        capsys.readouterr()
        answer_of(query)
        assert capsys.readouterr().out == answer, query
