"""Checks of what was loaded, over the ledger and the tables: ERROR means act, WARN means look.

A stream's checks are one step that runs after its table's asset, and alone. Where that asset fails Dagster leaves the
checks of its run out; `check_runs` then asks for them in a run of their own.

Belongs here: what a check is called and how bad its answer is. Does not belong here: the questions (`database.quality`,
`database.reports`), guarding a load (`upsert` does, in the load's own transaction).
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import dagster as dg
import psycopg

from sync_pipelines.contracts.codes import REJECT_CODES
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import ledger, quality, quality_of_orders, reports
from sync_pipelines.database.quality import Arrivals, Extent
from sync_pipelines.errors import ConfigurationError, LandingUnavailable
from sync_pipelines.orchestration.dagster_names import asset_key, stream_name
from sync_pipelines.orchestration.metadata_tables import table_of
from sync_pipelines.orchestration.outages import through_outages
from sync_pipelines.orchestration.partitions import dates_of
from sync_pipelines.partners import STREAMS
from sync_pipelines.privacy.masking import without_emails
from sync_pipelines.privacy.personal_data import masked_example
from sync_pipelines.stages.display_rows import ids_written
from sync_pipelines.stages.export_stages import Workspace
from sync_pipelines.stages.misplaced import find_misplaced, unknown_endings

ERROR: Final = dg.AssetCheckSeverity.ERROR
WARN: Final = dg.AssetCheckSeverity.WARN
MISSED: Final = 3
"""Days without a due export after which somebody has to act."""
ROWS_CHECKED: Final = 2_000
"""Rows of a large table that are looked at after a run; every night all are."""
GIVEN_UP: Final = 30
"""Days after which a tenant counts as one that stopped sending: to be looked at, nothing to act on."""


@dataclass(frozen=True)
class Asked:
    """What a check is given.

    Attributes:
        connection: to the database.
        stream: whose table.
        workspace: for the sources.
        about: the rows to look at.
        now: the moment of the check.
    """

    connection: psycopg.Connection[Any]
    stream: Stream
    workspace: Workspace
    about: Extent
    now: datetime


@dataclass(frozen=True)
class Answer:
    """What a check found.

    Attributes:
        passed: whether there is nothing to look at.
        says: one sentence with the numbers; the UI renders it as Markdown, so no text of an export may stand in it.
        numbers: under stable names.
        todo: one sentence; empty where there is nothing to do.
        examples: rows.
        severity: where it did not pass.
    """

    passed: bool
    says: str
    numbers: dict[str, int]
    todo: str = ""
    examples: list[dict[str, Any]] | None = None
    severity: dg.AssetCheckSeverity = WARN


@dataclass(frozen=True)
class Check:
    """One check: its name, what it holds, how it is asked."""

    name: str
    description: str
    ask: Callable[[Asked], Answer]


def accounting(asked: Asked) -> Answer:
    """Whether every record has exactly one outcome (law 3)."""
    found = reports.accounting(asked.connection, asked.stream)
    ending = f"; {found.unbalanced:,} files do not add up" if found.unbalanced else " all add up"
    failed = f"; {found.failed:,} files failed, nothing of them is loaded" if found.failed else ""
    return Answer(
        passed=not found.unbalanced,
        says=f"{found.read:,} records in {found.files:,} files{ending}{failed}",
        numbers={"files": found.files, "read": found.read, "unbalanced": found.unbalanced, "failed": found.failed},
        todo="Somebody changed the ledger or the refused records by hand: restore the database from a backup.",
        severity=ERROR,
    )


def totals(asked: Asked) -> Answer:
    """Whether orders' totals match their items (O10)."""
    found = quality.totals(asked.connection, asked.stream, asked.about)
    return Answer(
        passed=not found.differing,
        says=f"{found.differing:,} of {found.orders:,} orders {asked.about.words} differ from their items"
        " by more than 0.01",
        numbers={"orders": found.orders, "differing": found.differing},
        todo="Ask the partner which is right, total or items (discounts and shipping are usual reasons); "
        "a later export of the order corrects it.",
        examples=[dict(row) for row in found.examples],
    )


def freshness(asked: Asked) -> Answer:
    """Whether every tenant's export of yesterday is loaded."""
    stream = asked.stream
    known = asked.workspace.sources.tenants(stream.partner)
    found = quality.arrivals(asked.connection, stream, known, asked.now)
    late = [tenant for tenant in found if tenant.late]
    missed = [tenant for tenant in late if is_missed(tenant)]
    numbers = {"tenants": len(found), "late": len(late), "missed": len(missed)}
    if found and (times := [tenant.late for tenant in found if tenant.late <= GIVEN_UP]):
        numbers["days_late"] = max(times)
    return Answer(
        passed=not late,
        says=_lateness(found, late),
        numbers=numbers,
        todo="Ask the partner for the missing exports, or look why they are not loaded: sync-pipelines status.",
        examples=[
            {
                "tenant": tenant.tenant,
                "latest": tenant.latest,
                "days_late": tenant.late,
                "usual_gap_days": tenant.gap,
                "not_loaded": tenant.waiting,
            }
            for tenant in late[: quality.EXAMPLES * 5]
        ],
        severity=ERROR if missed else WARN,
    )


def is_missed(tenant: Arrivals) -> bool:
    """Whether a late export is late enough, for how often the tenant sends, to act on it."""
    return max(MISSED, 2 * tenant.gap) <= tenant.late <= GIVEN_UP


def _lateness(found: list[Arrivals], late: list[Arrivals]) -> str:
    if not found:
        return "no export has come yet, none is waited for"
    if not late:
        return f"the due export of each of {len(found):,} tenants is loaded"
    stopped = sum(tenant.late > GIVEN_UP for tenant in late)
    return f"{len(late):,} of {len(found):,} tenants are late" + (
        f", {stopped:,} of them by more than {GIVEN_UP} days" if stopped else ""
    )


def open_rejects(asked: Asked) -> Answer:
    """Whether refused records wait for someone."""
    found = quality.open_rejects(asked.connection, asked.stream)
    place = f"--partner {asked.stream.partner} --stream {asked.stream.name}"
    records = sum(one.records for one in found)
    return Answer(
        passed=not found,
        says=f"{records:,} refused records are open" if found else "no refused record is open",
        numbers={"open": records, **{f"open/{one.code}": one.records for one in found}},
        todo=f"Look: sync-pipelines rejects list {place}. After a correction of sources.yaml: "
        f"sync-pipelines rejects replay {place}. A corrected export settles them too.",
        examples=[
            {
                "code": one.code,
                "records": one.records,
                "files": one.files,
                "meaning": REJECT_CODES.get(one.code, ""),
                "for example": one.path,
                "list them": f"sync-pipelines rejects list {place} --code {one.code}",
                "replay them": f"sync-pipelines rejects replay {place} --code {one.code}",
            }
            for one in found
        ],
    )


def placeholders(asked: Asked) -> Answer:
    """Whether rows that others refer to are still undefined after a day (X7)."""
    number, examples = quality.old_placeholders(asked.connection, asked.stream, asked.now)
    return Answer(
        passed=not number,
        says=f"{number:,} {asked.stream.table} are referred to since more than a day and not defined",
        numbers={"placeholders": number},
        todo=f"See whether an export of {asked.stream.full_name} is missing, or whether what refers to them has a "
        "wrong number or, in sources.yaml, a wrong tenant.",
        examples=[dict(row) for row in examples],
    )


def soundness(asked: Asked) -> Answer:
    """Whether keys and references hold (decision 0006)."""
    faults = quality.unsound(asked.connection, asked.stream, asked.about)
    rows = sum(fault.rows for fault in faults)
    numbers: dict[str, int] = {"unsound": rows}
    for fault in faults:
        numbers[fault.rule] = numbers.get(fault.rule, 0) + fault.rows
    return Answer(
        passed=not faults,
        says=f"{rows:,} rows {asked.about.words} break a key or a reference"
        if faults
        else f"keys and references hold ({asked.about.words})",
        numbers=numbers,
        todo="Somebody changed the tables by hand, or a server was damaged: stop writing and restore from a backup.",
        examples=[{"rule": fault.rule, **row} for fault in faults for row in fault.examples][: quality.EXAMPLES],
        severity=ERROR,
    )


def strays(asked: Asked) -> Answer:
    """Whether nothing lies where no stream takes it: of this partner, or of nobody who can be told."""
    workspace, partner = asked.workspace, asked.stream.partner
    try:
        found = find_misplaced(workspace.landing, workspace.sources)
    except (LandingUnavailable, ConfigurationError) as fault:
        todo = f"Look: sync-pipelines check. It says {fault.code}."
        return Answer(passed=False, says="the landing cannot be looked at", numbers={}, todo=todo)
    mine = [one for one in found if one.partner in (None, partner)]
    mine += unknown_endings(asked.connection, partner)
    return Answer(
        passed=not mine,
        says=f"{len(mine):,} files and folders lie where no stream takes them"
        if mine
        else "everything lies where a stream takes it",
        numbers={"misplaced": len(mine)},
        todo="Nothing is loaded from them. Move or rename them as told, or ask the partner to; names that begin with "
        "an underscore are left alone.",
        examples=[
            {"path": without_emails(one.path), "why": one.why, "what to do": one.hint}
            for one in mine[: quality.EXAMPLES * 5]
        ],
    )


def deleted_customers(asked: Asked) -> Answer:
    """Whether live orders belong to customers that are deleted (F12)."""
    number, examples = quality_of_orders.of_deleted_customers(asked.connection, asked.stream, asked.about)
    return Answer(
        passed=not number,
        says=f"{number:,} live orders {asked.about.words} belong to a customer that is deleted",
        numbers={"orders": number},
        todo="Ask the partner whether the customers or the orders are wrong: an order that came after its customer's "
        "delete keeps its link. sync.live_orders tells them by customer_is_deleted.",
        examples=[dict(row) for row in examples],
    )


ACCOUNTING: Final = Check(
    "accounting_balances", "ERROR. Every record read has exactly one outcome, in every loaded file.", accounting
)
SOUND: Final = Check(
    "keys_and_references",
    "ERROR. Keys are there and unique, references point to rows of the right table, no children without their parent.",
    soundness,
)
FRESH: Final = Check(
    "yesterday_is_loaded",
    "WARN from one day late, ERROR from three days and twice the tenant's usual gap, WARN again after "
    f"{GIVEN_UP} days. By the exports' own dates: loading old days makes no tenant punctual.",
    freshness,
)
REJECTS: Final = Check("no_open_rejects", "WARN. No refused record is open.", open_rejects)
PLACEHOLDERS: Final = Check(
    "placeholders_are_defined", "WARN. No row that others refer to is undefined for more than a day.", placeholders
)
MISPLACED: Final = Check(
    "nothing_is_misplaced",
    "WARN. No file or folder of the landing lies where no stream takes it: a misspelt partner or stream, a file above "
    "a stream's folder, an ending of no known format, a `path` that takes nothing.",
    strays,
)
TOTALS: Final = Check(
    "totals_match_items",
    "WARN. An order's total is the sum of Price x Quantity, to 0.01. Cancelled orders, orders without items and "
    "defaulted totals are left out.",
    totals,
)
DELETED_CUSTOMERS: Final = Check(
    "customers_are_not_deleted", "WARN. No live order belongs to a customer that is deleted.", deleted_customers
)


def checks_of(stream: Stream) -> list[Check]:
    """The checks that make sense for a stream."""
    chosen = [ACCOUNTING, SOUND, FRESH, REJECTS, MISPLACED]
    if quality.may_be_placeholders(stream, STREAMS):
        chosen.append(PLACEHOLDERS)
    if stream.table == "orders":
        chosen += [TOTALS, DELETED_CUSTOMERS]
    return chosen


def check_keys(stream: Stream) -> list[dg.AssetCheckKey]:
    """What Dagster calls a stream's checks."""
    return [dg.AssetCheckKey(asset_key("rows", stream), check.name) for check in checks_of(stream)]


def build_checks(stream: Stream) -> list[dg.AssetChecksDefinition]:
    """The checks of a stream's table, one step; each can be run alone."""
    chosen = {check.name: check for check in checks_of(stream)}
    table = asset_key("rows", stream)

    @dg.multi_asset_check(
        name=f"check_{stream_name(stream)}",
        specs=[dg.AssetCheckSpec(c.name, asset=table, description=c.description) for c in chosen.values()],
        can_subset=True,
    )
    def checks(
        context: dg.AssetCheckExecutionContext, sync_pipelines_workspace: dg.ResourceParam[Any]
    ) -> Iterator[dg.AssetCheckResult]:
        workspace: Workspace = sync_pipelines_workspace
        selected = {key.name for key in context.op_execution_context.selected_asset_check_keys}

        def ask() -> list[dg.AssetCheckResult]:
            with workspace.connection() as connection:
                about = extent(workspace, connection, stream, dates_of(dict(context.run.tags)))
                asked = Asked(connection, stream, workspace, about, datetime.now(UTC))
                return [
                    _result(stream, check, check.ask(asked), table)
                    for name, check in chosen.items()
                    if name in selected
                ]

        yield from through_outages(context.instance, context.run, workspace.database, ask)

    return [checks]


def extent(
    workspace: Workspace, connection: psycopg.Connection[Any], stream: Stream, days: Iterable[date] | None
) -> Extent:
    """What to look at after a run of some days: every row while the tables are small, else some that it wrote."""
    if days is None or quality.is_small(connection, stream):
        return quality.EVERYTHING
    entries = ledger.of_dates(connection, stream.partner, stream.name, list(days))
    return Extent(tuple(ids_written(workspace, connection, stream, entries, ROWS_CHECKED)))


def _result(stream: Stream, check: Check, answer: Answer, table: dg.AssetKey) -> dg.AssetCheckResult:
    told: dict[str, Any] = dict(answer.numbers)
    if not answer.passed:
        told["what_to_do"] = answer.todo
    if answer.examples:
        told["examples"] = table_of([masked_example(stream, row) for row in answer.examples])
    return dg.AssetCheckResult(
        passed=answer.passed,
        check_name=check.name,
        asset_key=table,
        severity=answer.severity,
        description=answer.says,
        metadata=told,
    )
