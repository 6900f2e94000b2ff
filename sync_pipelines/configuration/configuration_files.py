"""Files that configure the program: `.env` and `sources.yaml`.

Belongs here: what none of them may be. Does not belong here: what they say (`settings`, `sources`).
"""

from __future__ import annotations

import os
import stat


def why_not_read(status: os.stat_result, largest: int) -> str | None:
    """Why a file is not opened, or None: a pipe may never end, and nobody writes that much by hand.

    Args:
        status: of the file, links followed.
        largest: bytes.
    """
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file"
    return f"it is larger than {largest >> 20} MiB" if status.st_size > largest else None
