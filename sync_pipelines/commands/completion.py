"""Shell completion: click's scripts, and the names that options complete.

Names come from the registry, `sources.yaml` and the folders of a local landing. No database is asked, and what cannot
be read completes nothing.

Belongs here: completing. Does not belong here: rejecting unknown names (`known_names`).
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click
from click.shell_completion import CompletionItem, get_completion_class

if TYPE_CHECKING:
    from sync_pipelines.contracts.streams import Stream

Shell = Literal["bash", "zsh", "fish"]

_PROGRAM: Final = "sync-pipelines"
_AS_TYPED: Final = {
    "bash": (),
    "zsh": (
        (f"    (( ! $+commands[{_PROGRAM}] )) && return 1\n", ""),
        (f"zsh_complete {_PROGRAM})", "zsh_complete ${(Q)words[1]})"),
    ),
    "fish": ((f"COMP_CWORD=(commandline -t) {_PROGRAM})", "COMP_CWORD=(commandline -t) (commandline -opc)[1])"),),
}
"""What is replaced in click's scripts, so that they call the program as it was typed, such as `./sync-pipelines`."""


def script(cli: click.Command, shell: Shell, variable: str) -> str:
    """Returns the script that has a shell complete `sync-pipelines`, however the program is reached.

    Args:
        cli: the command line.
        shell: which one.
        variable: by which the shell asks.
    """
    completer = get_completion_class(shell)
    assert completer is not None
    source = completer(cli, {}, _PROGRAM, variable).source()
    for before, after in _AS_TYPED[shell]:
        source = source.replace(before, after)
    return source


def partners(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completes the name of a partner."""
    return _items((stream.partner for stream in _streams(context)), incomplete)


def streams(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completes the name of a stream: `partner/stream`, or `stream` once the partner is chosen."""
    chosen = context.params.get("partner")
    known = [stream for stream in _streams(context) if chosen in (None, stream.partner)]
    return _items((stream.name if chosen else stream.full_name for stream in known), incomplete)


def tenants(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completes a tenant: those of `sources.yaml` and the folders of a local landing."""
    chosen = context.params.get("partner") or str(context.params.get("stream") or "").partition("/")[0]
    known = {stream.partner for stream in _streams(context)}
    wanted = [chosen] if chosen in known else sorted(known)
    try:
        return _items(sorted(_tenants_of(wanted)), incomplete)
    except Exception:
        # A half-typed line is no place for an error.
        return []


def codes(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completes a reject code."""
    from sync_pipelines.contracts.codes import REJECT_CODES

    return _items(REJECT_CODES, incomplete)


def tables(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completes the last word of a query: tables and views in schema `sync`."""
    from sync_pipelines.tables.schema import SCHEMA, metadata

    before, blank, word = incomplete.rpartition(" ")
    names = [table.name for table in metadata.sorted_tables if table.schema == SCHEMA]
    names += [f"live_{stream}" for stream in sorted({stream.table for stream in _streams(context)})]
    return _items((f"{before}{blank}{SCHEMA}.{name}" for name in names), incomplete) if word else []


def main_tables(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Completes the name of a table that partners' records fill."""
    return _items(sorted({stream.table for stream in _streams(context)}), incomplete)


def _streams(context: click.Context) -> tuple[Stream, ...]:
    from sync_pipelines.partners import STREAMS

    return STREAMS


def _tenants_of(wanted: Iterable[str]) -> set[str]:
    from sync_pipelines.configuration.settings import load_settings
    from sync_pipelines.configuration.sources import ANY_TENANT, load_sources

    settings = load_settings()
    sources = load_sources(settings.sources)
    found: set[str] = set()
    for partner in wanted:
        found |= sources.listed.get(partner, frozenset()) - {ANY_TENANT}
        folder = Path(settings.landing) / partner
        if "://" not in settings.landing and folder.is_dir():
            found |= {entry.name for entry in folder.iterdir() if entry.is_dir() and entry.name[0] not in "._"}
    return found


def _items(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in dict.fromkeys(names) if name.startswith(incomplete)]
