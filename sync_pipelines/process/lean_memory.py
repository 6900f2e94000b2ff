"""Memory shared between threads.

The C library of Linux gives threads an arena each, up to eight for each processor. What one of them frees no other
gets: fifty megabytes of a large sync.

Belongs here: telling it otherwise. Does not belong here: Arrow's own pool (`stages.normalize_export`).
"""

from __future__ import annotations

import ctypes
from typing import Final

_ARENA_MAX: Final = -8
"""M_ARENA_MAX of malloc.h."""
_ARENAS: Final = 2


def share_memory() -> None:
    """Has the threads that are yet to come share two arenas; other C libraries are left alone."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_ARENA_MAX, _ARENAS)
