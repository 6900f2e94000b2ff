"""No `sources.yaml` ends in a trace or never: it is read, or refused with `sources_invalid` and a line."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sync_pipelines.configuration.sources import Sources, load_sources
from sync_pipelines.errors import ConfigurationError

VALID = """\
sources:
  - partner: replenit
    tenant: 7d444840-9dc0-11d1-b245-5ffdce74fad2
    streams:
      orders:
        path: "*.csv"
        encoding: latin-1
        columns: {OrderId: InvoiceNo, Price: UnitPrice}
        constants: {Currency: GBP}
        date_format: "%d/%m/%Y %H:%M"
        timezone: America/Mexico_City
        decimal: ","
        customer_identifier: customer_id
  - partner: nilo
    tenant: "*"
    streams: {stores: {strict: true, empty_is: null}}
"""
PIECES = st.sampled_from(
    [
        *" \n\t:-?&*!|>%@`'\"{}[],#~é\x00\ufeff\u2028",
        *("&a ", "*a", "<<: ", "!!int ", "!!python/object:os.system ", "0x", "1e99999", "9" * 5000),
        *("%d", "%Q", "null", "true", "- ", "? ", "---\n", "...\n", "\\0", "{a: 1}"),
    ]
)
EDITS = st.lists(st.tuples(st.integers(0, len(VALID)), st.integers(0, 12), PIECES | st.text(max_size=4)), max_size=6)


def sources_of(path: Path, text: str | bytes) -> Sources:
    path.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
    found = load_sources(path)
    for one in found.streams.values():
        assert one.fingerprint
    return found


def refusal(path: Path, text: str | bytes) -> str:
    with pytest.raises(ConfigurationError) as refused:
        sources_of(path, text)
    assert refused.value.exit_status == 2
    assert refused.value.code in ("sources_invalid", "tenant_invalid")
    return refused.value.message


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(EDITS)
def test_whatever_is_edited_is_read_or_refused(tmp_path: Path, edits: list[tuple[int, int, str]]) -> None:
    text = VALID
    for at, length, piece in edits:
        text = text[:at] + piece + text[at + length :]
    try:
        sources_of(tmp_path / "sources.yaml", text)
    except ConfigurationError as error:
        assert error.exit_status == 2


@pytest.mark.parametrize("given_format", ["%d/%m/%Y %d", "%", "%d/%m/%Y %", "%d/%m/%Y %E", "%H:%M", "%m/%Y", ""])
def test_a_date_format_that_reads_no_date_is_refused_with_its_line(tmp_path: Path, given_format: str) -> None:
    message = refusal(tmp_path / "sources.yaml", VALID.replace("%d/%m/%Y %H:%M", given_format))
    assert re.search(r"sources\.yaml line 10, .*date_format", message), message


@pytest.mark.parametrize(
    "encoding", ["base64", "zlib", "rot13", "undefined", "idna", "unicode_escape", "no-such", "a\\0b"]
)
def test_an_encoding_that_no_text_has_is_refused(tmp_path: Path, encoding: str) -> None:
    message = refusal(tmp_path / "sources.yaml", VALID.replace("latin-1", f'"{encoding}"'))
    assert "sources.yaml line 7" in message


def test_aliases_that_expand_without_end_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    assert "aliases expanded" in refusal(tmp_path / "sources.yaml", "\n".join(lines))


def test_merges_that_expand_without_end_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 {x: 1}"]
    lines += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 9)}]}}" for n in range(1, 12)]
    assert "sources.yaml line" in refusal(tmp_path / "sources.yaml", "\n".join(lines))


@pytest.mark.parametrize(
    "text",
    [
        "sources: &a [*a]",
        "[" * 5000,
        "sources:\n" + "".join(" " * n + "-\n" for n in range(1, 300)),
        "sources: !!int x",
        "sources: " + "9" * 5000,
        "sources: 1e" + "9" * 30,
        "sources: !!binary aGk=",
        "sources: !!set {a}",
        "? [a]\n: b",
        "sources: 2010-99-99",
        "\tsources: []",
        b"sources: \xff\xfe",
        b"sources: \x00",
        "sources: [{partner: [replenit], tenant: {a: b}}]",
        'sources: [{partner: nilo, tenant: "a\\0b"}]',
    ],
)
def test_what_no_source_can_be_is_refused(tmp_path: Path, text: str | bytes) -> None:
    assert "sources.yaml" in refusal(tmp_path / "sources.yaml", text)


def test_aliases_of_one_block_are_fine(tmp_path: Path) -> None:
    text = """\
sources:
  - partner: nilo
    tenant: a
    streams: {stores: &stores {strict: true}}
  - partner: nilo
    tenant: b
    streams: {stores: *stores}
"""
    assert sources_of(tmp_path / "sources.yaml", text).for_stream("nilo", "b", "stores").strict


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="not a regular file"):
        load_sources(tmp_path / "pipe")
    with pytest.raises(ConfigurationError, match="not a regular file"):
        load_sources(tmp_path)
