"""A landing, an archive and a database of one test's own, and the tables as comparable Python values.

Belongs here: what any test needs that puts exports down, syncs and looks at the result. Does not belong here:
assertions, databases (`conftest`).
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg.rows import dict_row
from psycopg.types.json import set_json_loads

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.database import ledger
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.database.postgres import Database
from sync_pipelines.normalize.values import from_json
from sync_pipelines.stages.export_stages import Discovery, Workspace, discover, load_all, open_workspace
from sync_pipelines.tables.schema import MAIN_TABLES, metadata
from sync_pipelines_tests.databases import Connections

CASES = Path(__file__).parent / "cases"
TENANT = "7d444840-9dc0-11d1-b245-5ffdce74fad2"
OTHER_TENANT = "11111111-2222-3333-4444-555555555555"
LONG_AGO = datetime(2024, 1, 2, tzinfo=UTC)
"""When the first file was put down, unless a test says otherwise; the next ones a second later each."""

LAST_WRITE = frozenset({"effective_at", "source_file", "source_position", "run_id", "created_at", "updated_at"})
"""Columns that name the last write; law 1 leaves them aside."""

Key = tuple[str, str, str | None]
Tables = dict[str, dict[Any, dict[str, Any]]]


@lru_cache(maxsize=4)
def _settings(environment: tuple[tuple[str, str], ...], folder: Path, url: str, first_date: date) -> Settings:
    return Settings(
        home=folder / "home",
        database_url=url,
        landing=str(folder / "landing"),
        sources=folder / "sources.yaml",
        first_date=first_date,
    )


@dataclass
class Site:
    """A landing, an archive and a database.

    Attributes:
        folder: holds landing, state folder and `sources.yaml`.
        database: migrated.
        has_guards: whether guards hold harmful exports, as they do by default outside of tests.
        connections: those to use again; None: syncs and queries open their own.
    """

    folder: Path
    database: Database
    first_date: date = date(2010, 1, 1)
    has_guards: bool = False
    connections: Connections | None = None
    _clock: Any = field(default_factory=count)

    def __post_init__(self) -> None:
        self.landing.mkdir(exist_ok=True)

    @property
    def landing(self) -> Path:
        """Where exports are put down."""
        return self.folder / "landing"

    @property
    def settings(self) -> Settings:
        """Of this site."""
        environment = tuple((name, value) for name, value in os.environ.items() if name.startswith("SYNC_"))
        return _settings(environment, self.folder, self.database.url, self.first_date)

    def workspace(self) -> Workspace:
        """What a sync works with, opened anew."""
        workspace = open_workspace(self.settings)
        return replace(workspace, sources=replace(workspace.sources, has_guards=self.has_guards))

    def sources(
        self,
        orders: Mapping[str, Any] | None = None,
        tenant: str = TENANT,
        others: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Lists one tenant of replenit with these settings of its orders, and others with theirs."""
        tenants = {tenant: orders or {}, **(others or {})}
        self._write_sources({f"replenit/{name}/orders": settings for name, settings in tenants.items()})

    def source_of(self, stream: str, **settings: Any) -> None:
        """Lists one tenant's stream, `source_of("nilo/acme/stores", strict=True)`, and nothing else."""
        self._write_sources({stream: settings})

    def _write_sources(self, streams: Mapping[str, Mapping[str, Any]]) -> None:
        listed = []
        for stream, settings in streams.items():
            partner, tenant, name = stream.split("/")
            listed.append({"partner": partner, "tenant": tenant, "streams": {name: dict(settings)}})
        # JSON is YAML.
        (self.folder / "sources.yaml").write_text(json.dumps({"sources": listed}))

    def put(
        self,
        name: str,
        content: bytes | str | Iterable[Any] | Mapping[str, Any],
        mtime: datetime | None = None,
        tenant: str = TENANT,
    ) -> Path:
        """Puts an export below a tenant's `orders/`; what is neither bytes nor text is written as JSON."""
        return self.put_at(f"replenit/{tenant}/orders/{name}", content, mtime)

    def put_at(
        self, path: str, content: bytes | str | Iterable[Any] | Mapping[str, Any], mtime: datetime | None = None
    ) -> Path:
        """Puts an export of any stream down: `put_at("reten/t1/commerces/2024-01-01.json", {...})`."""
        target = self.landing / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(as_bytes(content))
        self.touch(target, mtime or LONG_AGO + timedelta(seconds=next(self._clock)))
        return target

    @staticmethod
    def touch(path: Path, mtime: datetime) -> None:
        """Stamps a file."""
        os.utime(path, (mtime.timestamp(), mtime.timestamp()))

    def discover(self) -> Discovery:
        """Looks at the landing."""
        return discover(self.workspace())

    def sync(self, run_id: str | None = None) -> list[LedgerFile]:
        """Loads whatever is there; returns what was handled, in version order within refused and loaded."""
        workspace = replace(self.workspace(), idle=self.connections.of_syncs if self.connections else None)
        found = discover(workspace)
        return found.failed + load_all(workspace, found.pending, run_id)

    def load(
        self,
        name: str,
        content: bytes | str | Iterable[Any] | Mapping[str, Any],
        mtime: datetime | None = None,
        tenant: str = TENANT,
    ) -> LedgerFile:
        """Puts one export down, syncs, and returns its entry."""
        return self.load_at(f"replenit/{tenant}/orders/{name}", content, mtime)

    def load_at(
        self, path: str, content: bytes | str | Iterable[Any] | Mapping[str, Any], mtime: datetime | None = None
    ) -> LedgerFile:
        """Puts an export of any stream down, syncs, and returns its entry."""
        self.put_at(path, content, mtime)
        return next(entry for entry in self.sync() if entry.path == path)

    @contextmanager
    def _asking(self) -> Iterator[psycopg.Connection[Any]]:
        waiting = self.connections.of_queries if self.connections else []
        connection = waiting.pop() if waiting else self.database.connect(autocommit=True)
        try:
            yield connection
        finally:
            waiting.append(connection)
            if self.connections is None:
                connection.close()

    # -- what came of it ---------------------------------------------------------------------------------------

    def query(self, statement: str, values: Any = None) -> list[dict[str, Any]]:
        """Rows of a statement; JSON numbers are exact."""
        with self._asking() as connection:
            return rows_of(connection, statement, values)

    def ledger(self) -> list[LedgerFile]:
        """Every entry, in order of path and revision."""
        with self._asking() as connection:
            ids = [id for (id,) in connection.execute("select id from sync.export_files").fetchall()]
            return sorted(ledger.of_ids(connection, ids), key=lambda entry: (entry.path, entry.revision))

    def rejects(self) -> list[dict[str, Any]]:
        """Every rejected record with its file's path, in order of path, revision and line."""
        return self.query(
            "select f.path, f.revision, r.position, r.external_id, r.code, r.field_path, r.message, r.record, r.status"
            " from sync.rejected_records r join sync.export_files f on f.id = r.export_file_id"
            " order by f.path collate \"C\", f.revision, string_to_array(r.position, '/')::int[], r.code"
        )

    def tables(self) -> Tables:
        """Every main table as natural key -> columns, children in lists; see `table_values`."""
        with self._asking() as connection:
            return table_values(connection)

    def order(self, key: str, tenant: str = TENANT) -> dict[str, Any] | None:
        """An order with its items under `order_items`, or None."""
        return self.tables()["orders"].get((tenant, "replenit", key))

    def items(self, key: str) -> list[dict[str, Any]]:
        """The items of an order."""
        order = self.order(key)
        assert order is not None
        return list(order["order_items"])

    def customers(self) -> list[tuple[Key, bool]]:
        """Natural key and placeholder mark of every customer, sorted."""
        return sorted((key, row["is_placeholder"]) for key, row in self.tables()["customers"].items())

    def versions(self) -> dict[str, list[tuple[Any, ...]]]:
        """Physical place and writing transaction of every row of orders, items and customers."""
        with self.database.connect() as connection:
            return {
                table: connection.execute(
                    f"select ctid::text, xmin::text, xmax::text from sync.{table} order by ctid"
                ).fetchall()
                for table in ("orders", "order_items", "customers")
            }

    def dead_tuples(self) -> dict[str, int]:
        """Dead row versions of orders, items and customers as PostgreSQL counts them."""
        with self.database.connect(autocommit=True) as connection:
            connection.execute("select pg_stat_force_next_flush()")
            connection.execute("select pg_stat_clear_snapshot()")
            rows = connection.execute(
                "select relname, n_dead_tup from pg_stat_user_tables where schemaname = 'sync'"
                " and relname in ('orders', 'order_items', 'customers')"
            ).fetchall()
            return {name: dead for name, dead in rows}


def as_bytes(content: bytes | str | Iterable[Any] | Mapping[str, Any]) -> bytes:
    """An export's bytes."""
    if isinstance(content, bytes):
        return content
    return content.encode() if isinstance(content, str) else json.dumps(content).encode()


def lines(*values: Any) -> str:
    """NDJSON of values."""
    return "".join(json.dumps(value) + "\n" for value in values)


def rows_of(connection: psycopg.Connection[Any], statement: str, values: Any = None) -> list[dict[str, Any]]:
    """Rows of a statement as dicts; times in UTC, JSON numbers exact."""
    set_json_loads(from_json, connection)
    connection.execute("set time zone 'UTC'")
    with connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(statement, values).fetchall()


def table_values(connection: psycopg.Connection[Any]) -> Tables:
    """Main tables as (tenant, partner, external id) -> columns.

    References hold the natural key of the row meant; children stand in lists under their table's name, in order.
    Surrogate ids and the columns that name the last write are left out (law 1).
    """
    stored = {table: rows_of(connection, f"select * from sync.{table.name} order by id") for table in MAIN_TABLES}
    keys = {table.name: {row["id"]: _natural_key(row) for row in rows} for table, rows in stored.items()}
    found: Tables = {}
    for table, rows in stored.items():
        references = {f.parent.name: keys[f.column.table.name] for f in table.foreign_keys}
        children = _children_of(connection, table)
        found[table.name] = {}
        for row in rows:
            values = {name: _resolved(name, value, references) for name, value in _content(row).items()}
            values |= {child: lists.get(row["id"], []) for child, lists in children.items()}
            assert _natural_key(row) not in found[table.name], f"{table.name} has {_natural_key(row)} twice"
            found[table.name][_natural_key(row)] = values
    return found


def _natural_key(row: Mapping[str, Any]) -> Key:
    """The key of a row; one without an external id has the partner's own, marked (P2)."""
    own = row.get("partner_record_id")
    is_marked = row["external_id"] is None and own is not None
    return (row["tenant"], row["partner"], f"id {own}" if is_marked else row["external_id"])


def _content(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "id" and name not in LAST_WRITE}


def _resolved(name: str, value: Any, references: Mapping[str, Mapping[int, Key]]) -> Any:
    return references[name][value] if name in references and value is not None else value


def _children_of(connection: psycopg.Connection[Any], table: sa.Table) -> dict[str, dict[int, list[dict[str, Any]]]]:
    found: dict[str, dict[int, list[dict[str, Any]]]] = {}
    for child in metadata.tables.values():
        if child.info.get("parent") != table.name:
            continue
        parent = list(child.columns)[1].name
        order = "line_no" if "line_no" in child.c else "id"
        lists = found.setdefault(child.name, {})
        for row in rows_of(connection, f"select * from sync.{child.name} order by {parent}, {order}"):
            content = {name: value for name, value in row.items() if name not in ("id", parent)}
            lists.setdefault(row[parent], []).append(content)
    return found


def order(key: Any, **fields: Any) -> dict[str, Any]:
    """The smallest order, with fields beside."""
    return {"OrderId": key, "Currency": "USD", **fields}


def item(product: Any = "P1", **fields: Any) -> dict[str, Any]:
    """The smallest item, with fields beside."""
    return {"ProductId": product, "Sku": "S1", "Quantity": 1, "Price": 2, **fields}


def call(at: Any, method: Any, path: Any, body: Any = None) -> dict[str, Any]:
    """One line of a request log."""
    return {"at": at, "method": method, "path": path} | ({} if body is None else {"body": body})


def posted(at: Any, *orders: Any, tenant: str = TENANT) -> dict[str, Any]:
    """A log line that sends orders."""
    return call(at, "POST", f"/orders/{tenant}", list(orders))


def deleted(at: Any, key: str, tenant: str = TENANT) -> dict[str, Any]:
    """A log line that deletes an order."""
    return call(at, "DELETE", f"/orders/{tenant}/{key}")


def outcomes(entry: LedgerFile) -> dict[str, int]:
    """The counts of an entry that are not zero, `read` aside."""
    return {name: number for name, number in entry.counts.items() if number and name != "read"}


def until(true: Callable[[], bool]) -> bool:
    """Whether something becomes true in time."""
    ending = time.monotonic() + 20.0
    while not (is_true := true()) and time.monotonic() < ending:
        time.sleep(0.02)
    return is_true
