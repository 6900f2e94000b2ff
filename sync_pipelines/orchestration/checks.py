"""Checks of what was loaded, over the ledger and the tables: an error means act, a warning means look.

Belongs here: what a check is called, what it asks and how bad its answer is. Does not belong here: the questions
(`database.quality`, `database.reports`), the steps that ask them (`check_steps`), guarding a load (`upsert` does, in
the load's own transaction).
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import dagster as dg
import psycopg

from sync_pipelines.contracts.codes import REJECT_CODES
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import quality, quality_of_orders, reports
from sync_pipelines.database.quality import Arrivals, Extent
from sync_pipelines.errors import ConfigurationError, LandingUnavailable
from sync_pipelines.partners import STREAMS
from sync_pipelines.privacy.masking import without_emails
from sync_pipelines.stages.export_stages import Workspace
from sync_pipelines.stages.misplaced import find_misplaced, unknown_endings

ERROR: Final = dg.AssetCheckSeverity.ERROR
WARN: Final = dg.AssetCheckSeverity.WARN
MISSED: Final = 3
"""Days without a due export after which somebody has to act."""
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
    "accounting_balances",
    "Every record read has exactly one outcome, in every loaded file. Else: an error.",
    accounting,
)
FRESH: Final = Check(
    "yesterday_is_loaded",
    "Each tenant's export of yesterday is loaded. One day late is a warning; three days, and twice the tenant's usual"
    f" gap, an error; more than {GIVEN_UP} days a warning again. An export counts by its own date.",
    freshness,
)
REJECTS: Final = Check("no_open_rejects", "No rejected record is open. Else: a warning.", open_rejects)
MISPLACED: Final = Check(
    "nothing_is_misplaced",
    "Every file and folder of the landing belongs to a stream. Else: a warning, for example about a misspelled partner"
    " or stream, a file above a stream's folder, an unknown ending, or a `path` that matches nothing.",
    strays,
)
SOUND: Final = Check(
    "keys_and_references",
    "Keys are present and unique, references point to rows of the right table, and no child lacks its parent."
    " Else: an error.",
    soundness,
)
PLACEHOLDERS: Final = Check(
    "placeholders_are_defined",
    "Every row that others refer to has been defined within a day. Else: a warning.",
    placeholders,
)
TOTALS: Final = Check(
    "totals_match_items",
    "Each order's total is the sum of price x quantity of its items, to 0.01. Else: a warning. Cancelled orders, orders"
    " without items and defaulted totals are left out.",
    totals,
)
DELETED_CUSTOMERS: Final = Check(
    "customers_are_not_deleted", "No live order belongs to a deleted customer. Else: a warning.", deleted_customers
)


def stream_checks(stream: Stream) -> list[Check]:
    """Returns the checks of a stream: of its files and what became of their records."""
    return [ACCOUNTING, FRESH, REJECTS, MISPLACED]


def row_checks(stream: Stream) -> list[Check]:
    """Returns the checks of the rows that a stream writes to its table; they belong to the table's asset."""
    chosen = [SOUND]
    if quality.may_be_placeholders(stream, STREAMS):
        chosen.append(PLACEHOLDERS)
    if stream.table == "orders":
        chosen += [TOTALS, DELETED_CUSTOMERS]
    return chosen
