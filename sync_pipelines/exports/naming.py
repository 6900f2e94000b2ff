"""Whether a path is an export yet, and which of two exports of one time is the newer (X4).

Belongs here: pure functions over paths below `<stream>/`. Does not belong here: dates in paths (`file_dates`),
listing.
"""

from __future__ import annotations

import re

_NUMBER = re.compile("[0-9]+")
_UNFINISHED = (".part", ".tmp", ".partial", ".filepart", ".crdownload", ".swp", "~")
_OF_THE_SYSTEM = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini"})


def is_export_name(name: str) -> bool:
    """Whether a path below `<stream>/` is an export already.

    Names that start with `.` or `_`, of the file or of a folder, are not. Neither are, in any case, the names of
    unfinished uploads and downloads (`.part`, `.tmp`, `.partial`, `.filepart`, `.crdownload`), of files that stand
    beside an open one (`~$...`, `.swp`, `...~`), and of files that systems leave (`Thumbs.db`, `desktop.ini`).
    """
    if name.startswith((".", "_")) or "/." in name or "/_" in name:
        return False
    last = name.rsplit("/", 1)[-1].lower()
    return not (last.endswith(_UNFINISHED) or last.startswith("~$") or last in _OF_THE_SYSTEM)


def natural_order(path: str) -> bytes:
    """A key by which paths sort in the natural order of their digits: `a_9` before `a_10` (X4).

    Everything else compares by its bytes. Two paths have one key only if they are equal: numbers that differ in
    leading zeros alone are told apart by those.
    """
    return _NUMBER.sub(_with_length, path).encode()


def _with_length(number: re.Match[str]) -> str:
    digits = number[0].lstrip("0")
    # A number stands where its first digit would, and a longer one after a shorter one.
    return f"0{chr(len(digits) + 1)}{digits}{chr(len(number[0]) - len(digits) + 1)}"
