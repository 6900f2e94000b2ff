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
from sync_pipelines.testing.declarations import check_computing, check_reading, sent, small_blocks
from sync_pipelines.testing.declared_records import records_of, rows_of

_EXAMPLES = hypothesis_settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))


def test_the_declaration_fits_the_tables(stream: Stream) -> None:
    """It names only existing columns and codes."""
    assert declaration_errors(stream) == []


@_EXAMPLES
@given(data=st.data())
def test_records_are_equal_in_blocks_and_one_by_one(
    tmp_path_factory: pytest.TempPathFactory, stream: Stream, data: st.DataObject
) -> None:
    """`prepared`, `link_fields` and `listing_fields` name everything that the functions read."""
    records = data.draw(st.lists(records_of(stream), min_size=2, max_size=8))
    with small_blocks():
        check_reading(stream, tmp_path_factory.mktemp("read"), count(), records)


@_EXAMPLES
@given(data=st.data())
def test_compute_reads_only_what_is_declared(stream: Stream, data: st.DataObject) -> None:
    """`computes` and `carries` name everything that `compute` reads, writes and keeps."""
    if stream.compute is None:
        pytest.skip("it has no `compute`")
    (row, lists), (later, _) = data.draw(rows_of(stream)), data.draw(rows_of(stream))
    check_computing(stream, row, lists, sent(stream, later))


def test_case(case: Path, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    """A case has its expected results."""
    expected: dict[str, Any] = yaml.safe_load(case.read_text())
    CaseRun(settings).check(expected)
    for query, answer in expected.get("answers", {}).items():
        capsys.readouterr()
        answer_of(query)
        assert capsys.readouterr().out == answer, query
