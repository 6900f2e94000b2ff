"""`sync-pipelines inspect`: describes a file, what a sync would do with it, and a block of `sources.yaml` for it.

Belongs here: layout, and the choice of tenant and stream. Does not belong here: looking (`inspection`), writing the
file (`configuration.sources_writer`).
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import click

from sync_pipelines.command_line import typed
from sync_pipelines.commands.disclosure import log_unmasked
from sync_pipelines.commands.progress import working
from sync_pipelines.commands.screen import print_table, say, shown
from sync_pipelines.configuration.settings import Settings, load_settings
from sync_pipelines.configuration.sources import Sources, load_sources
from sync_pipelines.configuration.sources_writer import add_stream, source_block
from sync_pipelines.configuration.stream_settings import StreamSettings
from sync_pipelines.configuration.table_settings import TableSettings
from sync_pipelines.contracts.contract import folded
from sync_pipelines.contracts.near_names import suggestion
from sync_pipelines.contracts.personal import Kind
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.exports.file_dates import REQUIRED, effective_time_in
from sync_pipelines.inspection.proposal import Proposal, field_named, propose
from sync_pipelines.inspection.risks import risks_in
from sync_pipelines.inspection.sight import LOOKED_AT, Seen, SeenColumn, see
from sync_pipelines.inspection.trial import Outcome, try_reading
from sync_pipelines.normalize.envelope import DateWindow
from sync_pipelines.partners import STREAMS, find_stream
from sync_pipelines.privacy.masking import masked, without_emails
from sync_pipelines.privacy.personal_data import kind_of, masked_reason
from sync_pipelines.upsert.guards import too_many_rejected

WELL: Final = 0
WITH_REJECTS: Final = 3
WOULD_FAIL: Final = 4
WOULD_BE_HELD: Final = 5
_PLACEHOLDER: Final = "<tenant>"
_ANY_GUID: Final = "00000000-0000-0000-0000-000000000000"
_LONGEST_SAMPLE: Final = 40


@dataclass(frozen=True)
class _Place:
    """Where a file's exports belong, as far as that is known."""

    stream: Stream | None = None
    tenant: str | None = None


def run(file: Path, stream: str | None, tenant: str | None, *, is_written: bool, unmasked: bool) -> int:
    """Prints what a file is and what a sync would do with it.

    Returns:
        0; 3 with rejects; 4 if it would fail; 5 if a guard would hold it.
    """
    settings = load_settings()
    sources = load_sources(settings.sources)
    place = _place(settings, file, stream, tenant)
    if unmasked:
        log_unmasked(settings, "inspect", str(file))
    in_force = _in_force(sources, place)
    seen = see(file, TableSettings(), in_force.format if in_force else None, in_force.encoding if in_force else None)
    proposal = propose(seen, place.stream)
    if not proposal.is_certain:
        return _print_unknown(seen, unmasked=unmasked)
    place = _Place(proposal.stream, place.tenant)
    block_settings = in_force or _settings_of(proposal, place)
    with working(f"reading {file.name} ..."):
        outcome = _try(file, seen, proposal.stream, block_settings, place, settings)
    _print_sight(seen, proposal)
    _print_columns(seen, proposal, outcome.needed, unmasked=unmasked)
    _print_outcome(outcome, proposal.stream, unmasked=unmasked)
    guard = too_many_rejected(block_settings.guards, outcome.read, outcome.rejected.total())
    if guard is not None and outcome.error is None:
        say(f"A guard would hold the file, and nothing would be loaded: {guard.sentence}.")
    if in_force is not None:
        say("", f"{settings.sources} has this stream already; the file was read under its keys.")
    _print_look_at([*proposal.look_at, *risks_in(seen, proposal)])
    _propose(settings, proposal, place, is_written=is_written, is_there=in_force is not None)
    if outcome.error is not None:
        return WOULD_FAIL
    if guard is not None:
        return WOULD_BE_HELD
    return WITH_REJECTS if outcome.rejected else WELL


def _print_unknown(seen: Seen, *, unmasked: bool) -> int:
    """Prints a file whose stream cannot be guessed."""
    _print_file(seen)
    if seen.error is not None:
        say(f"It would fail as an export of any stream: {seen.error}")
        return WOULD_FAIL
    if seen.columns:
        print_table(
            ("column", "samples"), [(c.name, _samples(c, None, [], unmasked=unmasked)) for c in seen.columns.values()]
        )
    say("", "Its columns do not identify a stream. Name one, as in --stream replenit/orders.")
    return WOULD_FAIL


def _place(settings: Settings, file: Path, stream: str | None, tenant: str | None) -> _Place:
    """Returns tenant and stream of the options; what they leave out is taken from the path in the landing."""
    found = _place_in_landing(settings, file)
    if stream is not None:
        partner, _, name = stream.partition("/")
        known = find_stream(partner, name)
        if known is None:
            raise click.UsageError(f"unknown stream {stream!r}; {suggestion(stream, [s.full_name for s in STREAMS])}")
        found = _Place(known, found.tenant if found.stream == known else None)
    if tenant is None:
        return found
    if found.stream is None:
        return _Place(None, tenant)
    return _Place(found.stream, _tenant_of(found.stream, tenant))


def _tenant_of(stream: Stream, tenant: str) -> str:
    known = stream.normalize_tenant(tenant)
    if known is None:
        raise click.UsageError(f"{stream.why_no_tenant(tenant)}. {stream.tenant_place}".rstrip(". ") + ".")
    return known


def _place_in_landing(settings: Settings, file: Path) -> _Place:
    if "://" in settings.landing:
        return _Place()
    try:
        names = file.resolve().relative_to(Path(settings.landing).expanduser().resolve()).parts
    except ValueError:
        return _Place()
    stream = find_stream(names[0], names[2]) if len(names) > 3 else None
    return _Place(stream, stream.normalize_tenant(names[1])) if stream is not None else _Place()


def _in_force(sources: Sources, place: _Place) -> StreamSettings | None:
    """Returns the settings that `sources.yaml` has for exactly this stream of the tenant; None if it has none."""
    if place.stream is None or place.tenant is None:
        return None
    key = (place.stream.partner, place.tenant, place.stream.name)
    return None if sources.is_default(*key) else sources.streams[key]


def _tenant_for(stream: Stream, tenant: str | None) -> str:
    return tenant or (_ANY_GUID if stream.normalize_tenant("any") is None else "any")


def _settings_of(proposal: Proposal, place: _Place) -> StreamSettings:
    """The settings of a proposed block, read in the same way as `sources.yaml`."""
    stream = proposal.stream
    tenant = _tenant_for(stream, place.tenant)
    with tempfile.TemporaryDirectory(prefix="sync_pipelines_") as folder:
        path = Path(folder) / "sources.yaml"
        path.write_text(source_block(stream.partner, tenant, stream.name, proposal.block), encoding="utf-8")
        return load_sources(path).for_stream(stream.partner, tenant, stream.name)


def _try(file: Path, seen: Seen, stream: Stream, settings: StreamSettings, place: _Place, home: Settings) -> Outcome:
    modified = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    window = DateWindow.at(home.first_date, datetime.now(UTC))
    at = effective_time_in(file.name, None if settings.file_date == REQUIRED else settings.file_date) or modified
    return try_reading(file, seen.columns, stream, settings, _tenant_for(stream, place.tenant), at, window)


def _print_file(seen: Seen) -> None:
    kind = "workbook" if seen.format == "xlsx" else seen.format
    parts = [f"{seen.name}: {seen.size:,} bytes, {kind}"]
    parts += [f"compressed ({seen.compression})"] if seen.compression else []
    parts += [f"encoding {seen.encoding}"] if seen.encoding else []
    parts += [f"delimiter {_named_mark(seen.delimiter)}"] if seen.delimiter else []
    parts += [f"sheet {seen.sheet!r}"] if seen.sheet else []
    parts += [f"header in {seen.header}"] if seen.header else []
    say(", ".join(parts))


def _print_sight(seen: Seen, proposal: Proposal) -> None:
    _print_file(seen)
    if proposal.layout is not None:
        say(f"It looks like {proposal.layout.name} (layout {proposal.layout.key}), for {proposal.stream.full_name}.")
    else:
        say(f"It is read as {proposal.stream.full_name}." + (" It is a request log." if seen.is_log else ""))


def _named_mark(mark: str) -> str:
    return {"\t": "tab", ",": "comma", ";": "semicolon", "|": "bar", " ": "blank"}.get(mark, repr(mark))


def _print_columns(seen: Seen, proposal: Proposal, needed: frozenset[str], *, unmasked: bool) -> None:
    if not seen.columns:
        return
    fields: dict[str, list[str]] = {}
    for name, of_column in proposal.fields.items():
        fields.setdefault(of_column, []).append(name)
    rows = []
    for column in seen.columns.values():
        named = fields.get(column.name, [])
        samples = _samples(column, proposal.stream, named, unmasked=unmasked)
        where = f"{column.within}[].{column.name}" if column.within else column.name
        read_as = ", ".join(named) or _own_name(column, proposal.stream, needed) or "extra"
        rows.append((where, read_as, _filled(column, seen), samples))
    say("")
    print_table(("column", "is read as", "filled", "samples"), rows)
    if not unmasked:
        say("(personal values are masked; --unmasked shows them)")
    if seen.records >= LOOKED_AT:
        say(f"(of the first {LOOKED_AT:,} records)")
    _print_dates_and_numbers(proposal)


def _own_name(column: SeenColumn, stream: Stream, needed: frozenset[str]) -> str | None:
    """The field of a column that has the field's own name, such as `addresses[0].city`; None if no field has it."""
    if column.within is None:
        return column.name if column.name in needed else None
    outer = stream.shape.by_folded.get(folded(column.within))
    inner = outer.children.by_folded.get(folded(column.name)) if outer is not None and outer.children else None
    return f"{column.within}[].{inner.alias}" if inner is not None else None


def _filled(column: SeenColumn, seen: Seen) -> str:
    if column.within or not seen.records:
        return ""
    return f"{100 * len(column.values) // seen.records} %"


def _samples(column: SeenColumn, stream: Stream | None, named: list[str], *, unmasked: bool) -> str:
    kind: Kind = "contact" if stream is None else _kind(stream, named)
    return ", ".join(_sample(value if unmasked else masked(value, kind)) for value in column.samples())


def _sample(value: Any) -> str:
    # Digits of ids are not grouped.
    plain = " ".join((str(value) if isinstance(value, int) else shown(value)).split())
    return plain if len(plain) <= _LONGEST_SAMPLE else plain[: _LONGEST_SAMPLE - 3] + "..."


def _kind(stream: Stream, named: list[str]) -> Kind:
    """How a column's values are masked. A column that the contract does not have counts as personal."""
    kinds = [kind_of(field) for name in named if (field := field_named(stream, name)) is not None]
    return next((kind for kind in kinds if kind != "plain"), "plain") if kinds else "contact"


def _print_dates_and_numbers(proposal: Proposal) -> None:
    dates, numbers = proposal.dates, proposal.numbers
    if dates is not None and dates.example is not None:
        text, moment = dates.example
        how = " or ".join(dates.formats) or "ISO 8601"
        two = f"; as {dates.also} it would be another day" if dates.also else ""
        say(f"dates: {text} reads as {moment:%Y-%m-%d %H:%M:%S} UTC ({how}){two}")
    if numbers is not None and (numbers.decimal or numbers.thousands):
        decimal, between = proposal.keys.get("decimal", "."), proposal.keys.get("thousands")
        thousands = f", {between!r} between thousands" if between else ""
        say(f"numbers: decimal mark {decimal!r}{thousands}")


def _print_outcome(outcome: Outcome, stream: Stream, *, unmasked: bool) -> None:
    say("")
    if outcome.error is not None:
        say(f"The file would fail and nothing would be loaded: {outcome.error}")
        return
    accepted, rejected = outcome.operations.total(), outcome.rejected.total()
    say(f"It has {outcome.read:,} records: {accepted:,} would be accepted, {rejected:,} rejected. Nothing was loaded.")
    if rejected:
        rows = []
        for code, number in outcome.rejected.most_common():
            first = outcome.examples[code][0]
            reason = first.message if unmasked else masked_reason(stream, first.field_path, first.message)
            places = ", ".join(reject.position for reject in outcome.examples[code])
            rows.append(
                (code, number, places + (", ..." if number > len(outcome.examples[code]) else ""), reason[:200])
            )
        print_table(("rejected for", "records", "at", "for example"), rows)
    if outcome.leniencies:
        say("forgiven: " + ", ".join(f"{code} {number:,}" for code, number in outcome.leniencies.most_common()))


def _print_look_at(sentences: list[str]) -> None:
    if sentences:
        say("", "Look at:")
        say(*(f"- {without_emails(sentence)}" for sentence in dict.fromkeys(sentences)))


def _propose(settings: Settings, proposal: Proposal, place: _Place, *, is_written: bool, is_there: bool) -> None:
    stream, tenant = proposal.stream, place.tenant
    if is_written:
        if tenant is None:
            raise click.UsageError("--write needs --tenant: the name of the tenant's folder in the landing")
        tenant = _tenant_of(stream, tenant)
        add_stream(settings.sources, stream.partner, tenant, stream.name, proposal.block)
        say("", f"{settings.sources} has the block now.")
        say(f"Put the file at {stream.partner}/{tenant}/{stream.name}/ of the landing, then run: {typed('sync')}")
        return
    if is_there:
        return
    say("", f"For {settings.sources.name} (--write puts it there):", "")
    # Text to be copied: no line of it is folded or escaped twice.
    for line in source_block(stream.partner, tenant or _PLACEHOLDER, stream.name, proposal.block).splitlines():
        say(line)
