r"""JSON that is not quite JSON: where a broken value ends, and trailing commas.

Belongs here: finding the next value after a broken one, removing trailing commas. Does not belong here: decoding
(`json_values`), positions of values in a file (`json_stream`, `lines`).
"""

from __future__ import annotations

import re
from json import JSONDecodeError
from typing import Any, Final

from sync_pipelines.exports.json_values import decode_at

TRAILING_COMMA: Final = "trailing_comma"
MISSING_COMMA: Final = "missing_comma"

_COMMA: Final = re.compile(r'("(?:[^"\\]|\\.)*")|,(?=\s*[}\]])', re.DOTALL)
_TOKEN: Final = re.compile(r'\\.|["\[\]{},:\n]|[^\s"\\\[\]{},:]+', re.DOTALL)
_OBJECT: Final = re.compile(r"\s*\{")
_AFTER_A_STRING: Final = re.compile(r"[ \t\r]*([,:}\]\n]|$)")


def decode_mended(text: str) -> Any:
    """Decodes a text after removing the commas before closing brackets.

    Raises:
        JSONDecodeError: it is still invalid, or there is no such comma.
        NestedTooDeep: it has too many levels.
    """
    mended = _COMMA.sub(lambda found: found[1] or "", text)
    value, end = decode_at(mended, 0)
    if len(mended) == len(text) or mended[end:].strip():
        raise JSONDecodeError("Extra data", text, 0)
    return value


def end_of_broken(text: str, begin: int, is_all: bool) -> int | None:
    """Returns where a broken value that begins at `begin` ends, so that the values after it can be read.

    It ends with its closing bracket, or before a comma or closing bracket that is not its own (such a bracket alone is
    a broken value). If it is never closed, it ends before an object that begins a line with the same indent. A quote
    followed by more text belongs to the text. An object on the next line ends a text without a closing quote.

    Args:
        text: the text that contains the value.
        begin: where the value begins.
        is_all: whether the document ends with the text.

    Returns:
        The position after the value, or None if the text is not enough to decide.
    """
    open_: list[str] = []
    indent = _indent(text, begin) if text[begin : begin + 1] == "{" else None
    last, in_string = "", False
    for token in _TOKEN.finditer(text, begin):
        mark = token[0]
        if in_string:
            following = _OBJECT if mark == "\n" else _AFTER_A_STRING if mark == '"' else None
            ends = following is not None and following.match(text, token.end()) is not None
            if mark == '"' and not is_all and not text[token.end() :].strip(" \t\r"):
                return None
            in_string = not ends
        elif mark == '"':
            in_string = True
        elif mark in "[{":
            if mark == "{" and open_ and _indent(text, token.start()) == indent is not None:
                return token.start()
            open_.append(mark)
        elif mark in "]}":
            if not _close(open_, "{" if mark == "}" else "["):
                return token.start() if last else token.end()
            if not open_:
                return token.end()
        elif mark == "," and not open_:
            return token.start()
        if mark != "\n":
            last = mark
    return len(text) if is_all and not open_ and not in_string else None


def _close(open_: list[str], opening: str) -> bool:
    """Closes the innermost bracket of a kind, and those within it. Returns False if none is open."""
    if opening not in open_:
        return False
    while open_.pop() != opening:
        pass
    return True


def _indent(text: str, at: int) -> str | None:
    """Returns the white space before a position that is the first of its line, or None."""
    before = text[text.rfind("\n", 0, at) + 1 : at]
    return None if before.strip(" \t") else before
