"""`sync-pipelines verify`: compares tables and ledger with the archive, or the archive with its checksums.

Belongs here: names that users type, layout and exit statuses. Does not belong here: comparing
(`stages.verify_tables`, `stages.verify_ledger`, `stages.verify_archive`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import click

from sync_pipelines.command_line import typed
from sync_pipelines.commands.changed_rows import cell
from sync_pipelines.commands.disclosure import log_unmasked
from sync_pipelines.commands.screen import json_of, notify, print_table, say
from sync_pipelines.configuration.settings import load_settings
from sync_pipelines.contracts.near_names import suggestion
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.errors import ArchiveIncomplete
from sync_pipelines.orchestration.plurals import counted
from sync_pipelines.privacy.masking import masked
from sync_pipelines.privacy.personal_data import masked_row
from sync_pipelines.stages.rebuild import Rebuilt
from sync_pipelines.stages.verify_archive import verify_archive
from sync_pipelines.stages.verify_ledger import VerifiedLedger, known_tenants, verify_ledger
from sync_pipelines.stages.verify_tables import Difference, Verified, verifiable, verify_stream
from sync_pipelines.stages.workspace import Workspace, open_workspace

EQUAL: Final = 0
DIFFERENT: Final = 1
_SHOWN: Final = 50
"""Differences that are printed as text; JSON has more."""
_LISTED: Final = 1_000


@dataclass(frozen=True)
class Selection:
    """What to verify; None means everything."""

    partner: str | None = None
    stream: str | None = None
    tenant: str | None = None

    @property
    def name(self) -> str | None:
        """The stream without its partner."""
        return None if self.stream is None else self.stream.rpartition("/")[2]

    @property
    def owner(self) -> str | None:
        """The partner, also from a stream such as `replenit/orders`."""
        return self.partner or ((self.stream or "").rpartition("/")[0] or None)

    def holds(self, stream: Stream, tenant: str) -> bool:
        """Whether a tenant's stream is wanted."""
        wanted = ((self.owner, stream.partner), (self.name, stream.name), (self.tenant, tenant))
        return all(chosen in (None, found) for chosen, found in wanted)


@dataclass
class _Tables:
    """The results of all tenants' streams."""

    keys: int = 0
    records: int = 0
    count: int = 0
    repaired: int = 0
    differences: list[tuple[Stream, Difference]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def is_right(self) -> bool:
        """Whether everything could be compared, and nothing differs any more."""
        return not self.errors and self.count == self.repaired

    def add(self, stream: Stream, found: Verified) -> None:
        """Adds those of one."""
        self.keys += found.keys
        self.records += found.records
        self.count += found.count
        self.repaired += found.count if found.is_repaired else 0
        self.differences += [(stream, one) for one in found.differences]


def run(wanted: Selection, *, repair: bool, of_archive: bool, as_json: bool, unmasked: bool) -> int:
    """Verifies, prints the differences and returns the exit status.

    Raises:
        click.UsageError: the tenant is unknown, or a choice is combined with `--archive`.
    """
    if of_archive and wanted != Selection():
        raise click.UsageError("--archive reads the whole archive; leave out --partner, --stream and --tenant")
    workspace = open_workspace(load_settings())
    if unmasked:
        log_unmasked(workspace.settings, "verify --repair" if repair else "verify")
    if of_archive:
        return _run_archive(workspace, repair=repair, as_json=as_json)
    _check_tenant(workspace, wanted)
    ledger = verify_ledger(workspace, wanted.owner, wanted.name, wanted.tenant, repair=repair)
    tables = _Tables()
    for stream, tenant in verifiable(workspace):
        if wanted.holds(stream, tenant):
            try:
                tables.add(stream, verify_stream(workspace, stream, tenant, repair=repair))
            except ArchiveIncomplete as error:
                tables.errors.append(f"{stream.full_name} of {tenant}: {error.message}")
    if as_json:
        print(json_of(_answer(ledger, tables, unmasked=unmasked)))
    else:
        _print_ledger(ledger, repair=repair)
        _print_tables(tables, repair=repair, unmasked=unmasked)
    is_right = ledger.is_right and not ledger.rebuilt.lost and tables.is_right
    if not is_right and not repair and (ledger.exports or tables.count):
        notify(f"`{typed('verify --repair')}` corrects it by the archive")
    return EQUAL if is_right else DIFFERENT


def _check_tenant(workspace: Workspace, wanted: Selection) -> None:
    if wanted.tenant is None:
        return
    known = known_tenants(workspace, wanted.owner, wanted.name)
    known |= {
        tenant for stream, tenant in verifiable(workspace) if Selection(wanted.owner, wanted.name).holds(stream, tenant)
    }
    if wanted.tenant not in known:
        hint = suggestion(wanted.tenant, sorted(known)) if known else "nothing is loaded"
        owner = "/".join(name for name in (wanted.owner, wanted.name) if name)
        raise click.UsageError(f"unknown tenant {wanted.tenant!r}{f' of {owner}' if owner else ''}; {hint}")


# -- ledger ----------------------------------------------------------------------------------------------------


def _print_ledger(found: VerifiedLedger, *, repair: bool) -> None:
    say(f"ledger: {counted(found.entries, 'export')} compared with the archive, {found.exports:,} differ")
    if found.copied:
        say(f"ledger: {counted(found.copied, 'export')} had no copy in the archive; it is written now")
    for damage in found.damages:
        say(f"ledger: {damage} in the archive is damaged; `{typed('verify --archive --repair')}` mends it")
    rows = [(d.path, d.revision, d.column, _short(d.stored), _short(d.archive)) for d in found.differences[:_SHOWN]]
    if rows and found.entries:
        print_table(("export", "revision", "column", "ledger", "archive"), rows)
        _print_rest(len(found.differences))
    if repair and found.exports:
        say(f"ledger: {counted(found.repaired, 'export')} repaired")
    _print_rebuilt(found.rebuilt)


def _print_rebuilt(found: Rebuilt) -> None:
    if found.exports:
        say(f"rebuilt: {counted(found.exports, 'export')} from the archive")
    for path in found.mended:
        say(f"rebuilt: {path}: its kept records were damaged and were written again from its raw bytes")
    for lost in found.lost:
        say(f"NOT rebuilt: {lost.path}: {lost.why}")
    if found.waiting:
        say(f"NOT rebuilt: {counted(found.waiting, 'other export')} of the same streams: their keys may need these")


def _short(value: Any) -> str:
    return cell(masked(value, "plain"), whole=False)


def _print_rest(listed: int) -> None:
    if listed > _SHOWN:
        say("... and more; --json lists up to 1,000")


# -- tables ----------------------------------------------------------------------------------------------------


def _print_tables(found: _Tables, *, repair: bool, unmasked: bool) -> None:
    say(
        f"tables: {counted(found.keys, 'row')} of {counted(found.records, 'record')} compared with the archive,"
        f" {counted(found.count, 'difference')}"
    )
    shown = [_shown(stream, one, unmasked=unmasked) for stream, one in found.differences[:_SHOWN]]
    if shown:
        print_table(
            tuple(shown[0]), [tuple(_cell(value, unmasked=unmasked) for value in row.values()) for row in shown]
        )
    _print_rest(len(found.differences))
    if repair and found.count:
        say(f"tables: {counted(found.repaired, 'difference')} repaired")
    for error in found.errors:
        say(f"tables: NOT compared: {error}")


def _cell(value: Any, *, unmasked: bool) -> Any:
    return value if value is None or isinstance(value, int) else cell(value, whole=False, unmasked=unmasked)


def _shown(stream: Stream, found: Difference, *, unmasked: bool) -> dict[str, Any]:
    """Returns a difference by column of the table; personal values are masked unless asked for."""
    key, stored, archived = found.key, found.stored, found.archived
    if not unmasked:
        key = str(masked(key, "plain"))
        stored, archived = (_masked(stream, found, value) for value in (stored, archived))
    place = {"table": found.table, "partner": found.partner, "tenant": found.tenant, "key": key, "line": found.line}
    return {**place, "column": found.column, "stored": stored, "archive": archived}


def _masked(stream: Stream, found: Difference, value: Any) -> Any:
    if isinstance(value, Mapping):
        return masked_row(stream, value, found.table)
    kinds = (masked_row(stream, {found.column: value}, table)[found.column] for table in (found.table, stream.table))
    # A column of a table that is not the stream's is masked as the stream's own column of that name.
    return next((shown for shown in kinds if shown != value), value)


def _answer(ledger: VerifiedLedger, tables: _Tables, *, unmasked: bool) -> dict[str, Any]:
    differences = [{**one._asdict(), "stored": masked(one.stored, "plain")} for one in ledger.differences]
    rebuilt = ledger.rebuilt
    return {
        "ledger": {
            "exports": ledger.entries,
            "different": ledger.exports,
            "repaired": ledger.repaired,
            "copied": ledger.copied,
            "damaged": [str(damage) for damage in ledger.damages],
            "differences": differences,
        },
        "rebuilt": {
            "exports": rebuilt.exports,
            "mended": rebuilt.mended,
            "lost": [lost._asdict() for lost in rebuilt.lost],
            "waiting": rebuilt.waiting,
        },
        "tables": {
            "keys": tables.keys,
            "records": tables.records,
            "different": tables.count,
            "repaired": tables.repaired,
            "errors": tables.errors,
            "differences": [_shown(stream, one, unmasked=unmasked) for stream, one in tables.differences[:_LISTED]],
        },
    }


# -- archive ---------------------------------------------------------------------------------------------------


def _run_archive(workspace: Workspace, *, repair: bool, as_json: bool) -> int:
    found = verify_archive(workspace, repair=repair)
    if as_json:
        damages = [{**asdict(damage), "exports": list(damage.exports)} for damage in found.damages]
        print(json_of({"files": found.files, "bytes": found.bytes, "damages": damages}))
    else:
        say(f"archive: {counted(found.files, 'file')} with {found.bytes:,} bytes read, {len(found.damages):,} damaged")
        rows = [(d.path, d.why, _exports(d.exports), "mended" if d.is_mended else "") for d in found.damages]
        if rows:
            print_table(("file in the archive", "damage", "exports", ""), rows)
    if not found.is_right:
        hint = "restore the archive from a backup" if repair else f"`{typed('verify --archive --repair')}` mends it"
        notify(f"{hint}; an export that needs a damaged file fails until then")
    return EQUAL if found.is_right else DIFFERENT


def _exports(paths: tuple[str, ...]) -> str:
    return ", ".join(paths[:3]) + (f" and {len(paths) - 3:,} more" if len(paths) > 3 else "")
