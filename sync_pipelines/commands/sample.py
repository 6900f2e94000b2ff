"""`sync-pipelines sample`: sample exports in the landing's layout.

Belongs here: where they are written, and the output. Does not belong here: their content (`sample`).
"""

from __future__ import annotations

import shlex
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import click

from sync_pipelines.command_line import typed
from sync_pipelines.commands.progress import working
from sync_pipelines.commands.screen import notify, say
from sync_pipelines.configuration.settings import load_settings
from sync_pipelines.errors import ConfigurationError
from sync_pipelines.privacy.redaction import redacted
from sync_pipelines.sample_data import sample_sources, write_sample


def run(
    dest: str | None,
    days: int,
    orders: int,
    seed: int,
    *,
    until: date | None = None,
    if_empty: bool,
    sources: Path | None = None,
) -> int:
    """Writes the sample, which ends yesterday by default, and its sources file where one is asked for or missing."""
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    if until is not None and until > yesterday:
        raise click.UsageError(f"--until {until} is not over yet (UTC); take {yesterday} or an earlier day")
    settings = load_settings() if dest is None else None
    target = dest or (settings.landing if settings else "")
    if "://" in target:
        if if_empty:
            notify(f"{redacted(target)} is not a local folder; no sample was written")
            return 0
        raise click.UsageError(f"{redacted(target)} is not a local folder; name one as DEST")
    folder = Path(target)
    if if_empty and folder.is_dir() and any(folder.iterdir()):
        return 0
    if sources is not None and _is_another(sources):
        raise click.UsageError(f"{sources} already exists; name another file with --sources")
    with working(f"writing sample exports to {folder} ..."):
        summary = write_sample(folder, days=days, orders=orders, seed=seed, last_day=until or yesterday)
    say(
        f"{len(summary.files):,} sample exports of {summary.first_day} to {summary.last_day} with {summary.records:,}"
        f" records ({summary.size / 1e6:,.1f} MB) in {folder}"
    )
    _offer_sources(sources or (settings.sources if settings else None), target)
    return 0


def _offer_sources(path: Path | None, target: str) -> None:
    """Writes the sources file, or prints how to get it."""
    if path is None:
        notify(f"to link orders to Traede's customers: {typed(f'sample {shlex.quote(target)} --sources sources.yaml')}")
    elif path.exists():
        notify(f"{path} already exists and was not changed")
    else:
        try:
            path.write_text(sample_sources(), encoding="utf-8")
        except OSError as error:
            hint = "name a file in a folder you may write"
            raise ConfigurationError("sample_unwritable", f"{path}: {error.strerror}", hint) from error
        notify(f"its sources file: {path}")


def _is_another(path: Path) -> bool:
    return path.exists() and (not path.is_file() or path.read_bytes() != sample_sources().encode())
