"""The tables in PostgreSQL schema `sync`, as SQLAlchemy metadata.

Belongs here: columns, keys and indexes; the names users query. Does not belong here: what a column holds in words
(`descriptions`), views (`views`), loading (`upsert`), migrations (`tables.migrations`), Dagster's own tables (schema
`public`).

Money is NUMERIC(18,4), coordinates are NUMERIC(9,6) (X9), instants are timestamptz in UTC. Columns that a partner may
omit are nullable: a tombstone keeps only its key (X5).
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from sync_pipelines.tables.descriptions import TABLES, column_description

SCHEMA: Final = "sync"
OUTCOMES: Final = ("created", "updated", "unchanged", "stale", "deleted", "not_found", "blocked", "rejected")
"""The outcomes of a record. Each record has exactly one, so they add up to `read` (law 3, X11).

`export_outcomes` stores indexes into this list: append new ones.
"""
FILE_STATUSES: Final = ("pending", "loaded", "failed", "held", "withdrawn")
"""The statuses of an export."""
REJECT_STATUSES: Final = ("open", "resolved", "superseded", "withdrawn")
"""The statuses of a rejected record."""

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
        "fk": "%(table_name)s_%(column_0_N_name)s_fkey",
        "pk": "%(table_name)s_pkey",
    },
)


def _id() -> Column[int]:
    return Column("id", BigInteger, Identity(), primary_key=True, nullable=False)


def _money(name: str) -> Column[Any]:
    return Column(name, Numeric(18, 4))


def _coordinate(name: str) -> Column[Any]:
    return Column(name, Numeric(9, 6))


def _texts(name: str) -> Column[Any]:
    return Column(name, ARRAY(Text))


def _text(*names: str) -> list[Column[Any]]:
    return [Column(name, Text) for name in names]


def _instant(name: str, *, nullable: bool = True, now: bool = False) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=func.now() if now else None)


def _status(*values: str) -> list[Any]:
    """Returns a column `status` with the first value as default, and the constraint that allows only these values."""
    allowed = ", ".join(f"'{value}'" for value in values)
    column = Column("status", Text, nullable=False, server_default=values[0], info={"values": values})
    return [column, CheckConstraint(f"status in ({allowed})", name="status")]


def _main_table(name: str, *columns: Column[Any], scope: str | None = None) -> Table:
    """Returns a table that partners' records fill: key, life cycle and provenance around the given columns.

    External ids are unique within tenant and partner; with `scope`, rows whose scope is set are unique within it.
    """
    table = Table(
        name,
        metadata,
        _id(),
        Column("tenant", Text, nullable=False),
        Column("partner", Text, nullable=False),
        Column("external_id", Text),
        Column("partner_record_id", Text),
        *columns,
        Column("extra", JSONB),
        Column("is_placeholder", Boolean, nullable=False, server_default=text("false")),
        _instant("deleted_at"),
        _instant("effective_at"),
        Column("source_file", Text),
        Column("source_position", Text),
        Column("run_id", Text),
        _instant("created_at", nullable=False, now=True),
        _instant("updated_at", nullable=False, now=True),
    )
    Index(
        f"{name}_record_id_idx",
        *(table.c[c] for c in ("tenant", "partner", "partner_record_id")),
        postgresql_where=table.c.partner_record_id.is_not(None),
    )
    Index(f"{name}_updated_at_idx", table.c.updated_at)
    key = ("tenant", "partner", "external_id")
    if scope is None:
        table.append_constraint(UniqueConstraint(*key))
    else:
        Index(f"{name}_key", *(table.c[c] for c in key), unique=True, postgresql_where=table.c[scope].is_(None))
        scoped = (table.c[scope], *(table.c[c] for c in key))
        Index(f"{name}_in_{scope}_key", *scoped, unique=True, postgresql_where=table.c[scope].is_not(None))
        table.info["scope"] = scope
    return table


def _child_table(name: str, parent: str, *columns: Column[Any], key: bool = False) -> Table:
    """Returns a table of rows that belong to one row of another table and are deleted with it.

    `line_no` keeps the partner's order. With `key`, (parent, line_no) is the primary key and `id` a plain column whose
    sequence caches a thousand numbers: one index less to write.
    """
    parent_column, parent_table = parent.split("=")
    number = Column("id", BigInteger, Identity(cache=1000), nullable=False) if key else _id()
    keys: list[Any] = [number, Column(parent_column, BigInteger, nullable=False)]
    keys.append(Column("line_no", Integer, nullable=False))
    keys.append(PrimaryKeyConstraint(parent_column, "line_no") if key else Index(None, parent_column))
    return Table(
        name,
        metadata,
        *keys,
        *columns,
        Column("extra", JSONB),
        info={"parent": parent_table, "parent_column": parent_column},
    )


commerces = _main_table(
    "commerces",
    *_text("name", "global_external_id", "tax_id"),
    Column("metadata", JSONB),
)
commerce_addresses = _child_table(
    "commerce_addresses",
    "commerce_id=commerces",
    *_text("alias"),
    Column("is_primary", Boolean),
    *_text("country_code", "region", "commune", "city", "street", "street_number", "unit", "formatted_address"),
    _coordinate("latitude"),
    _coordinate("longitude"),
    *_text("source_ref"),
)
commerce_users = _child_table("commerce_users", "commerce_id=commerces", *_text("external_id", "name"), _texts("roles"))
commerce_user_contacts = _child_table(
    "commerce_user_contacts",
    "commerce_user_id=commerce_users",
    *_text("contact_type", "value"),
    Column("is_primary", Boolean),
)

customers = _main_table(
    "customers",
    Column("commerce_id", BigInteger, ForeignKey(f"{SCHEMA}.commerces.id")),
    *_text("name", "email", "phone", "currency"),
    Column("discount_percentage", Numeric(18, 4)),
    Column("is_active", Boolean),
    *_text("payment_terms_id", "payment_terms_code"),
    Column("metadata", JSONB),
    scope="commerce_id",
)
customer_addresses = _child_table(
    "customer_addresses",
    "customer_id=customers",
    *_text("title", "name", "address", "address_2", "zip", "city", "region", "country", "remote_erp_id"),
)

orders = _main_table(
    "orders",
    Column("customer_id", BigInteger, ForeignKey(f"{SCHEMA}.customers.id"), index=True),
    *_text("email", "customer_external_id"),
    Column("total_quantity", BigInteger),
    _money("total_revenue"),
    _instant("ordered_at"),
    *_text("currency"),
    Column("unique_quantity", BigInteger),
    Column("is_cancelled", Boolean),
    _texts("defaulted_fields"),
)
Index("orders_ordered_at_idx", orders.c.ordered_at)
order_items = _child_table(
    "order_items",
    "order_id=orders",
    *_text("product_id", "sku"),
    Column("quantity", BigInteger),
    _money("price"),
    *_text("size"),
    Column("size_numeric", Numeric(18, 6)),
    *_text("size_metric", "color", "brand"),
    Column("is_gift", Boolean),
    _money("original_price"),
    key=True,
)

stores = _main_table(
    "stores",
    *_text("name", "owner_name", "owner_identifier", "legal_name", "legal_id"),
    Column("enabled", Boolean),
    _money("credit_limit"),
    Column("is_debtor", Boolean),
    Column("is_late_payer", Boolean),
    *_text("payment_status"),
    _texts("promotion_grouper_codes"),
    *_text("stock_grouper_code", "pricelist_code", "route_code"),
    _coordinate("latitude"),
    _coordinate("longitude"),
    Column("has_own_coordinates", Boolean),
    *_text("address_format", "support_contact_email", "support_contact_phone"),
    Column("settings", JSONB),
)
store_addresses = _child_table(
    "store_addresses",
    "store_id=stores",
    *_text("address", "apartment_number", "zip_code", "internal_code"),
    _coordinate("latitude"),
    _coordinate("longitude"),
)
store_users = _child_table("store_users", "store_id=stores", *_text("user_ref"))

_counts = ("read", *OUTCOMES)

export_files = Table(
    "export_files",
    metadata,
    _id(),
    *[Column(name, Text, nullable=False) for name in ("partner", "tenant", "stream", "path")],
    Column("revision", Integer, nullable=False, server_default=text("1")),
    Column("size", BigInteger, nullable=False),
    _instant("modified_at", nullable=False),
    *_text("etag", "sha256", "raw_sha256"),
    _instant("looked_at"),
    _instant("effective_at", nullable=False),
    Column("partition_date", Date, nullable=False),
    Column("has_own_date", Boolean, nullable=False, server_default=text("true")),
    *_status(*FILE_STATUSES),
    *[Column(name, BigInteger, nullable=False, server_default=text("0")) for name in _counts],
    Column("lines", BigInteger),
    Column("leniencies", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    Column("unknown_fields", JSONB, nullable=False, server_default=text("'{}'::jsonb")),
    *_text("error"),
    Column("held", JSONB),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    _instant("attempted_at"),
    *_text("run_id", "kept"),
    _instant("effective_from"),
    _instant("effective_to"),
    _instant("loaded_at"),
    _instant("seen_at", nullable=False, now=True),
    Column("has_indexed_keys", Boolean, nullable=False, server_default=text("false")),
    UniqueConstraint("partner", "tenant", "stream", "path", "revision"),
    CheckConstraint(f"read = {' + '.join(OUTCOMES)}", name="accounting"),
    Index("export_files_status_idx", "partner", "stream", "status", "partition_date"),
    Index(
        "export_files_newest_idx",
        "partner",
        "tenant",
        "stream",
        "effective_at",
        postgresql_where=text("status = 'loaded' and effective_to is not null"),
    ),
    Index(
        "export_files_keys_to_index_idx",
        *("partner", "tenant", "stream"),
        postgresql_where=text("status = 'loaded' and not has_indexed_keys"),
    ),
)

rejected_records = Table(
    "rejected_records",
    metadata,
    _id(),
    Column("export_file_id", BigInteger, ForeignKey(f"{SCHEMA}.export_files.id"), nullable=False, index=True),
    *_text("position", "external_id", "code", "field_path", "message"),
    Column("record", JSONB),
    *_status(*REJECT_STATUSES),
    Column("depends_on_state", Boolean, nullable=False, server_default=text("false")),
    Column("run_id", Text),
    _instant("created_at", nullable=False, now=True),
    _instant("updated_at", nullable=False, now=True),
    Column("faults", JSONB, nullable=False, server_default=text("'[]'::jsonb")),
    Index("rejected_records_open_idx", "export_file_id", postgresql_where=text("status = 'open'")),
)

export_outcomes = Table(
    "export_outcomes",
    metadata,
    Column(
        "export_file_id",
        BigInteger,
        ForeignKey(f"{SCHEMA}.export_files.id", ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("outcomes", LargeBinary, nullable=False),
)
"""The outcome of each record of a loaded export (`upsert.record_outcomes`)."""

key_runs = Table(
    "key_runs",
    metadata,
    _id(),
    *[Column(name, Text, nullable=False) for name in ("partner", "tenant", "stream")],
    Column("level", Integer, nullable=False),
    *[Column(name, BigInteger, nullable=False) for name in ("pairs", "pages")],
    Column("exports", ARRAY(BigInteger)),
    Index(None, "partner", "tenant", "stream"),
)
key_pages = Table(
    "key_pages",
    metadata,
    *[Column(name, BigInteger, nullable=False) for name in ("run_id", "first_hash", "last_hash", "first_export")],
    *[Column(name, LargeBinary, nullable=False) for name in ("hashes", "exports")],
    PrimaryKeyConstraint("run_id", "first_hash"),
)
"""Which exports contain which keys (`upsert.key_index`)."""

commerce_pairs = Table(
    "commerce_pairs",
    metadata,
    *[Column(name, Text, nullable=False) for name in ("partner", "tenant", "record_id", "external_id")],
    _instant("effective_at", nullable=False),
    Column("path_order", LargeBinary, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("record_number", BigInteger, nullable=False),
    Column("commerce_id", BigInteger),
    Column("lends", Text),
    CheckConstraint("lends in ('record_id', 'external_id', 'both')", name="lends"),
    PrimaryKeyConstraint("partner", "tenant", "record_id", "external_id"),
    Index(None, "partner", "tenant", "external_id"),
    Index("commerce_pairs_commerce_id_idx", "commerce_id", postgresql_where=text("commerce_id is not null")),
)
"""Both names that a customer gives its business, and which business has a name from them (`upsert.name_pairs`)."""

export_decisions = Table(
    "export_decisions",
    metadata,
    _id(),
    Column("export_file_id", BigInteger, ForeignKey(f"{SCHEMA}.export_files.id"), nullable=False, index=True),
    Column("action", Text, nullable=False),
    *[Column(name, Text, nullable=False) for name in ("reason", "decided_by")],
    _instant("decided_at", nullable=False, now=True),
    CheckConstraint("action in ('release', 'undo', 'redo')", name="action"),
)
"""What people decided about exports (`database.decisions`)."""

erasures = Table(
    "erasures",
    metadata,
    _id(),
    *[Column(name, Text, nullable=False) for name in ("partner", "tenant", "kind", "subject")],
    Column("keeps_orders", Boolean, nullable=False, server_default=text("false")),
    *[Column(name, Text, nullable=False) for name in ("reason", "erased_by")],
    _instant("erased_at", nullable=False, now=True),
    _instant("lifted_at"),
    CheckConstraint("kind in ('customer', 'email')", name="kind"),
    Index(
        "erasures_subject_key", "partner", "tenant", "kind", "subject", unique=True,
        postgresql_where=text("lifted_at is null"),
    ),
)  # fmt: skip
"""People whose data was erased, as keyed hashes."""

verified_slices = Table(
    "verified_slices",
    metadata,
    *[Column(name, Text, nullable=False) for name in ("partner", "tenant", "stream")],
    Column("slice", Integer, nullable=False),
    _instant("verified_at", nullable=False),
    *[Column(name, BigInteger, nullable=False) for name in ("keys", "differences")],
    PrimaryKeyConstraint("partner", "tenant", "stream", "slice"),
)
"""When each slice of a tenant's stream was last compared with the archive."""

unnamed_objects = Table(
    "unnamed_objects", metadata, Column("name", Text, primary_key=True), _instant("seen_at", nullable=False)
)
"""Objects of kept records that no ledger entry names, and when that was first seen (`stages.file_cleanup`)."""

MAIN_TABLES: Final = (commerces, orders, stores, customers)
"""The tables that partners' records fill. Their views: `tables.views`."""

for _table in metadata.tables.values():
    _table.comment = TABLES[_table.name]
    for _column in _table.columns:
        _column.comment = column_description(_table.name, _column.name)
