"""Files and folders of the landing that belong to no stream, as `sync` and `status` print them.

Belongs here: layout. Does not belong here: finding them (`stages.misplaced`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from sync_pipelines.commands.screen import print_table, say
from sync_pipelines.stages.misplaced import Misplaced

SHOWN: Final = 20
"""At most this many are printed; a landing may have 100,000 files at its root."""
_IN_JSON: Final = 1_000


def print_misplaced(misplaced: Sequence[Misplaced]) -> None:
    """Prints a table of them and how many more there are; nothing if there are none."""
    if not misplaced:
        return
    say("")
    print_table(("belongs to no stream", "why", "what to do"), [one[:3] for one in misplaced[:SHOWN]])
    if len(misplaced) > SHOWN:
        say(f"and {len(misplaced) - SHOWN:,} more files and folders that belong to no stream")


def as_answer(misplaced: Sequence[Misplaced]) -> dict[str, Any]:
    """Returns what `--json` has of them: the first thousand, and how many there are; no key if there are none."""
    if not misplaced:
        return {}
    shown = [{"path": one.path, "why": one.why, "hint": one.hint} for one in misplaced[:_IN_JSON]]
    return {"misplaced": shown, "misplaced_count": len(misplaced)}
