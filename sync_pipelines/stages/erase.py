"""Erases a person from everything that is stored, so that the person stays erased.

The erasure is recorded first: from then on, records are read without the person. Then kept records are written again
and the keys folded again, raw bytes are rewritten, and rejects and logs are cleaned. Old files of the archive are
removed last. A killed erasure is completed by erasing again.

Belongs here: the order of the steps. Does not belong here: rules for records (`normalize.erasure`), looking for the
person (`person_search`), Dagster's storage (`orchestration.erased_events`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import psycopg

from sync_pipelines.contracts.streams import Identity
from sync_pipelines.database import erasures, kept_objects, ledger
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.errors import ArchiveIncomplete, DatabaseUnavailable, SyncError
from sync_pipelines.kept.kept_records import remove_unnamed
from sync_pipelines.kept.locations import Location, objects_in, to_location, with_moved
from sync_pipelines.kept.merging import merge
from sync_pipelines.kept.object_store import open_store
from sync_pipelines.normalize.change import Fault, Reject
from sync_pipelines.normalize.erasure import Eraser, scopes_of
from sync_pipelines.normalize.values import to_json
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
from sync_pipelines.stages.person_search import Found, exports_in, is_in_file, log_files, rejects_of, search
from sync_pipelines.stages.repair import repairing
from sync_pipelines.stages.workspace import Workspace
from sync_pipelines.upsert.erased_records import own_named, still_referred, without_erased
from sync_pipelines.upsert.refold import replay

WAIT_SECONDS: Final = 30.0
"""How long an erasure waits for a load that holds the locks."""

_IS_ONE: Final = (
    " t where (t.is_placeholder or t.deleted_at is not null) and t.partner = %s and t.tenant = %s"
    " and (%s::text is null or t.external_id = %s) and (%s::text is null or t.partner_record_id = %s)"
)
_REMOVE: Final = {
    "customers": f"delete from sync.customers{_IS_ONE}"
    " and not exists (select from sync.orders o where o.customer_id = t.id)",
    "commerces": f"delete from sync.commerces{_IS_ONE} and t.is_placeholder"
    " and not exists (select from sync.customers c where c.commerce_id = t.id)",
}
"""Table -> statement that removes a row that nothing refers to."""


@dataclass(frozen=True)
class Plan:
    """What an erasure concerns.

    Attributes:
        person: the person.
        scopes: partners and tenants whose data is searched; the first is the customer's own.
        people: the erased people, with this one.
        erasers: by partner, tenant and stream.
        is_new: whether nothing of this was erased before.
    """

    person: Person
    scopes: tuple[Scope, ...]
    people: ErasedPeople
    erasers: dict[tuple[str, str, str], Eraser]
    is_new: bool

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
    by_email = [(stream.partner, person.tenant) for stream in STREAMS] if person.emails else []
    scopes = tuple(dict.fromkeys([*own, *by_email]))
    before = read_erased_people(workspace.settings.archive) or ErasedPeople()
    at = datetime.now(UTC).isoformat(timespec="seconds")

    def erasure(scope: Scope, kind: Any, text: str) -> Erasure:
        return Erasure(*scope, kind, before.subject_of(kind, text), person.keeps_orders, reason, by, at)

    added = [erasure(scope, "customer", person.customer) for scope in own if person.customer is not None]
    added += [erasure(scope, "email", email) for scope in scopes for email in person.emails]
    held = {e.identity for e in before.erasures if e.lifted_at is None}
    people = before.with_added(added)
    return Plan(person, scopes, people, _erasers(workspace, people, scopes), not any(e.identity in held for e in added))


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
    return search(workspace, plan.person, plan.scopes, plan.erasers)


def erase(workspace: Workspace, plan: Plan, found: Found, say: Callable[[str], None] = lambda line: None) -> Done:
    """Erases a person everywhere but in Dagster's storage.

    Raises:
        SyncError: `busy`: a load holds the locks for too long. Erasing again completes it.
    """
    done = Done()
    archive = workspace.settings.archive
    write_erased_people(archive, plan.people)
    with workspace.connection() as connection:
        erasures.mirror(connection, plan.people)
        entries = exports_in(connection, plan.scopes)
    say("kept records")
    let_go: set[Identity] = set()
    _rewrite_kept(workspace, plan, entries, let_go, done)
    with workspace.connection() as connection:
        _remove_placeholders(workspace, connection, plan, let_go)
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
    done.objects = _remove_objects(workspace)
    return done


# -- kept records ----------------------------------------------------------------------------------------------


def _rewrite_kept(
    workspace: Workspace, plan: Plan, entries: Sequence[LedgerFile], let_go: set[Identity], done: Done
) -> None:
    """Writes the kept records of every export again that has the person, or refers to an object that has."""
    affected = _affected_parts(workspace, plan, entries, done)
    for entry in entries:
        if entry.kept is None or not affected & set(entry.kept.split()):
            continue
        try:
            repairing(workspace, lambda entry=entry: _rewrite(workspace, plan, entry, let_go))  # type: ignore[misc]
        except DatabaseUnavailable:
            raise
        except psycopg.errors.LockNotAvailable:
            raise SyncError(
                "busy", "a load holds the locks of these tables", "erase again when it is done; that completes it"
            ) from None
        except SyncError as error:
            done.errors.append(f"{entry.path}: {error}")
            continue
        done.rewritten += 1


def _affected_parts(workspace: Workspace, plan: Plan, entries: Sequence[LedgerFile], done: Done) -> set[str]:
    """Returns the locations of kept records that have the person themselves."""
    affected, seen = set(), set()
    for entry in entries:
        for number, part in enumerate((entry.kept or "").split()):
            if part in seen or to_location(part) is None:
                continue
            seen.add(part)
            try:
                if sum(own_named(workspace.settings.archive, part, stream_of(entry), plan.eraser_of(entry))):
                    affected.add(part)
            except ArchiveIncomplete as error:
                # Records that an export only refers to may be gone for good reasons of their own.
                if number == 0:
                    affected.add(part)
                    done.errors.append(f"{entry.path}: {error}")
    return affected


def _rewrite(workspace: Workspace, plan: Plan, entry: LedgerFile, let_go: set[Identity]) -> None:
    archive, stream = workspace.settings.archive, stream_of(entry)
    with workspace.connection() as connection:
        entry = ledger.entry_of(connection, entry.id)
        assert entry.kept is not None
        kept = without_erased(archive, entry.kept, stream, plan.eraser_of(entry), let_go)
        try:
            connection.execute(f"set lock_timeout = '{int(WAIT_SECONDS)}s'".encode())
            if entry.status == "loaded":
                replay(connection, stream, entry.id, kept, archive)
            elif not ledger.replace_kept(connection, entry, kept):
                raise SyncError("busy", f"{entry.path} is being loaded", "erase again when it is done")
        except BaseException:
            remove_unnamed(archive, kept)
            raise
        finally:
            if not connection.closed:
                connection.execute("reset lock_timeout")


def _remove_placeholders(
    workspace: Workspace, connection: psycopg.Connection[Any], plan: Plan, let_go: set[Identity]
) -> None:
    """Removes rows that only erased records made: the person's own, and placeholders that nothing refers to."""
    person = plan.person
    texts = [key for key in (person.customer, *person.emails) if key]
    own = {Identity(*scope, text) for scope in plan.scopes for text in texts}
    own |= {Identity(*scope, None, text) for scope in plan.scopes for text in texts}
    others = let_go - own
    for entry in exports_in(connection, plan.scopes) if others else ():
        links = [ref.column for ref in stream_of(entry).references]
        if entry.status == "loaded" and entry.kept is not None and links:
            others -= still_referred(workspace.settings.archive, entry.kept, links, others)
    with connection.transaction():
        for table in ("customers", "commerces"):
            for identity in own | others:
                connection.execute(_REMOVE[table], [*identity[:2], *identity[2:3] * 2, *identity[3:] * 2])


# -- rejects ---------------------------------------------------------------------------------------------------


def _clean_rejects(connection: psycopg.Connection[Any], plan: Plan, ids: Sequence[int]) -> int:
    """Removes rejects of the person's records, and the person from others."""
    wanted = rejects_of(connection, plan.person, ids)
    rows = connection.execute(
        "select r.id, f.partner, f.tenant, f.stream, r.position, r.external_id, r.code, r.field_path, r.message,"
        " r.record, r.faults from sync.rejected_records r join sync.export_files f on f.id = r.export_file_id"
        " where r.id = any(%s)",
        [wanted],
    ).fetchall()
    for row_id, partner, tenant, name, position, key, code, path, message, record, faults in rows:
        reject = Reject(position, key, code, path, message, record, tuple(Fault(**fault) for fault in faults or ()))
        cleaned = plan.erasers[partner, tenant, name].reject(reject)
        if cleaned is None or cleaned is reject or plan.person.is_named(cleaned.record):
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


# -- old files -------------------------------------------------------------------------------------------------


def _remove_objects(workspace: Workspace) -> int:
    """Removes what no ledger entry refers to, at once, and parts of merged objects that none does."""
    store, removed = open_store(workspace.settings.archive), 0
    with workspace.connection() as connection:
        _move_out(workspace, connection)
        stored = [item.name for item in store.list()]
        named: set[str] = set()
        for entry in kept_objects.all_kept(connection):
            named |= objects_in(entry.kept or "")
        for name in stored:
            if name not in named:
                store.remove(name)
                removed += 1
    return removed


def _move_out(workspace: Workspace, connection: psycopg.Connection[Any]) -> None:
    """Copies the parts in use out of merged objects in which others are not in use any more."""
    store = open_store(workspace.settings.archive)
    sizes = {item.name: item.size for item in store.list()}
    entries = list(kept_objects.all_kept(connection))
    parts: dict[str, set[Location]] = {}
    for entry in entries:
        for place in map(to_location, (entry.kept or "").split()):
            if place is not None:
                parts.setdefault(place.name, set()).add(place)
    for name, used in parts.items():
        if name in sizes and sum(part.size for part in used) < sizes[name]:
            moved = merge(store, sorted(used, key=lambda part: part.start))
            changed = {
                entry.id: (entry.kept, after)
                for entry in entries
                if entry.kept is not None and (after := with_moved(entry.kept, moved)) != entry.kept
            }
            if changed:
                kept_objects.repoint(connection, changed)
