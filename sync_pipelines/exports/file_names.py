r"""File names as text: every name on the disk has one text, and no two names share one.

A byte that is not UTF-8 becomes `\xff`. A backslash that would read as such a byte becomes `\x5c`. All other names
do not change.

Belongs here: those two functions. Does not belong here: what a name means (`naming`).
"""

from __future__ import annotations

import os
import re
from typing import Final

_ESCAPED: Final = re.compile(rb"\\x([0-9a-f]{2})")
_LOOKS_ESCAPED: Final = re.compile(rb"\\(?=x[0-9a-f]{2})")


def shown_name(name: str) -> str:
    """Returns the printable, storable text of a name or path on the disk."""
    if name.isascii() and "\\" not in name:
        return name
    return _LOOKS_ESCAPED.sub(rb"\\x5c", os.fsencode(name)).decode("utf-8", "backslashreplace")


def name_on_disk(shown: str) -> str:
    """Returns the name or path on the disk that has this text."""
    if "\\" not in shown:
        return shown
    return os.fsdecode(_ESCAPED.sub(lambda byte: bytes.fromhex(byte[1].decode()), shown.encode()))
