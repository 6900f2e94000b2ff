"""UTF-8 that is only checked reads as UTF-8 that is decoded, wherever it is cut and whatever is wrong with it."""

from __future__ import annotations

import codecs
import io
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import Any, BinaryIO

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sync_pipelines.errors import ExportError
from sync_pipelines.exports import lines as physical
from sync_pipelines.exports.lines import Line, line_blocks, numbered_lines
from sync_pipelines.exports.text import Chunks, has_bad_bytes, text_chunks, utf8_chunks
from sync_pipelines_tests.examples import examples

SIZES = st.lists(st.integers(1, 9), min_size=1, max_size=5)
TEXTS = st.lists(
    st.one_of(st.text(max_size=8), st.sampled_from(["", "é", "€", "😀", "\ufeff", "\n", " \t", "{}", "\r\n", "\0"])),
    max_size=6,
).map("".join)
WRONG = st.sampled_from(
    [b"\xff", b"\x80", b"\xc3", b"\xc0\xaf", b"\xe2\x82", b"\xed\xa0\x80", b"\xf0\x9f\x98", b"\xf4\x90\x80\x80",
     b"\xf5", b"\xe0\x80\x80", b"\x80" * 5, b"\xc3\xc3", b"\xe2\x28\xa1", b"\x1f\x8b", b"\xff\xfe", b"\xf0\x80\x80\x80"]
)  # fmt: skip


class Drops(io.BytesIO):
    """A stream that hands out pieces of given sizes, over and over."""

    def __init__(self, data: bytes, sizes: Sequence[int]) -> None:
        super().__init__(data)
        self._sizes = cycle(sizes)

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(next(self._sizes))


def told(
    read: Callable[..., Chunks[Any]], data: bytes, sizes: Sequence[int], encoding: str | None, is_strict: bool = True
) -> Any:
    """The text, or what is wrong with it."""
    stream: BinaryIO = Drops(data, sizes)
    try:
        found = read(stream, encoding)
        chunks = list(found.strict() if is_strict else found)
    except ExportError as fault:
        return fault.code, fault.message, fault.hint, fault.position
    # A chunk that is cut within a character can't be decoded by itself.
    return "".join(c if isinstance(c, str) else c.decode("utf-8", "surrogatepass") for c in chunks)


def assert_both_alike(data: bytes, sizes: Sequence[int], encoding: str | None = None) -> None:
    for is_strict in (True, False):
        found = told(utf8_chunks, data, sizes, encoding, is_strict)
        assert found == told(text_chunks, data, sizes, encoding, is_strict)


@examples(300)
@given(TEXTS, st.sampled_from([b"", codecs.BOM_UTF8]), SIZES)
@example("\ufeff", codecs.BOM_UTF8, [1])
def test_a_text_reads_the_same_however_it_is_cut(text: str, mark: bytes, sizes: list[int]) -> None:
    assert_both_alike(mark + text.encode(), sizes)
    if text.strip(" \t\r\n") and "\0" not in text[:4] and not text.startswith("\ufeff"):
        assert told(utf8_chunks, mark + text.encode(), sizes, None) == text


@examples(500)
@given(TEXTS, WRONG, TEXTS, SIZES, st.sampled_from([b"", codecs.BOM_UTF8]))
def test_bytes_that_do_not_belong_are_told_at_their_place(
    before: str, wrong: bytes, after: str, sizes: list[int], mark: bytes
) -> None:
    data = mark + before.encode() + wrong + after.encode()
    assert_both_alike(data, sizes)
    place = first_wrong(data)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return  # a mark wins
    if place is not None and b"\0" not in data[:4]:
        code, _, _, position = told(utf8_chunks, data, sizes, None)
        assert (code, position.number) == ("bad_encoding", place)


def first_wrong(data: bytes) -> int | None:
    """The first byte that is not UTF-8."""
    try:
        data.decode()
    except UnicodeDecodeError as fault:
        return fault.start
    return None


@examples(200)
@given(st.binary(max_size=20), SIZES)
def test_any_bytes_read_the_same(data: bytes, sizes: list[int]) -> None:
    assert_both_alike(data, sizes)


@examples(100)
@given(
    TEXTS, SIZES, st.sampled_from(["latin-1", "cp1252", "utf-16", "utf-16-le", "utf-32", "utf-8-sig", "UTF8", "nope"])
)
def test_other_encodings_come_as_utf_8(text: str, sizes: list[int], encoding: str) -> None:
    data = text.encode("utf-8" if encoding == "nope" else encoding, "replace")
    assert_both_alike(data, sizes, encoding)


@examples(200)
@given(st.lists(st.one_of(TEXTS.map(str.encode), WRONG), max_size=6).map(b"".join), SIZES)
def test_marks_stand_for_the_bytes_that_do_not_belong(data: bytes, sizes: list[int]) -> None:
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) or b"\0" in data[:4] or not data.strip(b" \t\r\n"):
        return
    found = told(text_chunks, data, sizes, None, False)
    if isinstance(found, str):
        assert has_bad_bytes(found) == (first_wrong(data) is not None)
        assert "".join(map(unmarked, found)).encode("utf-8", "surrogateescape") == data.removeprefix(codecs.BOM_UTF8)


def unmarked(character: str) -> str:
    """A mark as Python itself would have it."""
    return chr(ord(character) - 0x100) if "\udd00" <= character <= "\uddff" else character


@pytest.mark.parametrize("encoding", [None, "cp1252", "latin-1", "utf-16-le", "utf-8"])
@pytest.mark.parametrize("mark", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_wins_over_the_encoding(encoding: str | None, mark: str) -> None:
    assert told(text_chunks, "Café".encode(mark), [1], encoding) == "Café"
    assert told(utf8_chunks, "Café".encode(mark), [3], encoding) == "Café"


def test_latin_1_has_the_letters_of_cp1252() -> None:
    assert told(text_chunks, "“5 €”".encode("cp1252"), [2], "latin-1") == "“5 €”"


@pytest.mark.parametrize("sizes", [[1], [2], [100]])
@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "iso8859-15", "ascii"])
def test_utf_8_is_not_read_as_an_encoding_of_single_bytes(encoding: str, sizes: list[int]) -> None:
    code, _, hint, _ = told(text_chunks, "a,Café\n".encode(), sizes, encoding, False)
    assert (code, "utf-8" in hint) == ("bad_encoding", True)


def test_a_letter_of_another_encoding_tells_that_the_file_is_not_utf_8() -> None:
    data = "Ã©\n".encode("cp1252") + "Café\n".encode("cp1252")
    assert told(text_chunks, data, [3], "cp1252") == "Ã©\nCafé\n"


@pytest.mark.parametrize("blank", [b"", b" \n", codecs.BOM_UTF8, codecs.BOM_UTF8 + b"\r\n\t"])
def test_nothing_but_white_space_is_an_empty_file(blank: bytes) -> None:
    for sizes in ([1], [2, 1], [100]):
        assert told(utf8_chunks, blank, sizes, None)[0] == "empty_file"
        assert_both_alike(blank, sizes)


# -- lines -----------------------------------------------------------------------------------------------------


def cut(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    return iter(Drops(data, sizes).read, b"")


def lines_of(data: bytes, sizes: Sequence[int]) -> list[Line]:
    """All lines of all blocks, whose numbers follow one another."""
    found: list[Line] = []
    for block in line_blocks(cut(data, sizes)):
        assert block.first == len(found) + 1
        found += block.lines
        assert block.end == len(found) + 1
    return found


@examples(300)
@given(TEXTS, SIZES, st.integers(1, 3), st.integers(1, 20))
def test_lines_are_those_of_the_text(text: str, sizes: list[int], block: int, length: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(physical, "BLOCK_LINES", block)
        patch.setattr(physical, "BLOCK_TEXT", length)
        assert lines_of(text.encode(), sizes) == list(numbered_lines([text]))


@examples(300)
@given(st.lists(st.integers(0, 40), max_size=6), SIZES, st.booleans())
def test_lines_that_are_too_long_are_cut_as_those_of_the_text(lengths: list[int], sizes: list[int], ends: bool) -> None:
    text = "\n".join("abcdefghij" * 4 if n == 40 else "x" * n for n in lengths) + "\n" * ends
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(physical, "LINE_LIMIT", 12)
        patch.setattr(physical, "DAMAGE_TEXT", 5)
        expected = list(numbered_lines(chunk.decode() for chunk in cut(text.encode(), sizes)))
        found = lines_of(text.encode(), sizes)
        assert found == expected
        assert all(line.is_whole == (n <= 12) for line, n in zip(found, lengths, strict=False))


@pytest.mark.parametrize("sizes", [[1], [3], [4, 7]])
def test_a_long_line_is_cut_within_a_character(sizes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(physical, "LINE_LIMIT", 12)
    monkeypatch.setattr(physical, "DAMAGE_TEXT", 5)
    first, long, last = lines_of(f"a\n{'é' * 20}\nb".encode(), sizes)
    assert (first.text, last) == ("a", Line(3, "b", is_ended=False))
    assert (long.text, long.is_whole, long.is_ended) == ("éé", False, True)
