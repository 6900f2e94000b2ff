"""Exports that a guard holds, as commands print them: why, which records would be rejected, how to load one anyway.

Belongs here: layout. Does not belong here: when an export is held (`upsert.guards`), releasing it (`release`).
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import Final

from sync_pipelines.command_line import typed
from sync_pipelines.commands.screen import print_table, say
from sync_pipelines.database.ledger import LedgerFile

_SHOWN: Final = 5
_CODES: Final = 3


def print_held(entries: Sequence[LedgerFile], *, is_preview: bool = False) -> None:
    """Prints held exports; nothing if there are none."""
    if not entries:
        return
    say("")
    print_table(("file that would be held" if is_preview else "held file", "why"), [(e.path, why(e)) for e in entries])
    for entry in entries[:_SHOWN]:
        say(f"{entry.path} would be: {_counts(entry)}")
        for reject in (entry.held or {}).get("rejects", ())[:_CODES]:
            is_said = not reject["field"] or reject["message"].startswith(reject["field"])
            field = "" if is_said else f" {reject['field']}"
            say(
                f"{entry.path}: {reject['records']:,} x {reject['code']}, such as at {reject['position'] or '?'}:"
                f"{field} {reject['message']}"
            )
    if not is_preview:
        say(
            "Nothing of a held file is loaded. Correct it and put it at the same path, or load it as it is:"
            f" {release_command(entries[0].path)}"
        )


def _counts(entry: LedgerFile) -> str:
    counts = (entry.held or {}).get("counts", {})
    outcomes = [f"{n:,} {name.replace('_', ' ')}" for name, n in counts.items() if n and name != "read"]
    return f"{counts.get('read', 0):,} read ({', '.join(outcomes)})"


def why(entry: LedgerFile) -> str:
    """Returns why an export is held."""
    return (entry.error or "").removeprefix("held: ")


def release_command(path: str) -> str:
    """Returns the command that loads a held export."""
    return typed(f'release {shlex.quote(path)} --reason "..."')
