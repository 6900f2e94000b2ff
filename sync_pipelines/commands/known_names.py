"""Names users type: partners, streams, reject codes and outcomes.

Belongs here: rejecting unknown ones with a suggestion. Does not belong here: what they are (`partners`, `contracts`).
"""

from __future__ import annotations

import click

from sync_pipelines.contracts.codes import ALL_CODES
from sync_pipelines.contracts.near_names import suggestion
from sync_pipelines.partners import STREAMS
from sync_pipelines.tables.schema import OUTCOMES


def check_names(partner: str | None, stream: str | None) -> None:
    """Checks that a partner or stream is in the registry.

    Raises:
        click.UsageError: it is not; the message suggests a name.
    """
    partners = dict.fromkeys(s.partner for s in STREAMS)
    if partner is not None and partner not in partners:
        raise click.UsageError(f"unknown partner {partner!r}; {suggestion(partner, partners)}")
    of_partner = [s for s in STREAMS if partner in (None, s.partner)]
    streams = dict.fromkeys(name for s in of_partner for name in (s.name, s.full_name))
    if stream is not None and stream not in streams:
        raise click.UsageError(f"unknown stream {stream!r}; {suggestion(stream, streams)}")


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
