"""The commands that check, explain, and correct what is loaded: their names and options.

Belongs here: options. Does not belong here: what a command does (`commands`), errors and exit statuses (`cli`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import click

from sync_pipelines.commands import completion
from sync_pipelines.commands.moments import Moment

if TYPE_CHECKING:
    from collections.abc import Callable

_DAY: Final = click.DateTime(formats=["%Y-%m-%d"])
_REVISION: Final = click.option(
    "--revision", type=click.IntRange(1), help="Revision of the path; the latest by default."
)
_JSON: Final = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_UNMASKED: Final = click.option("--unmasked", is_flag=True, help="Show personal values; logged in logs/unmasked.log.")


def _reason(*, required: bool = True) -> Callable[..., Any]:
    return click.option("--reason", required=required, help="Why, for those who look at it later.")


@click.group()
def rejects() -> None:
    """List, show and replay rejected records."""


def _of_rejects(command: Callable[..., int]) -> Callable[..., int]:
    """Adds the options that select rejects."""
    for name in ("partner", "stream", "tenant", "code"):
        complete = getattr(completion, f"{name}s")
        command = click.option(f"--{name}", shell_complete=complete, help=f"Only this {name}.")(command)
    return click.option("--path", "--file", "path", help="Only this file, as `rejects list` names it.")(command)


@rejects.command("list")
@_of_rejects
@click.option(
    "--status", type=click.Choice(["open", "resolved", "superseded", "all"]), default="open", show_default=True
)
@click.option("--limit", type=click.IntRange(1), default=100, show_default=True, help="At most this many, the latest.")
@_JSON
@_UNMASKED
def rejects_list(limit: int, as_json: bool, unmasked: bool, **wanted: str | None) -> int:
    """List rejected records, the latest first."""
    from sync_pipelines.commands import rejects as command
    from sync_pipelines.commands.known_names import check_code, check_names

    check_names(wanted["partner"], wanted["stream"])
    check_code(wanted["code"])
    return command.run_list(wanted, limit, as_json=as_json, unmasked=unmasked)


@rejects.command("show")
@click.argument("reject_id", type=int, metavar="ID")
@_JSON
@_UNMASKED
def rejects_show(reject_id: int, as_json: bool, unmasked: bool) -> int:
    """Show one rejected record with its content and its errors."""
    from sync_pipelines.commands import rejects as command

    return command.run_show(reject_id, as_json=as_json, unmasked=unmasked)


@rejects.command("replay")
@_of_rejects
@_JSON
def rejects_replay(as_json: bool, **wanted: str | None) -> int:
    """Read the exports of rejected records again after a correction.

    Each export is read as a whole with the current settings and applied at its original version.
    """
    from sync_pipelines.commands import rejects as command
    from sync_pipelines.commands.known_names import check_code, check_names

    check_names(wanted["partner"], wanted["stream"])
    check_code(wanted["code"])
    return command.run_replay(wanted, as_json=as_json)


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@_REVISION
@_reason()
@_JSON
def release(paths: tuple[str, ...], revision: int | None, reason: str, as_json: bool) -> int:
    """Load exports that a guard holds, at their own version.

    PATH is relative to the landing, as in `sync --json`. Exit status: 0; 3 some records were rejected; 4 an export
    failed.
    """
    from sync_pipelines.commands import release as command

    return command.run(paths, revision, reason, as_json=as_json)


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@_REVISION
@_reason(required=False)
@click.option("--preview", "is_preview", is_flag=True, help="Change nothing; show which rows would go or change.")
@_JSON
@_UNMASKED
def undo(
    paths: tuple[str, ...], revision: int | None, reason: str | None, is_preview: bool, as_json: bool, unmasked: bool
) -> int:
    """Take loaded exports back: the tables become as if they had never arrived.

    PATH is relative to the landing, as in `sync --json`. `redo PATH` takes the undo back.
    """
    from sync_pipelines.commands import undo as command

    if not is_preview and reason is None:
        raise click.UsageError('an undo needs a reason: --reason "..."')
    return command.run_undo(paths, revision, reason or "", is_preview=is_preview, as_json=as_json, unmasked=unmasked)


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@_REVISION
@_reason(required=False)
@_JSON
def redo(paths: tuple[str, ...], revision: int | None, reason: str | None, as_json: bool) -> int:
    """Take an undo back: load withdrawn exports again, at their own version."""
    from sync_pipelines.commands import undo as command

    return command.run_redo(paths, revision, reason or "", as_json=as_json)


@click.command()
@click.option("--partner", shell_complete=completion.partners, help="Only this partner, such as replenit.")
@click.option("--stream", shell_complete=completion.streams, help="Only this stream, such as orders.")
@click.option("--tenant", shell_complete=completion.tenants, help="Only this tenant.")
@click.option("--repair", is_flag=True, help="Correct the tables and the ledger; rebuild them if they are empty.")
@click.option("--archive", "of_archive", is_flag=True, help="Read every byte of the archive instead.")
@_JSON
@_UNMASKED
def verify(
    partner: str | None,
    stream: str | None,
    tenant: str | None,
    repair: bool,
    of_archive: bool,
    as_json: bool,
    unmasked: bool,
) -> int:
    """Compare tables and ledger with the archive, and list every difference.

    With --archive: compare every file of the archive with its checksums; --repair rebuilds damaged records from the raw
    bytes. Exit status: 0 all equal or repaired; 1 something differs.
    """
    from sync_pipelines.commands import verify as command
    from sync_pipelines.commands.known_names import check_names

    check_names(partner, stream)
    wanted = command.Selection(partner, stream, tenant)
    return command.run(wanted, repair=repair, of_archive=of_archive, as_json=as_json, unmasked=unmasked)


@click.command()
@click.argument("table", shell_complete=completion.main_tables)
@click.argument("tenant", shell_complete=completion.tenants)
@click.argument("key")
@click.argument("column", required=False)
@click.option("--partner", shell_complete=completion.partners, help="Partner, if several fill the table.")
@click.option("--at", type=Moment(), help="The row by the records until this date (its end, in UTC) or time.")
@_JSON
@_UNMASKED
def explain(
    table: str,
    tenant: str,
    key: str,
    column: str | None,
    partner: str | None,
    at: Any,
    as_json: bool,
    unmasked: bool,
) -> int:
    """Explain a row: every record with its key, in version order, and what each one changed.

    Example: explain orders 7d444840-9dc0-11d1-b245-5ffdce74fad2 A-17 total_revenue
    """
    from sync_pipelines.commands import explain as command
    from sync_pipelines.stages.explain import Asked

    wanted = Asked(table, tenant, key, column, partner, at)
    return command.run(wanted, as_json=as_json, unmasked=unmasked)


@click.command()
@click.option("--partner", required=True, shell_complete=completion.partners, help="Partner, such as replenit.")
@click.option("--tenant", required=True, shell_complete=completion.tenants, help="Tenant.")
@click.option("--customer", help="Key of the customer.")
@click.option("--also-email", "email", help="Also everything with this email address.")
@click.option("--keep-orders", is_flag=True, help="Keep the person's orders, without personal values.")
@click.option("--lift", is_flag=True, help="Lift an erasure: later exports may bring the person again.")
@_reason(required=False)
@click.option("--preview", "is_preview", is_flag=True, help="Change nothing; show what would be erased.")
@_JSON
def erase(
    partner: str,
    tenant: str,
    customer: str | None,
    email: str | None,
    keep_orders: bool,
    lift: bool,
    reason: str | None,
    is_preview: bool,
    as_json: bool,
) -> int:
    """Erase a person: rows, rejects, kept records, raw exports and Dagster's metadata.

    Writes a receipt of what was found where. Exports that bring the person again are loaded without them.
    """
    from sync_pipelines.commands import erase as command
    from sync_pipelines.commands.known_names import check_names

    check_names(partner, None)
    if customer is None and email is None:
        raise click.UsageError("name the person: --customer KEY or --also-email EMAIL")
    if not is_preview and reason is None:
        raise click.UsageError('an erasure needs a reason: --reason "..."')
    if lift and (is_preview or keep_orders):
        raise click.UsageError("--lift goes without --preview and --keep-orders")
    wanted = command.Asked(partner, tenant, customer, email, keeps_orders=keep_orders)
    if lift:
        return command.run_lift(wanted, reason or "", as_json=as_json)
    return command.run(wanted, reason or "", is_preview=is_preview, as_json=as_json)


COMMANDS: Final = (rejects, release, undo, redo, verify, explain, erase)
"""The commands, in the order of `--help`."""
