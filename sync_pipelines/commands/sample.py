"""`sync-pipelines sample`: sample exports in the landing's layout.

Belongs here: where they go and what is said about it. Does not belong here: what is in them (`sample`).
"""

from __future__ import annotations

from pathlib import Path

import click

from sync_pipelines.commands.progress import working
from sync_pipelines.commands.screen import say, tell
from sync_pipelines.sample import write_sample
from sync_pipelines.settings import load_settings, redacted


def run(dest: str | None, days: int, orders: int, seed: int, *, if_empty: bool) -> int:
    """Writes the sample."""
    target = dest or load_settings().landing
    if "://" in target:
        if if_empty:
            tell(f"{redacted(target)} is not a local folder: no sample is put there")
            return 0
        raise click.UsageError(f"{redacted(target)} is not a local folder; name one as DEST")
    folder = Path(target)
    if if_empty and folder.is_dir() and any(folder.iterdir()):
        return 0
    with working(f"writing sample exports to {folder} ..."):
        summary = write_sample(folder, days=days, orders=orders, seed=seed)
    say(
        f"{len(summary.files):,} sample exports of {summary.first_day} to {summary.last_day} with {summary.records:,}"
        f" records ({summary.size / 1e6:,.1f} MB) in {folder}"
    )
    return 0
