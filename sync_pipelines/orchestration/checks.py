"""Checks of loaded data, on the ledger and the tables. An error has to be acted on, a warning looked at.

Belongs here: names, texts and severity of checks. Does not belong here: queries (`database.quality`,
`database.reports`), the steps that run checks (`check_steps`), guarding a load (`upsert` does, in the load's own
transaction).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

import dagster as dg
import psycopg

from sync_pipelines.contracts.codes import REJECT_CODES
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import ledger, quality, quality_of_orders, reports, verified_slices
from sync_pipelines.database.quality import Arrivals, Extent
from sync_pipelines.errors import ConfigurationError, LandingUnavailable
from sync_pipelines.orchestration.plurals import counted, is_or_are
from sync_pipelines.partners import STREAMS
from sync_pipelines.privacy.masking import without_emails
from sync_pipelines.stages.export_stages import Workspace
from sync_pipelines.stages.misplaced import find_misplaced, unknown_endings

ERROR: Final = dg.AssetCheckSeverity.ERROR
WARN: Final = dg.AssetCheckSeverity.WARN
MISSED: Final = 3
"""Days without a due export after which somebody has to act."""
VERIFIED_WITHIN: Final = 31
"""Days within which every slice of the keys is verified; the nightly job needs 28."""
GIVEN_UP: Final = 30
"""Days after which a tenant counts as one that stopped sending: a warning, no longer an error."""


@dataclass(frozen=True)
class Asked:
    """The arguments of a check.

    Attributes:
        connection: to the database.
        stream: whose table.
        workspace: for the sources.
        about: the rows to check.
        now: the moment of the check.
    """

    connection: psycopg.Connection[Any]
    stream: Stream
    workspace: Workspace
    about: Extent
    now: datetime


@dataclass(frozen=True)
class Answer:
    """The answer of a check.

    Attributes:
        passed: whether everything is as it should be.
        text: one sentence with the numbers; the UI renders it as Markdown, so it must not contain text of an export.
        numbers: by stable name.
        todo: one sentence; empty if there is nothing to do.
        examples: rows.
        severity: if it did not pass.
    """

    passed: bool
    text: str
    numbers: dict[str, int]
    todo: str = ""
    examples: list[dict[str, Any]] | None = None
    severity: dg.AssetCheckSeverity = WARN


@dataclass(frozen=True)
class Check:
    """A check: its name, its description and the function that runs it."""

    name: str
    description: str
    ask: Callable[[Asked], Answer]


def accounting(asked: Asked) -> Answer:
    """Whether every record has exactly one outcome (law 3)."""
    found = reports.accounting(asked.connection, asked.stream)
    ending = f"{found.unbalanced:,} do not add up" if found.unbalanced else "all add up"
    failed = f" Not loaded because they failed: {counted(found.failed, 'file')}." if found.failed else ""
    return Answer(
        passed=not found.unbalanced,
        text=f"{counted(found.read, 'record')} in {counted(found.files, 'file')}: {ending}.{failed}",
        numbers={"files": found.files, "read": found.read, "unbalanced": found.unbalanced, "failed": found.failed},
        todo="Someone changed the ledger or the rejected records by hand. Restore the database from a backup.",
        severity=ERROR,
    )


def totals(asked: Asked) -> Answer:
    """Whether orders' totals match their items (O10)."""
    found = quality.totals(asked.connection, asked.stream, asked.about)
    return Answer(
        passed=not found.differing,
        text=f"{found.differing:,} of {counted(found.orders, 'order')} differ from their items by more than 0.01"
        f"{asked.about.words}.",
        numbers={"orders": found.orders, "differing": found.differing},
        todo="Ask the partner which is right, the total or the items. Discounts and shipping are common reasons."
        " A later export of the order corrects it.",
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
        text=_lateness(found, late),
        numbers=numbers,
        todo="Ask the partner for the missing exports. If they are in the landing, sync-pipelines status shows why"
        " they are not loaded.",
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
    """Whether somebody has to act on a late export, given how often the tenant sends."""
    return max(MISSED, 2 * tenant.gap) <= tenant.late <= GIVEN_UP


def _lateness(found: list[Arrivals], late: list[Arrivals]) -> str:
    if not found:
        return "No export has arrived yet, so none is due."
    if not late:
        return f"The due export of {counted(len(found), 'tenant')} is loaded."
    stopped = sum(tenant.late > GIVEN_UP for tenant in late)
    return f"{len(late):,} of {counted(len(found), 'tenant')} late" + (
        f", {stopped:,} by more than {GIVEN_UP} days." if stopped else "."
    )


def held(asked: Asked) -> Answer:
    """Whether a guard holds an export (G)."""
    found = ledger.held(asked.connection, asked.stream.partner, asked.stream.name)
    guards = Counter(guard["name"] for entry in found for guard in (entry.held or {}).get("guards", ()))
    names = f" Guards that tripped: {', '.join(sorted(guards))}." if guards else ""
    return Answer(
        passed=not found,
        text=f"{counted(len(found), 'export')} {is_or_are(len(found))} held; nothing of {_it_or_them(found)} is loaded."
        f"{names}"
        if found
        else "No export is held.",
        numbers={"held": len(found), **{f"held/{name}": number for name, number in sorted(guards.items())}},
        todo="See why with sync-pipelines status. Correct the export or sources.yaml, or load it as it is with"
        ' sync-pipelines release PATH --reason "...", in the launchpad with release: [PATH].',
        examples=[
            {
                "path": without_emails(entry.path),
                "why": entry.error or "",
                "day": entry.partition_date.isoformat(),
                **(entry.held or {}).get("counts", {}),
            }
            for entry in found[: quality.EXAMPLES * 5]
        ],
        severity=ERROR,
    )


def _it_or_them(found: Sequence[object]) -> str:
    return "it" if len(found) == 1 else "them"


def open_rejects(asked: Asked) -> Answer:
    """Whether rejected records are open."""
    found = quality.open_rejects(asked.connection, asked.stream)
    place = f"--partner {asked.stream.partner} --stream {asked.stream.name}"
    records = sum(one.records for one in found)
    return Answer(
        passed=not found,
        text=f"{counted(records, 'rejected record')} open." if records else "No rejected record is open.",
        numbers={"open": records, **{f"open/{one.code}": one.records for one in found}},
        todo=f"See them with sync-pipelines rejects list {place}. After a correction of sources.yaml, run"
        f" sync-pipelines rejects replay {place}. A corrected export resolves them too.",
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
    """Whether placeholders are older than a day (X7)."""
    number, examples = quality.old_placeholders(asked.connection, asked.stream, asked.now)
    return Answer(
        passed=not number,
        text=f"{number:,} {asked.stream.table} that other rows refer to have been undefined for more than a day.",
        numbers={"placeholders": number},
        todo=f"Check whether an export of {asked.stream.full_name} is missing, or whether the rows that refer to them"
        " have a wrong id or, in sources.yaml, a wrong tenant.",
        examples=[dict(row) for row in examples],
    )


def soundness(asked: Asked) -> Answer:
    """Whether keys and references hold (decision 0006)."""
    violations = quality.unsound(asked.connection, asked.stream, asked.about)
    rows = sum(violation.rows for violation in violations)
    numbers: dict[str, int] = {"unsound": rows}
    for violation in violations:
        numbers[violation.rule] = numbers.get(violation.rule, 0) + violation.rows
    return Answer(
        passed=not violations,
        text=f"{counted(rows, 'row')} with a broken key or reference{asked.about.words}."
        if violations
        else f"All keys and references are intact{asked.about.words}.",
        numbers=numbers,
        todo="Someone changed the tables by hand, or a server was damaged. Stop writing and restore from a backup.",
        examples=[{"rule": one.rule, **row} for one in violations for row in one.examples][: quality.EXAMPLES],
        severity=ERROR,
    )


def strays(asked: Asked) -> Answer:
    """Whether every file of this partner, or of no known partner, belongs to a stream."""
    workspace, partner = asked.workspace, asked.stream.partner
    try:
        found = find_misplaced(workspace.landing, workspace.sources)
    except (LandingUnavailable, ConfigurationError) as error:
        todo = f"Run sync-pipelines check; the code is {error.code}."
        return Answer(passed=False, text="The landing cannot be read.", numbers={}, todo=todo)
    mine = [one for one in found if one.partner in (None, partner)]
    mine += unknown_endings(asked.connection, partner)
    return Answer(
        passed=not mine,
        text=f"{counted(len(mine), 'path')} of the landing {'belongs' if len(mine) == 1 else 'belong'} to no stream."
        if mine
        else "Every file and folder belongs to a stream.",
        numbers={"misplaced": len(mine)},
        todo="Nothing is loaded from them. Move or rename them as the table says, or ask the partner to. Names that"
        " start with an underscore are ignored.",
        examples=[
            {"path": without_emails(one.path), "why": one.why, "what to do": one.hint}
            for one in mine[: quality.EXAMPLES * 5]
        ],
    )


def equality(asked: Asked) -> Answer:
    """Whether rows equal the fold of the archive, by the last verification of each slice."""
    tenants = verified_slices.of_stream(asked.connection, asked.stream.partner, asked.stream.name)
    differences = sum(tenant.differences for tenant in tenants)
    overdue = [tenant for tenant in tenants if (asked.now - tenant.due_since).days > VERIFIED_WITHIN]
    numbers = {"keys": sum(tenant.keys for tenant in tenants), "differences": differences, "overdue": len(overdue)}
    if verified := [tenant.oldest for tenant in tenants if tenant.oldest is not None]:
        numbers["oldest_slice_days"] = (asked.now - min(verified)).days
    place = f"--partner {asked.stream.partner} --stream {asked.stream.name}"
    return Answer(
        passed=not differences and not overdue,
        text=_equality(tenants, differences, len(overdue)),
        numbers=numbers,
        todo=f"Run sync-pipelines verify {place} to see the differences, and with --repair to correct the rows."
        if differences
        else "Start the job sync_verify with everything: true, and see why its nightly runs do not finish.",
        examples=[
            {
                "tenant": tenant.tenant,
                "differences": tenant.differences,
                "slices_verified": f"{tenant.slices} of {verified_slices.SLICES}",
                "oldest": None if tenant.oldest is None else f"{tenant.oldest:%Y-%m-%d}",
            }
            for tenant in tenants
            if tenant.differences or tenant in overdue
        ][: quality.EXAMPLES * 5],
        severity=ERROR if differences else WARN,
    )


def _equality(tenants: list[verified_slices.VerifiedTenant], differences: int, overdue: int) -> str:
    if differences:
        return f"{counted(differences, 'difference')} between rows and archive."
    if overdue:
        return (
            f"Some rows of {counted(overdue, 'tenant')} were not compared with the archive for {VERIFIED_WITHIN} days."
        )
    keys = sum(tenant.keys for tenant in tenants)
    return f"{counted(keys, 'key')} equal the archive." if keys else "No key is due to be compared with the archive."


def deleted_customers(asked: Asked) -> Answer:
    """Whether live orders belong to customers that are deleted (F12)."""
    number, examples = quality_of_orders.of_deleted_customers(asked.connection, asked.stream, asked.about)
    return Answer(
        passed=not number,
        text=f"{counted(number, 'live order')} of deleted customers{asked.about.words}.",
        numbers={"orders": number},
        todo="Ask the partner which is wrong, the customers or the orders. An order that arrives after its customer's"
        " delete keeps its link; customer_is_deleted of sync.live_orders marks such orders.",
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
HELD: Final = Check(
    "nothing_is_held",
    "No guard holds an export because it would delete, change, empty or reject too much. Else: an error.",
    held,
)
REJECTS: Final = Check(
    "no_open_rejects",
    "No rejected record is open. Else: a warning.",
    open_rejects,
)
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
EQUAL: Final = Check(
    "rows_equal_archive",
    "Every row equals the fold of its kept records, by the last verification of each slice of the keys. Else: an error."
    f" A warning if a slice was not verified for {VERIFIED_WITHIN} days.",
    equality,
)
DELETED_CUSTOMERS: Final = Check(
    "customers_are_not_deleted", "No live order belongs to a deleted customer. Else: a warning.", deleted_customers
)


def stream_checks(stream: Stream) -> list[Check]:
    """Returns the checks of a stream: of its files and the outcomes of their records."""
    return [ACCOUNTING, FRESH, HELD, REJECTS, MISPLACED, EQUAL]


def row_checks(stream: Stream) -> list[Check]:
    """Returns the checks of the rows that a stream writes to its table; they belong to the table's asset."""
    chosen = [SOUND]
    if quality.may_be_placeholders(stream, STREAMS):
        chosen.append(PLACEHOLDERS)
    if stream.table == "orders":
        chosen += [TOTALS, DELETED_CUSTOMERS]
    return chosen
