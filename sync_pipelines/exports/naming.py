"""Which files are exports, and which of two exports of one time is newer (X4).

Belongs here: pure functions over paths below `<stream>/`. Does not belong here: dates in paths (`file_dates`),
listing.
"""

from __future__ import annotations

import re

_NUMBER = re.compile("[0-9]+")
_UNFINISHED = (".part", ".tmp", ".partial", ".filepart", ".crdownload", ".swp", "~")
_OF_THE_SYSTEM = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini"})


def is_export_name(name: str) -> bool:
    """Whether a path below `<stream>/` is a complete export.

    Files and folders whose names start with `.` or `_` are not. Neither are, in any case, unfinished uploads and
    downloads (`.part`, `.tmp`, `.partial`, `.filepart`, `.crdownload`), editor files (`~$...`, `.swp`, `...~`) and
    system files (`Thumbs.db`, `desktop.ini`).
    """
    if name.startswith((".", "_")) or "/." in name or "/_" in name:
        return False
    last = name.rsplit("/", 1)[-1].lower()
    return not (last.endswith(_UNFINISHED) or last.startswith("~$") or last in _OF_THE_SYSTEM)


def natural_order(path: str) -> bytes:
    """Returns a key that sorts paths in the natural order of their digits: `a_9` before `a_10` (X4).

    Everything else compares by bytes. Different paths have different keys, even if they differ only in leading zeros.
    """
    return _NUMBER.sub(_with_length, path).encode()


def _with_length(number: re.Match[str]) -> str:
    digits = number[0].lstrip("0")
    # A number sorts where its first digit would, and after all shorter numbers.
    return f"0{chr(len(digits) + 1)}{digits}{chr(len(number[0]) - len(digits) + 1)}"
