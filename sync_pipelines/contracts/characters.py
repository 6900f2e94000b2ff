"""Invisible characters: white space, control characters, and letters that can be written in two ways.

Belongs here: which characters those are, and texts without them. Does not belong here: escaping for display
(`privacy.untrusted_text`), counting leniencies (`fields`).
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Final
from unicodedata import is_normalized, normalize

# pydantic's regex engine, Arrow and str.strip() disagree on white space, so all get this list.
WHITE_SPACE: Final = (
    " \t\n\r\x0b\x0c\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000"
)
"""Blanks, tabs and line breaks of every kind."""
INVISIBLE: Final = (
    "".join(map(chr, (*range(0x01, 0x09), *range(0x0E, 0x20))))
    + "\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\ufeff"
)
"""Control and zero-width characters and direction marks. NUL is not one of them: it is never removed."""
UNSEEN: Final = WHITE_SPACE + INVISIBLE


def composed(text: str) -> str:
    """Returns the text in NFC: an accented letter is one character."""
    return text if text.isascii() or is_normalized("NFC", text) else normalize("NFC", text)


def seen(text: str) -> str:
    """Returns a name in the form that is compared: in NFC, without surrounding white space and invisible characters."""
    return composed(text.strip(UNSEEN))


def matches(path: str, pattern: str) -> bool:
    """Whether a glob matches a path, both in NFC: macOS writes `ñ` as two characters."""
    return fnmatchcase(composed(path), composed(pattern))
