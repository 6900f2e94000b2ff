"""`sync-pipelines erase`: removes a person everywhere, and writes a receipt.

Belongs here: unknown names, the receipt and what is printed. Does not belong here: erasing (`stages.erase`,
`orchestration.erased_events`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from sync_pipelines.commands.known_exports import acting_user
from sync_pipelines.commands.screen import json_of, notify, print_table, say
from sync_pipelines.configuration.settings import Settings, load_settings
from sync_pipelines.contracts.near_names import near_name, suggestion
from sync_pipelines.database import erasures
from sync_pipelines.orchestration.erased_events import erase_in_dagster, find_in_dagster
from sync_pipelines.orchestration.plurals import counted
from sync_pipelines.partners import STREAMS
from sync_pipelines.privacy.erased_people import (
    Erasure,
    emails_in,
    normal_email,
    read_erased_people,
    write_erased_people,
)
from sync_pipelines.privacy.person_terms import Person
from sync_pipelines.privacy.private_files import private_folder, write_private
from sync_pipelines.privacy.untrusted_text import on_one_line
from sync_pipelines.stages.erase import Done, Plan, erase, look, plan_erasure
from sync_pipelines.stages.export_stages import open_workspace
from sync_pipelines.stages.person_search import Found
from sync_pipelines.stages.workspace import Workspace


@dataclass(frozen=True)
class Asked:
    """The person to erase."""

    partner: str
    tenant: str
    customer: str | None
    email: str | None
    keeps_orders: bool

    def person(self, tenant: str) -> Person:
        """Returns the person, of a tenant as stored.

        Raises:
            click.UsageError: a value is blank, or no email address.
        """
        customer, email = (None if text is None else text.strip() for text in (self.customer, self.email))
        if not (customer or email) or "" in (customer, email):
            raise click.UsageError("--customer or --also-email is empty; name the person")
        if email and (email.count("@") != 1 or list(map(normal_email, emails_in(email))) != [normal_email(email)]):
            raise click.UsageError("--also-email is not an email address")
        return Person(self.partner, tenant, customer, email, self.keeps_orders)


def run(asked: Asked, reason: str, *, is_preview: bool, as_json: bool) -> int:
    """Erases a person, or shows what would be erased; returns 0 if a second search finds nothing.

    Raises:
        click.UsageError: the partner, the tenant or the customer is unknown.
    """
    from sync_pipelines.orchestration.instance import open_instance

    _check_reason(reason, is_preview=is_preview)
    settings = load_settings()
    workspace = open_workspace(settings)
    person = asked.person(_known_tenant(workspace, asked))
    with erasures.one_at_a_time(workspace.database), open_instance(settings) as instance:
        plan = plan_erasure(workspace, person, on_one_line(str(person.without(reason))), acting_user())
        notify("Searching ...")
        before = look(workspace, plan)
        before.places.update(find_in_dagster(instance, person))
        if plan.is_new and not before.total and not before.landing:
            raise click.UsageError(_unknown(workspace, person))
        if is_preview:
            _print(_report(plan, before, None, None), None, as_json=as_json)
            return 0
        done = erase(workspace, plan, before, lambda step: notify(f"Erasing: {step} ..."))
        done.dagster = erase_in_dagster(instance, person)
        old_rows = _remove_old_rows(workspace, done)
        notify("Searching again ...")
        after = look(workspace, plan)
        after.places.update(find_in_dagster(instance, person))
    report = _report(plan, before, done, after) | {"old_rows": old_rows}
    _print(report, _write_receipt(settings, report), as_json=as_json)
    return 1 if after.total or done.errors else 0


def _remove_old_rows(workspace: Workspace, done: Done) -> str:
    """Returns what is left of old versions of rows in the server's files. Only the embedded server's are rewritten."""
    if not workspace.database.embedded:
        return "PostgreSQL's files have old versions of rows until VACUUM FULL, and so has its write-ahead log"
    notify("Erasing: old versions of rows ...")
    why = erasures.rewrite_tables(workspace.database)
    if why is not None:
        done.errors.append(f"old versions of rows are still in PostgreSQL's files: {why}; erase again")
        return "not removed"
    return "removed; PostgreSQL's write-ahead log has them until it is written over"


def run_lift(asked: Asked, reason: str, *, as_json: bool) -> int:
    """Lifts an erasure: later exports may bring the person again. What was erased stays away.

    Raises:
        click.UsageError: nobody was erased by these names.
    """
    _check_reason(reason, is_preview=False)
    settings = load_settings()
    workspace = open_workspace(settings)
    person = asked.person(_known_tenant(workspace, asked))
    plan = plan_erasure(workspace, person, reason, acting_user())
    subjects = {plan.people.subject_of("email", email) for email in person.emails}
    if person.customer is not None:
        subjects.add(plan.people.subject_of("customer", person.customer))
    with erasures.one_at_a_time(workspace.database):
        people = read_erased_people(settings.archive)
        held = [] if people is None else [e for e in people.active(plan.scopes) if e.subject in subjects]
        if people is None or not held:
            raise click.UsageError(f"no erasure of this person holds in {asked.partner} {person.tenant}")
        people = people.with_lifted((e.identity for e in held), datetime.now(UTC).isoformat(timespec="seconds"))
        write_erased_people(settings.archive, people)
        with workspace.connection() as connection:
            erasures.mirror(connection, settings.archive, people)
    if as_json:
        print(json_of({"lifted": len(held), "subjects": sorted({e.subject for e in held})}))
    else:
        say("The erasure is lifted. Later exports may bring the person again; what was erased does not come back.")
    return 0


def _check_reason(reason: str, *, is_preview: bool) -> None:
    if not is_preview and not reason.strip():
        raise click.UsageError('an erasure needs a reason: --reason "..."')


def _known_tenant(workspace: Workspace, asked: Asked) -> str:
    """Returns the tenant as stored.

    Raises:
        click.UsageError: it is unknown.
    """
    stream = next(stream for stream in STREAMS if stream.partner == asked.partner)
    tenant = stream.normalize_tenant(asked.tenant.strip())
    with workspace.connection() as connection:
        rows = connection.execute(
            "select distinct tenant from sync.export_files where partner = %s", [asked.partner]
        ).fetchall()
    known = {found for (found,) in rows} | set(workspace.sources.listed.get(asked.partner, ()))
    if tenant is None or tenant not in known:
        raise click.UsageError(f"unknown tenant {asked.tenant!r} of {asked.partner}; {suggestion(asked.tenant, known)}")
    return tenant


def _unknown(workspace: Workspace, person: Person) -> str:
    """Returns the error for a person who is nowhere; it suggests keys, but no email addresses."""
    with workspace.connection() as connection:
        rows = connection.execute(
            "select external_id from sync.customers where (partner, tenant) = (%s, %s) and external_id is not null"
            " and external_id not like '%%@%%' limit 100000",
            [person.partner, person.tenant],
        ).fetchall()
    near = near_name(person.customer or "", [key for (key,) in rows])
    hint = f"; did you mean {near!r}?" if near else ""
    return f"nobody with this key or email is known in {person.partner} {person.tenant}{hint}"


def _report(plan: Plan, before: Found, done: Done | None, after: Found | None) -> dict[str, Any]:
    """Returns the receipt, which does not name the person."""
    person = plan.person
    subjects = [plan.people.subject_of("email", email) for email in person.emails]
    if person.customer is not None:
        subjects.insert(0, plan.people.subject_of("customer", person.customer))
    erasure: Erasure = next(e for e in plan.people.erasures if e.subject in subjects and e.lifted_at is None)
    report: dict[str, Any] = {
        "partner": person.partner,
        "tenant": person.tenant,
        "subjects": subjects,
        "scopes": [f"{partner} {tenant}" for partner, tenant in plan.scopes],
        "keeps_orders": erasure.keeps_orders,
        "reason": erasure.reason,
        "erased_by": erasure.erased_by,
        "erased_at": erasure.erased_at,
        "was_erased_before": not plan.is_new,
        "found": dict(sorted(before.places.items())),
        "in_landing": [person.without(path) for path in (after or before).landing],
        "landing_error": (after or before).landing_error,
    }
    if done is not None and after is not None:
        report |= {
            "kept_records_rewritten": done.rewritten,
            "raw_exports_rewritten": [person.without(path) for path in done.raw_rewritten],
            "raw_exports_dropped": {person.without(path): why for path, why in done.raw_dropped.items()},
            "rejected_records": done.rejects,
            "dagster_rows": done.dagster,
            "log_files": done.logs,
            "archive_files_removed": done.objects,
            "errors": [person.without(error) for error in done.errors],
            "found_again": dict(sorted(after.places.items())),
        }
    return report


def _write_receipt(settings: Settings, report: Mapping[str, Any]) -> Path:
    folder = private_folder(settings.home / "receipts")
    path = folder / f"erasure-{datetime.now(UTC):%Y%m%dT%H%M%S%f}.json"
    write_private(path, json.dumps(report, indent=1, ensure_ascii=False) + "\n")
    return path


def _print(report: Mapping[str, Any], receipt: Path | None, *, as_json: bool) -> None:
    if as_json:
        print(json_of({**report, "receipt": None if receipt is None else str(receipt)}))
        return
    if report["was_erased_before"]:
        say("This person is erased already. What came since:" if report["found"] else "This person is erased already.")
    if report["found"]:
        print_table(("found in", "number"), [(place, str(number)) for place, number in report["found"].items()])
    if receipt is None:
        say("", "Preview: nothing was changed.")
    else:
        _print_done(report)
    if report["in_landing"]:
        say("", "Still in the landing; remove these files yourself:")
        for path in report["in_landing"]:
            say(f"  {on_one_line(path)}")
    if report["landing_error"]:
        say("", f"The landing could not be searched: {on_one_line(report['landing_error'])}")
    if receipt is not None:
        say("", f"Receipt: {receipt}")


def _print_done(report: Mapping[str, Any]) -> None:
    say(
        "",
        f"Rewritten: kept records of {counted(report['kept_records_rewritten'], 'export')},"
        f" raw bytes of {counted(len(report['raw_exports_rewritten']), 'export')}."
        f" Dropped: raw bytes of {counted(len(report['raw_exports_dropped']), 'export')}."
        f" Cleaned or removed: {counted(report['rejected_records'], 'rejected record')}.",
    )
    for path, why in report["raw_exports_dropped"].items():
        say(f"  dropped: {on_one_line(path)} ({why})")
    for error in report["errors"]:
        say(f"  error: {on_one_line(error)}")
    say(f"Old versions of rows: {report['old_rows']}.")
    if report["found_again"]:
        say("A second search still finds the person:")
        print_table(("found in", "number"), [(place, str(n)) for place, n in report["found_again"].items()])
    else:
        say("A second search finds nothing.")
