"""Erases a person from everything that is stored, so that the person stays erased.

The erasure is recorded first: from then on, records are read without the person. Then kept records are written again
and the keys folded again, raw bytes are rewritten, and rejects and logs are cleaned. Old files of the archive are
removed last. A killed erasure is completed by erasing again.

Belongs here: the order of the steps. Does not belong here: rules for records (`normalize.erasure`), looking for the
person (`person_search`), Dagster's storage (`orchestration.erased_events`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psycopg
from psycopg.sql import SQL, Identifier
from psycopg.types.json import set_json_loads

from sync_pipelines.corrections.blocked_deletes import BlockedDeletes
from sync_pipelines.corrections.named_rows import NamedRows
from sync_pipelines.corrections.refold import replay
from sync_pipelines.corrections.withdrawn_exports import locked
from sync_pipelines.database import erasures, ledger
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.database.ledger_copies import COPIED, keep_copy
from sync_pipelines.errors import ArchiveIncomplete, SyncError
from sync_pipelines.kept.kept_records import remove_unnamed
from sync_pipelines.kept.locations import to_location
from sync_pipelines.normalize.change import Fault, Reject
from sync_pipelines.normalize.erasure import Eraser, scopes_of
from sync_pipelines.normalize.values import from_json, to_json
from sync_pipelines.partners import STREAMS
from sync_pipelines.privacy.erased_people import (
    ErasedPeople,
    Erasure,
    Scope,
    read_erased_people,
    write_erased_people,
)
from sync_pipelines.privacy.person_terms import Person
from sync_pipelines.stages.archived import stream_of
from sync_pipelines.stages.erased_bytes import rewrite_raw
from sync_pipelines.stages.erased_objects import remove_unused_objects
from sync_pipelines.stages.person_search import Found, exports_in, is_in_file, log_files, rejects_of, search
from sync_pipelines.stages.repair import repairing
from sync_pipelines.stages.workspace import Workspace
from sync_pipelines.tables.schema import MAIN_TABLES, SCHEMA
from sync_pipelines.upsert.context import LoadContext
from sync_pipelines.upsert.erased_records import Rewritten, named_in, without_erased
from sync_pipelines.upsert.history import KnownExport
from sync_pipelines.upsert.row_references import Named

WAIT_SECONDS: Final = 30.0
"""How long an erasure waits for a load that holds the locks."""
_WITHOUT_CUSTOMERS: Final = tuple(
    sorted(
        {stream.partner for stream in STREAMS}
        - {s.partner for s in STREAMS if s.table == "customers" or any(r.table == "customers" for r in s.references)}
    )
)
"""Partners whose records name people but no customers: a customer's key means the same person there."""


@dataclass(frozen=True)
class Plan:
    """What an erasure concerns.

    Attributes:
        person: the person.
        looked_for: partner and tenant whose data is searched -> the person, without the key where it is nobody's; the
            first is the customer's own.
        people: the erased people, with this one.
        erasers: by partner, tenant and stream.
        is_new: whether nothing of this was erased before.
    """

    person: Person
    looked_for: Mapping[Scope, Person]
    people: ErasedPeople
    erasers: dict[tuple[str, str, str], Eraser]
    is_new: bool

    @property
    def scopes(self) -> tuple[Scope, ...]:
        """The partners and tenants."""
        return tuple(self.looked_for)

    def eraser_of(self, entry: LedgerFile) -> Eraser:
        """Returns the eraser for an export."""
        return self.erasers[entry.partner, entry.tenant, entry.stream]


@dataclass
class Done:
    """What was erased.

    Attributes:
        rewritten: exports whose kept records were written again.
        raw_rewritten: paths of exports whose raw bytes were rewritten.
        raw_dropped: path of an export whose raw bytes were dropped -> why they could not be rewritten.
        rejects: rejected records that were removed or cleaned.
        dagster: rows of Dagster's storage that were cleaned.
        logs: log files that were cleaned.
        objects: files of the archive that were removed.
        errors: what could not be done.
    """

    rewritten: int = 0
    raw_rewritten: list[str] = field(default_factory=list)
    raw_dropped: dict[str, str] = field(default_factory=dict)
    rejects: int = 0
    dagster: int = 0
    logs: int = 0
    objects: int = 0
    errors: list[str] = field(default_factory=list)


def plan_erasure(workspace: Workspace, person: Person, reason: str, by: str) -> Plan:
    """Returns what an erasure of a person concerns. Changes nothing."""
    with workspace.connection() as connection:
        own = linked_scopes(workspace, connection, (person.partner, person.tenant))
    by_key = [*own, *((partner, person.tenant) for partner in _WITHOUT_CUSTOMERS)] if person.customer else []
    by_email = [*own, *((stream.partner, person.tenant) for stream in STREAMS)] if person.emails else []
    scopes = tuple(dict.fromkeys([*by_key, *by_email]))
    before = read_erased_people(workspace.settings.archive) or ErasedPeople()
    at = datetime.now(UTC).isoformat(timespec="seconds")

    def erasure(scope: Scope, kind: Any, text: str) -> Erasure:
        return Erasure(*scope, kind, before.subject_of(kind, text), person.keeps_orders, reason, by, at)

    added = [erasure(scope, "customer", person.customer or "") for scope in dict.fromkeys(by_key)]
    added += [erasure(scope, "email", email) for scope in scopes for email in person.emails]
    held = {e.identity for e in before.erasures if e.lifted_at is None}
    people = before.with_added(added)
    looked_for = {scope: person if scope in by_key else person.by_email for scope in scopes}
    return Plan(
        person, looked_for, people, _erasers(workspace, people, scopes), not any(e.identity in held for e in added)
    )


def linked_scopes(workspace: Workspace, connection: psycopg.Connection[Any], own: Scope) -> list[Scope]:
    """Returns a scope and those whose records refer to its customers, or whose customers its records refer to (O5)."""
    pairs = {
        ((partner, tenant), (owner.partner, owner.tenant))
        for (partner, tenant, _), settings in workspace.sources.streams.items()
        if (owner := getattr(settings.options, "customers_of", None)) is not None
    }
    rows = connection.execute(
        "select distinct o.partner, o.tenant, c.partner, c.tenant from sync.orders o"
        " join sync.customers c on c.id = o.customer_id where (o.partner, o.tenant) <> (c.partner, c.tenant)"
    ).fetchall()
    pairs |= {((row[0], row[1]), (row[2], row[3])) for row in rows}
    found = [own]
    for scope in found:
        near = [b if a == scope else a for a, b in sorted(pairs) if scope in (a, b)]
        found += [other for other in dict.fromkeys(near) if other not in found]
    return found


def _erasers(workspace: Workspace, people: ErasedPeople, scopes: Sequence[Scope]) -> dict[tuple[str, str, str], Eraser]:
    found = {}
    for stream in STREAMS:
        for partner, tenant in scopes:
            if partner != stream.partner:
                continue
            settings = workspace.sources.for_stream(partner, tenant, stream.name)
            subjects = people.those_of(scopes_of(stream, tenant, settings.options))
            assert subjects is not None
            found[partner, tenant, stream.name] = Eraser(stream, subjects, settings.columns)
    return found


def look(workspace: Workspace, plan: Plan) -> Found:
    """Looks for the person everywhere but in Dagster's storage."""
    return search(workspace, plan.looked_for, plan.erasers)


def erase(workspace: Workspace, plan: Plan, found: Found, say: Callable[[str], None] = lambda line: None) -> Done:
    """Erases a person everywhere but in Dagster's storage.

    Raises:
        SyncError: `busy`: a load holds the locks for too long. Erasing again completes it.
    """
    done = Done()
    archive = workspace.settings.archive
    write_erased_people(archive, plan.people)
    with workspace.connection() as connection:
        erasures.mirror(connection, archive, plan.people)
        entries = exports_in(connection, plan.scopes)
    say("kept records")
    _rewrite_kept(workspace, plan, entries, done)
    with workspace.connection() as connection:
        say("rejected records")
        done.rejects = _clean_rejects(connection, plan, [entry.id for entry in entries])
    say("raw exports")
    _rewrite_raw(workspace, plan, found.raw | found.kept, done)
    for path in log_files(workspace.settings):
        if is_in_file(plan.person, path):
            text = path.read_bytes().decode(errors="surrogateescape")
            path.write_bytes(plan.person.without(text).encode(errors="surrogateescape"))
            done.logs += 1
    say("old files of the archive")
    done.objects = remove_unused_objects(workspace)
    return done


# -- kept records ----------------------------------------------------------------------------------------------


def _rewrite_kept(workspace: Workspace, plan: Plan, entries: Sequence[LedgerFile], done: Done) -> None:
    """Writes the kept records of every export again that has the person, or refers to an object that has."""
    affected = _affected_parts(workspace, plan, entries, done)
    ids = [entry.id for entry in entries if affected & set((entry.kept or "").split())]
    if not ids:
        return
    try:
        done.rewritten = repairing(workspace, lambda: _rewrite(workspace, plan, ids))
    except psycopg.errors.LockNotAvailable:
        raise _busy() from None


def _affected_parts(workspace: Workspace, plan: Plan, entries: Sequence[LedgerFile], done: Done) -> set[str]:
    """Returns the locations of kept records that have the person themselves."""
    archive, affected, seen = workspace.settings.archive, set(), set()
    for entry in entries:
        for number, part in enumerate((entry.kept or "").split()):
            if part in seen or to_location(part) is None:
                continue
            seen.add(part)
            try:
                if sum(named_in(archive, part, stream_of(entry), plan.eraser_of(entry), is_whole=False)):
                    affected.add(part)
            except ArchiveIncomplete as error:
                # Records that an export only refers to may be gone for good reasons of their own.
                if number == 0:
                    affected.add(part)
                    done.errors.append(f"{entry.path}: {error}")
    return affected


def _rewrite(workspace: Workspace, plan: Plan, ids: Sequence[int]) -> int:
    """Writes kept records again and folds the keys of the erased records again, in one transaction."""
    archive = workspace.settings.archive
    let_go: set[tuple[str, Named]] = set()
    rewritten: dict[int, Rewritten] = {}
    try:
        with workspace.connection() as connection:
            entries = {entry.id: entry for entry in ledger.of_ids(connection, ids) if entry.kept is not None}
            for entry in entries.values():
                rewritten[entry.id] = without_erased(
                    archive,
                    entry.kept or "-",
                    stream_of(entry),
                    entry.tenant,
                    plan.eraser_of(entry),
                    let_go,
                    plan.people.changes,
                )
            with connection.transaction():
                connection.execute(f"set local lock_timeout = '{int(WAIT_SECONDS * 1000)}'".encode())
                _switch(connection, archive, entries, rewritten, let_go)
    except BaseException:
        for made in rewritten.values():
            remove_unnamed(archive, made.kept)
        raise
    return len(rewritten)


def _switch(
    connection: psycopg.Connection[Any],
    archive: Path,
    entries: Mapping[int, LedgerFile],
    rewritten: Mapping[int, Rewritten],
    let_go: set[tuple[str, Named]],
) -> None:
    loaded = [entry.id for entry in entries.values() if entry.status == "loaded"]
    now = {entry.id: entry for entry in [*locked(connection, loaded, archive), *ledger.of_ids(connection, entries)]}
    if any((entry.kept, entry.status) != (now[n].kept, now[n].status) for n, entry in entries.items()):
        raise _busy()
    exports = [
        KnownExport.of(entry, archive)
        for entry in entries.values()
        if entry.id in set(loaded) and rewritten[entry.id].erased
    ]
    set_json_loads(from_json, connection)
    deletes = BlockedDeletes(connection, archive, exports)
    for entry in entries.values():
        kept = rewritten[entry.id].kept
        if entry.status == "loaded":
            replay(connection, stream_of(entry), entry.id, kept, archive)
        else:
            connection.execute("update sync.export_files set kept = %s where id = %s", [kept, entry.id])
            keep_copy(connection, archive, *([entry.id] if entry.status in COPIED else []))
    for export in exports:
        _disown(connection, export.entry, rewritten[export.entry.id].positions)
    if exports:
        context = LoadContext(connection, stream_of(exports[0].entry), exports[0].entry, None)
        deletes.decide_again(context)
        for table in sorted({reference.table for stream in STREAMS for reference in stream.references}):
            NamedRows(context, table, archive).renew({name for of, name in let_go if of == table})


def _disown(connection: psycopg.Connection[Any], entry: LedgerFile, positions: list[str]) -> None:
    """Makes placeholders that name an erased record as their last writer name the export as a whole."""
    for table in MAIN_TABLES:
        connection.execute(
            SQL(
                "update {} set source_position = null, effective_at = %s where is_placeholder and source_file = %s"
                " and source_position = any(%s)"
            ).format(Identifier(SCHEMA, table.name)),
            [entry.effective_at, entry.path, positions],
        )


def _busy() -> SyncError:
    return SyncError("busy", "a load of the person's tenant is running", "erase again when it is done")


# -- rejects ---------------------------------------------------------------------------------------------------


def _clean_rejects(connection: psycopg.Connection[Any], plan: Plan, ids: Sequence[int]) -> int:
    """Removes rejects of the person's records, and the person from others."""
    entries = ledger.of_ids(connection, ids)
    wanted = []
    for person in dict.fromkeys(plan.looked_for.values()):
        own = [e.id for e in entries if plan.looked_for[e.partner, e.tenant] == person]
        wanted += rejects_of(connection, person, own)
    rows = connection.execute(
        "select r.id, f.partner, f.tenant, f.stream, r.position, r.external_id, r.code, r.field_path, r.message,"
        " r.record, r.faults from sync.rejected_records r join sync.export_files f on f.id = r.export_file_id"
        " where r.id = any(%s)",
        [wanted],
    ).fetchall()
    for row_id, partner, tenant, name, position, key, code, path, message, record, faults in rows:
        reject = Reject(position, key, code, path, message, record, tuple(Fault(**fault) for fault in faults or ()))
        cleaned = plan.erasers[partner, tenant, name].reject(reject)
        if cleaned is None or cleaned is reject or plan.looked_for[partner, tenant].is_named(cleaned.record):
            # Only the text as a whole names the person: nothing of it can stay.
            connection.execute("delete from sync.rejected_records where id = %s", [row_id])
            continue
        connection.execute(
            "update sync.rejected_records set record = %s, message = %s, faults = %s, updated_at = now() where id = %s",
            [
                to_json(cleaned.record), cleaned.message,
                to_json([fault._asdict() for fault in cleaned.faults]), row_id,
            ],
        )  # fmt: skip
    return len(rows)


# -- raw bytes -------------------------------------------------------------------------------------------------


def _rewrite_raw(workspace: Workspace, plan: Plan, ids: Iterable[int], done: Done) -> None:
    with workspace.connection() as connection:
        handled: dict[str, str | None] = {}
        for entry in ledger.of_ids(connection, sorted(ids)):
            if entry.sha256 is None:
                continue
            former = entry.raw_sha256 or entry.sha256
            if former not in handled:
                handled[former] = rewrite_raw(workspace, connection, entry, plan.eraser_of(entry))
            if (why := handled[former]) is None:
                done.raw_rewritten.append(entry.path)
            else:
                done.raw_dropped[entry.path] = why
