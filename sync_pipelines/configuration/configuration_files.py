"""Files that configure the program: `.env` and `sources.yaml`.

Belongs here: which files are not opened. Does not belong here: their content (`settings`, `sources`).
"""

from __future__ import annotations

import os
import stat


def why_not_read(status: os.stat_result, largest: int) -> str | None:
    """Returns why a file is not opened, or None. Pipes and very large files are not opened.

    Args:
        status: status of the file, after following links.
        largest: the largest size, in bytes.
    """
    if not stat.S_ISREG(status.st_mode):
        return "it is not a regular file"
    return f"it is larger than {largest >> 20} MiB" if status.st_size > largest else None
