"""Names users type: partners, streams, reject codes and outcomes.

Belongs here: rejecting unknown ones with a suggestion. Does not belong here: what they are (`partners`, `contracts`).
"""

from __future__ import annotations

import click

from sync_pipelines.commands.screen import notify
from sync_pipelines.contracts.codes import ALL_CODES
from sync_pipelines.contracts.near_names import suggestion
from sync_pipelines.partners import STREAMS, UNUSABLE, find_unusable
from sync_pipelines.tables.schema import OUTCOMES


def check_names(partner: str | None, stream: str | None) -> None:
    """Checks that a partner and a stream are in the registry.

    Raises:
        click.UsageError: one is unknown; with the names that exist, or why the partner's package is left out.
    """
    if (unusable := find_unusable(partner)) is not None:
        raise click.UsageError(str(unusable))
    partners = dict.fromkeys(s.partner for s in STREAMS)
    if partner is not None and partner not in partners:
        raise click.UsageError(f"unknown partner {partner!r}; {suggestion(partner, partners)}")
    of_partner = [s for s in STREAMS if partner in (None, s.partner)]
    streams = dict.fromkeys(name for s in of_partner for name in (s.name, s.full_name))
    if stream is not None and stream not in streams:
        owner = "" if partner is None else f" of {partner}"
        raise click.UsageError(f"unknown stream {stream!r}{owner}; {suggestion(stream, streams)}")


def report_unusable(partner: str | None) -> bool:
    """Prints which partners of installed packages are left out; returns whether any is.

    Args:
        partner: the only one of interest; None for all.
    """
    found = [one for one in UNUSABLE if partner in (None, one.name)]
    for one in found:
        notify(f"error: {one}")
    return bool(found)


def check_code(code: str | None) -> None:
    """Checks that a code exists.

    Raises:
        click.UsageError: it does not; the message suggests one.
    """
    if code is not None and code not in ALL_CODES:
        raise click.UsageError(f"unknown reject code {code!r}; {suggestion(code, ALL_CODES)}")


def checked_outcomes(names: str | None) -> list[str]:
    """Returns the outcomes that are named, separated by commas; all of them where none is.

    Raises:
        click.UsageError: one is unknown; the message suggests one.
    """
    if names is None:
        return list(OUTCOMES)
    found = [name.strip() for name in names.split(",")]
    for name in found:
        if name not in OUTCOMES:
            raise click.UsageError(f"unknown outcome {name!r}; {suggestion(name, OUTCOMES)}")
    return found
