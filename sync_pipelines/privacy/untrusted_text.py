r"""Text from exports, file names and error messages, made safe for the place where it is written.

| place | function | what it changes |
|---|---|---|
| PostgreSQL (`text`, `jsonb`), Dagster's storage | `storable` | NUL and lone surrogates become visible escapes |
| terminal, log line, plain-text metadata | `on_one_line` | also line breaks, control and invisible characters |
| Slack | `slack_escaped` | characters that Slack reads as a link, a mention or a format |

No text of an export reaches Markdown or HTML: the UI shows it as plain-text metadata or in a table cell.

Belongs here: escaping. Does not belong here: masking personal data, hiding passwords, layout.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_SLACK: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
_SLACK_FORMAT: Final = re.compile(r"([*~`]|(?<!\w)_|_(?!\w))")
"""An underscore within a word is not formatting in Slack: paths and codes stay fit to copy."""
_ZERO_WIDTH_SPACE: Final = "\u200b"
_INVISIBLE: Final = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})


def storable(text: str) -> str:
    r"""Returns the text with NUL and lone surrogates as `\u0000` and `\udfaa`, so that PostgreSQL can store it."""
    if text.isascii() and "\x00" not in text:
        return str(text)  # a reader's cell is a subclass
    return text.replace("\x00", "\\u0000").encode("utf-8", "backslashreplace").decode()


def on_one_line(text: str) -> str:
    r"""Returns the text with control, format and line-separating characters as escapes (`\n`, `\x1b`, `\u202e`)."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible, text))


def slack_escaped(text: str) -> str:
    """Returns Slack markup that displays the text itself, without links, mentions or formatting."""
    return _SLACK_FORMAT.sub(rf"{_ZERO_WIDTH_SPACE}\1", on_one_line(text).translate(_SLACK))


def _visible(character: str) -> str:
    if unicodedata.category(character) not in _INVISIBLE:
        return character
    return "\\u0000" if character == "\x00" else character.encode("unicode_escape").decode()
