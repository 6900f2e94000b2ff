"""The command line `sync-pipelines`: names, options, exit statuses, and how errors are printed.

Everything heavy is imported by the command that needs it, so that `--help` answers at once.

Belongs here: options, errors and exit statuses. Does not belong here: what a command does (`commands`).
"""

from __future__ import annotations

import gc
import os
import sys
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from sync_pipelines.cli_corrections import COMMANDS
from sync_pipelines.command_line import program
from sync_pipelines.commands import completion
from sync_pipelines.commands.moments import Moment
from sync_pipelines.privacy.untrusted_text import on_one_line

if TYPE_CHECKING:
    from pathlib import Path

    from sync_pipelines.errors import SyncError

INTERRUPTED: Final = 130
COMPLETE_VARIABLE: Final = "_SYNC_PIPELINES_COMPLETE"
"""Set by a shell that asks for completions, whatever the program is called there."""
_DAY: Final = click.DateTime(formats=["%Y-%m-%d"])


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="sync_pipelines")
def cli() -> None:
    """Keep PostgreSQL tables equal to what commerce partners' exports say.

    Exit status: 0 done; 1 the database, the landing or something else does not work; 2 wrong usage or configuration;
    130 interrupted. For sync, rejects replay and inspect also: 3 some records were rejected; 4 a file or a pull failed;
    5 a guard holds a file.
    """


@cli.command()
@click.option("--landing", help="Folder or URL where exports arrive, such as s3://bucket/prefix.")
@click.option("--database", help="bundled, or the URL of a PostgreSQL 15 or later.")
@click.option("--partner", shell_complete=completion.partners, help="Partner whose exports arrive, such as replenit.")
@click.option("--tenant", help="Tenant id. Replenit's are GUIDs, such as 7d444840-9dc0-11d1-b245-5ffdce74fad2.")
@click.option("--stream", shell_complete=completion.streams, help="Stream of the partner; needed where it has several.")
@click.option("--replace", is_flag=True, help="Replace other values in .env without a question.")
def init(
    landing: str | None,
    database: str | None,
    partner: str | None,
    tenant: str | None,
    stream: str | None,
    replace: bool,
) -> int:
    """Set up a real start: write .env and sources.yaml, then check them.

    On a terminal it asks for what the options leave out. Other settings and sources stay as they are.
    """
    from sync_pipelines.commands import init as command

    return command.run(command.Answers(landing, database, partner, stream, tenant), replace=replace)


@cli.command()
@click.option("--partner", shell_complete=completion.partners, help="Only this partner, such as replenit.")
@click.option("--stream", shell_complete=completion.streams, help="Only this stream, such as orders.")
@click.option("--tenant", shell_complete=completion.tenants, help="Only this tenant.")
@click.option("--from", "first", type=_DAY, help="Only exports of this day and later.")
@click.option("--to", "last", type=_DAY, help="Only exports of this day and earlier.")
@click.option("--preview", "is_preview", is_flag=True, help="Load nothing; show what a sync would do.")
@click.option("--watch", "is_watch", is_flag=True, help="Keep syncing what arrives, until Ctrl-C.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object; with --watch, one line for each round.")
def sync(
    partner: str | None,
    stream: str | None,
    tenant: str | None,
    first: Any,
    last: Any,
    is_preview: bool,
    is_watch: bool,
    as_json: bool,
) -> int:
    """Pull and load what is pending, in Dagster runs that the UI shows too.

    With --watch, exports that are still being written wait, and failed ones are tried again after 1, 5, 15 and 60
    minutes. Ctrl-C ends it with the exit status of what it did: 0, 3, 4 or 5.
    """
    from sync_pipelines.commands import sync as command
    from sync_pipelines.commands import watch
    from sync_pipelines.commands.known_names import check_names, report_unusable

    check_names(partner, stream)
    selection = command.Selection(partner, stream, tenant, _date(first), _date(last))
    if selection.first and selection.last and selection.first > selection.last:
        raise click.UsageError(f"--from {selection.first} is later than --to {selection.last}")
    if is_watch and is_preview:
        raise click.UsageError("--watch loads what arrives, so it cannot be combined with --preview")
    is_incomplete = report_unusable(partner)
    if is_watch:
        status = watch.run(selection, as_json=as_json)
    else:
        status = command.run(selection, as_json=as_json, is_preview=is_preview)
    return command.worst([status, command.WITH_FAILED]) if is_incomplete else status


@cli.command()
@click.option("--port", type=click.IntRange(1, 65535), default=3000, show_default=True, help="Port of the UI.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address the UI listens on.")
@click.option("--allow-remote", is_flag=True, help="Allow a --host other than loopback; Dagster's UI has no login.")
def up(port: int, host: str, allow_remote: bool) -> int:
    """Run database, web server and daemon, with sensors and schedules on, until Ctrl-C."""
    from sync_pipelines.commands import up as command

    return command.run(host, port, allow_remote=allow_remote)


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(as_json: bool) -> int:
    """Show the status of each stream, and the exports that need attention."""
    from sync_pipelines.commands import status as command

    return command.run(as_json=as_json)


@cli.command()
@click.argument("path")
@click.option("--only", help="Only these outcomes, such as created,updated.")
@click.option("--revision", type=click.IntRange(1), help="Revision of the path; the latest by default.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object for each record.")
@click.option("--unmasked", is_flag=True, help="Show personal values; logged in logs/unmasked.log.")
def outcomes(path: str, only: str | None, revision: int | None, as_json: bool, unmasked: bool) -> int:
    """List each record of a loaded export: position, key and outcome.

    PATH is relative to the landing, as in `sync --json`. Records are in the order of the file.
    """
    from sync_pipelines.commands import outcomes as command
    from sync_pipelines.commands.known_names import checked_outcomes

    return command.run(path, checked_outcomes(only), revision, as_json=as_json, unmasked=unmasked)


@cli.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--stream", shell_complete=completion.streams, help="Stream of the file, such as replenit/orders; else guessed."
)
@click.option("--tenant", shell_complete=completion.tenants, help="Tenant of the file.")
@click.option("--write", "is_written", is_flag=True, help="Write the proposed block to sources.yaml.")
@click.option("--unmasked", is_flag=True, help="Show personal values; logged in logs/unmasked.log.")
def inspect(file: Path, stream: str | None, tenant: str | None, is_written: bool, unmasked: bool) -> int:
    """Examine a file: its columns, the records that would be rejected, and its block for sources.yaml.

    FILE may be anywhere. Nothing is loaded, and no database is needed. Exit status: 0; 3 some records would be
    rejected; 4 the file would fail; 5 so many would be rejected that a guard would hold it.
    """
    from sync_pipelines.commands import inspect as command

    return command.run(file, stream, tenant, is_written=is_written, unmasked=unmasked)


@cli.command()
@click.argument("dest", required=False)
@click.option("--days", type=int, default=30, show_default=True, help="Days of exports.")
@click.option("--until", type=_DAY, help="Last day of exports; yesterday (UTC) by default.")
@click.option("--orders", type=int, default=5000, show_default=True, help="Orders in all.")
@click.option("--seed", type=int, default=0, show_default=True, help="Changes the sample.")
@click.option("--if-empty", is_flag=True, help="Do nothing if DEST is not empty.")
@click.option("--sources", type=click.Path(path_type=Path), help="Write the sample's sources file there, too.")
def sample(
    dest: str | None,
    days: int,
    until: datetime | None,
    orders: int,
    seed: int,
    if_empty: bool,
    sources: Path | None,
) -> int:
    """Write sample exports of all partners into the folder DEST.

    Without DEST they go into the landing, and the sample's sources file is written too, unless there is one. The same
    options write the same files.
    """
    from sync_pipelines.commands import sample as command

    return command.run(dest, days, orders, seed, until=_date(until), if_empty=if_empty, sources=sources)


@cli.command()
def check() -> int:
    """Check settings, sources, database and landing, and say how to fix each error."""
    from sync_pipelines.commands import check as command

    return command.run()


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--mask", "is_masking", is_flag=True, help="Also mask personal data that is already stored.")
def housekeeping(as_json: bool, is_masking: bool) -> int:
    """Remove old runs, ticks, logs and leftover files, like the nightly job."""
    from sync_pipelines.commands import housekeeping as command

    return command.run(as_json=as_json, is_masking=is_masking)


@cli.command()
@click.argument("query", shell_complete=completion.tables)
@click.option(
    "--format", "layout", type=click.Choice(["table", "json", "csv"]), default="table", show_default=True,
    help="json prints a list of objects.",
)  # fmt: skip
@click.option(
    "--timeout", type=click.IntRange(1, 86_400), default=60, show_default=True, help="Seconds the query may take."
)
@click.option(
    "--spreadsheet-safe", is_flag=True, help="Put ' before text in CSV that a spreadsheet would run as a formula."
)
@click.option("--as-of", type=Moment(), help="Tables by the records until this date (its end, in UTC) or time.")
def sql(query: str, layout: str, timeout: int, spreadsheet_safe: bool, as_of: datetime | None) -> int:
    """Run one read-only query, such as "select * from sync.live_orders"."""
    from sync_pipelines.commands import sql as command

    if spreadsheet_safe and layout != "csv":
        raise click.UsageError("--spreadsheet-safe is for --format csv")
    if as_of is not None:
        return command.run_as_of(query, as_of, layout, timeout, is_for_spreadsheets=spreadsheet_safe)
    return command.run(query, layout, timeout, is_for_spreadsheets=spreadsheet_safe)


@cli.command("dbt-sources")
def dbt_sources() -> int:
    """Print a sources.yml for dbt: every table and view, with descriptions and tests."""
    from sync_pipelines.commands import dbt_sources as command

    return command.run()


@cli.command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def print_completion(shell: completion.Shell) -> int:
    """Print the script that completes commands, options and names in a shell.

    In ~/.bashrc: source <(./sync-pipelines completion bash)
    """
    click.echo(completion.script(cli, shell, COMPLETE_VARIABLE))
    return 0


for _command in COMMANDS:
    cli.add_command(_command)


def main() -> None:
    """Runs a command and exits with its status; the console script."""
    os.umask(0o077)
    # Modules are hundreds of thousands of objects that remain. Collecting garbage among them takes a third of the time
    # of importing Dagster, and the same time again at exit.
    gc.set_threshold(1_000_000, 50, 100)
    # The threads of numpy are busy while they wait: a tenth of a second on a second CPU.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    try:
        status = _run()
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output has ended (| head). Python would report that again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 1
    gc.freeze()
    sys.exit(status)


def _run() -> int:
    from sync_pipelines.errors import SyncError

    try:
        return int(cli(prog_name=program(), complete_var=COMPLETE_VARIABLE, standalone_mode=False) or 0)
    except click.ClickException as error:
        _plain(error).show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return _interrupted()
    except SyncError as error:
        return _say(error)
    except BrokenPipeError:
        raise
    except Exception as error:
        return _unexpected(error)
    except BaseException as error:
        if not _is_interruption(error):
            raise
        return _interrupted()


def _plain(error: click.ClickException) -> click.ClickException:
    """Returns the same error without characters that control a terminal."""
    if isinstance(error, click.UsageError):
        return click.UsageError(on_one_line(error.format_message()), error.ctx)
    return click.ClickException(on_one_line(error.format_message()))


def _interrupted() -> int:
    click.echo("interrupted; the next sync continues", err=True)
    return INTERRUPTED


def _is_interruption(error: BaseException) -> bool:
    """Returns whether this is Dagster's error for Ctrl-C and SIGTERM, without importing Dagster."""
    return type(error).__name__ == "DagsterExecutionInterruptedError"


def _say(error: SyncError) -> int:
    click.echo(on_one_line(f"error: {error.message}"), err=True)
    if error.hint:
        click.echo(on_one_line(f"hint: {error.hint}"), err=True)
    return error.exit_status


def _unexpected(error: Exception) -> int:
    """Prints one line and writes the trace to a file; a lost database is recognized by any of the causes."""
    from sync_pipelines.errors import DatabaseUnavailable, SyncError

    for cause in _causes(error):
        if isinstance(cause, SyncError):
            return _say(cause)
        if _is_interruption(cause):
            return _interrupted()
        if type(cause).__name__ == "OperationalError":
            hint = "the next sync continues"
            return _say(
                DatabaseUnavailable(
                    "database_unavailable", f"the connection to the database was lost: {_first_line(cause)}", hint
                )
            )
    where = _write_trace(error)
    click.echo(
        on_one_line(f"error: {type(error).__name__}: {_first_line(error)}; the full trace is in {where}"), err=True
    )
    return 1


def _causes(error: BaseException | None) -> list[BaseException]:
    causes: list[BaseException] = []
    while error is not None and error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__
    return causes


def _first_line(error: BaseException) -> str:
    from sync_pipelines.privacy.masking import masked_error
    from sync_pipelines.privacy.redaction import redacted

    return masked_error(redacted(next(iter(str(error).splitlines()), "")))


def _write_trace(error: Exception) -> Path | str:
    from sync_pipelines.configuration.settings import load_settings
    from sync_pipelines.privacy.masking import masked_trace
    from sync_pipelines.privacy.private_files import private_folder

    try:
        logs = private_folder(load_settings().logs)
        where = logs / f"cli-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.txt"
        where.write_text(masked_trace(error))
    except OSError:
        return "nowhere, because SYNC_HOME is not writable"
    return where


def _date(given: datetime | None) -> date | None:
    return given.date() if given else None
