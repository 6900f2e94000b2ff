"""Names users type: partners, streams and reject codes.

Belongs here: refusing unknown ones with a near word. Does not belong here: what they are (`partners`, `contracts`).
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import click

from sync_pipelines.contracts.codes import ALL_CODES
from sync_pipelines.partners import STREAMS


def check_names(partner: str | None, stream: str | None) -> None:
    """Refuses a partner or stream that is not in the registry.

    Raises:
        click.UsageError: with the names there are.
    """
    partners = dict.fromkeys(s.partner for s in STREAMS)
    if partner is not None and partner not in partners:
        raise click.UsageError(f"there is no partner {partner!r}; {_nearest(partner, partners)}")
    of_partner = [s for s in STREAMS if partner in (None, s.partner)]
    streams = dict.fromkeys(name for s in of_partner for name in (s.name, s.full_name))
    if stream is not None and stream not in streams:
        raise click.UsageError(f"there is no stream {stream!r}; {_nearest(stream, streams)}")


def _nearest(word: str, names: Iterable[str]) -> str:
    known = list(names)
    near = difflib.get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"one of {', '.join(known)}"


def check_code(code: str | None) -> None:
    """Refuses a code that no record can be refused with.

    Raises:
        click.UsageError: with a near one.
    """
    if code is not None and code not in ALL_CODES:
        raise click.UsageError(f"there is no reject code {code!r}; {_nearest(code, ALL_CODES)}")
