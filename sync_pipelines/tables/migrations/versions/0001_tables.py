"""The tables of schema `sync`, and the views of their live rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

revision = "0001"
down_revision = None

_MAIN_TABLES = ("commerces", "orders", "stores", "customers")
_TABLES = (
    "orders",
    "rejected_records",
    "customers",
    "stores",
    "store_users",
    "store_addresses",
    "order_items",
    "export_files",
    "customer_addresses",
    "commerces",
    "commerce_users",
    "commerce_user_contacts",
    "commerce_addresses",
)


def upgrade() -> None:
    """Creates every table and view."""
    op.create_table(
        "commerce_addresses",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("commerce_id", sa.BigInteger(), nullable=False),
        sa.Column("line_no", sa.Integer(), nullable=False),
        sa.Column("alias", sa.Text()),
        sa.Column("is_primary", sa.Boolean()),
        sa.Column("country_code", sa.Text()),
        sa.Column("region", sa.Text()),
        sa.Column("commune", sa.Text()),
        sa.Column("city", sa.Text()),
        sa.Column("street", sa.Text()),
        sa.Column("street_number", sa.Text()),
        sa.Column("unit", sa.Text()),
        sa.Column("formatted_address", sa.Text()),
        sa.Column("latitude", sa.Numeric(precision=9, scale=6)),
        sa.Column("longitude", sa.Numeric(precision=9, scale=6)),
        sa.Column("source_ref", sa.Text()),
        sa.Column("extra", JSONB),
        sa.PrimaryKeyConstraint("id", name="commerce_addresses_pkey"),
        schema="sync",
    )
    op.create_index(
        "commerce_addresses_commerce_id_idx", "commerce_addresses", ["commerce_id"], unique=False, schema="sync"
    )
    op.create_table(
        "commerce_user_contacts",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("commerce_user_id", sa.BigInteger(), nullable=False),
        sa.Column("line_no", sa.Integer(), nullable=False),
        sa.Column("contact_type", sa.Text()),
        sa.Column("value", sa.Text()),
        sa.Column("is_primary", sa.Boolean()),
        sa.Column("extra", JSONB),
        sa.PrimaryKeyConstraint("id", name="commerce_user_contacts_pkey"),
        schema="sync",
    )
    op.create_index(
        "commerce_user_contacts_commerce_user_id_idx",
        "commerce_user_contacts",
        ["commerce_user_id"],
        unique=False,
        schema="sync",
    )
    op.create_table(
        "commerce_users",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("commerce_id", sa.BigInteger(), nullable=False),
        sa.Column("line_no", sa.Integer(), nullable=False),
        sa.Column("external_id", sa.Text()),
        sa.Column("name", sa.Text()),
        sa.Column("roles", ARRAY(sa.Text)),
        sa.Column("extra", JSONB),
        sa.PrimaryKeyConstraint("id", name="commerce_users_pkey"),
        schema="sync",
    )
    op.create_index("commerce_users_commerce_id_idx", "commerce_users", ["commerce_id"], unique=False, schema="sync")
    op.create_table(
        "commerces",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("partner", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text()),
        sa.Column("partner_record_id", sa.Text()),
        sa.Column("name", sa.Text()),
        sa.Column("global_external_id", sa.Text()),
        sa.Column("tax_id", sa.Text()),
        sa.Column("metadata", JSONB),
        sa.Column("extra", JSONB),
        sa.Column("is_placeholder", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True)),
        sa.Column("effective_at", sa.DateTime(timezone=True)),
        sa.Column("source_file", sa.Text()),
        sa.Column("source_position", sa.Text()),
        sa.Column("run_id", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="commerces_pkey"),
        sa.UniqueConstraint("tenant", "partner", "external_id", name="commerces_tenant_partner_external_id_key"),
        schema="sync",
    )
    op.create_index(
        "commerces_record_id_idx",
        "commerces",
        ["tenant", "partner", "partner_record_id"],
        unique=False,
        schema="sync",
        postgresql_where=sa.text("partner_record_id IS NOT NULL"),
    )
    op.create_table(
        "customer_addresses",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("customer_id", sa.BigInteger(), nullable=False),
        sa.Column("line_no", sa.Integer(), nullable=False),
        sa.Column("title", sa.Text()),
        sa.Column("name", sa.Text()),
        sa.Column("address", sa.Text()),
        sa.Column("address_2", sa.Text()),
        sa.Column("zip", sa.Text()),
        sa.Column("city", sa.Text()),
        sa.Column("region", sa.Text()),
        sa.Column("country", sa.Text()),
        sa.Column("remote_erp_id", sa.Text()),
        sa.Column("extra", JSONB),
        sa.PrimaryKeyConstraint("id", name="customer_addresses_pkey"),
        schema="sync",
    )
    op.create_index(
        "customer_addresses_customer_id_idx", "customer_addresses", ["customer_id"], unique=False, schema="sync"
    )
    op.create_table(
        "export_files",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("partner", sa.Text(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("stream", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("modified_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("etag", sa.Text()),
        sa.Column("sha256", sa.Text()),
        sa.Column("looked_at", sa.DateTime(timezone=True)),
        sa.Column("effective_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("partition_date", sa.Date(), nullable=False),
        sa.Column("status", sa.Text(), server_default="pending", nullable=False),
        sa.Column("read", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("updated", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("unchanged", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("stale", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("deleted", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("not_found", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("blocked", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("rejected", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lines", sa.BigInteger()),
        sa.Column("leniencies", JSONB, server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("unknown_fields", JSONB, server_default=sa.text("'{}'::jsonb"), nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("attempted_at", sa.DateTime(timezone=True)),
        sa.Column("run_id", sa.Text()),
        sa.Column("kept", sa.Text()),
        sa.Column("effective_from", sa.DateTime(timezone=True)),
        sa.Column("effective_to", sa.DateTime(timezone=True)),
        sa.Column("loaded_at", sa.DateTime(timezone=True)),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("status in ('pending', 'loaded', 'failed')", name=op.f("export_files_status_check")),
        sa.CheckConstraint(
            "read = created + updated + unchanged + stale + deleted + not_found + blocked + rejected",
            name=op.f("export_files_accounting_check"),
        ),
        sa.PrimaryKeyConstraint("id", name="export_files_pkey"),
        sa.UniqueConstraint(
            "partner",
            "tenant",
            "stream",
            "path",
            "revision",
            name="export_files_partner_tenant_stream_path_revision_key",
        ),
        schema="sync",
    )
    op.create_index(
        "export_files_status_idx",
        "export_files",
        ["partner", "stream", "status", "partition_date"],
        unique=False,
        schema="sync",
    )
    op.create_table(
        "order_items",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("order_id", sa.BigInteger(), nullable=False),
        sa.Column("line_no", sa.Integer(), nullable=False),
        sa.Column("product_id", sa.Text()),
        sa.Column("sku", sa.Text()),
        sa.Column("quantity", sa.BigInteger()),
        sa.Column("price", sa.Numeric(precision=18, scale=4)),
        sa.Column("size", sa.Text()),
        sa.Column("size_numeric", sa.Numeric(precision=18, scale=6)),
        sa.Column("size_metric", sa.Text()),
        sa.Column("color", sa.Text()),
        sa.Column("brand", sa.Text()),
        sa.Column("is_gift", sa.Boolean()),
        sa.Column("original_price", sa.Numeric(precision=18, scale=4)),
        sa.Column("extra", JSONB),
        sa.PrimaryKeyConstraint("order_id", "line_no", name="order_items_pkey"),
        schema="sync",
    )
    op.create_table(
        "store_addresses",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("store_id", sa.BigInteger(), nullable=False),
        sa.Column("line_no", sa.Integer(), nullable=False),
        sa.Column("address", sa.Text()),
        sa.Column("apartment_number", sa.Text()),
        sa.Column("zip_code", sa.Text()),
        sa.Column("internal_code", sa.Text()),
        sa.Column("latitude", sa.Numeric(precision=9, scale=6)),
        sa.Column("longitude", sa.Numeric(precision=9, scale=6)),
        sa.Column("extra", JSONB),
        sa.PrimaryKeyConstraint("id", name="store_addresses_pkey"),
        schema="sync",
    )
    op.create_index("store_addresses_store_id_idx", "store_addresses", ["store_id"], unique=False, schema="sync")
    op.create_table(
        "store_users",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("store_id", sa.BigInteger(), nullable=False),
        sa.Column("line_no", sa.Integer(), nullable=False),
        sa.Column("user_ref", sa.Text()),
        sa.Column("extra", JSONB),
        sa.PrimaryKeyConstraint("id", name="store_users_pkey"),
        schema="sync",
    )
    op.create_index("store_users_store_id_idx", "store_users", ["store_id"], unique=False, schema="sync")
    op.create_table(
        "stores",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("partner", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text()),
        sa.Column("partner_record_id", sa.Text()),
        sa.Column("name", sa.Text()),
        sa.Column("owner_name", sa.Text()),
        sa.Column("owner_identifier", sa.Text()),
        sa.Column("legal_name", sa.Text()),
        sa.Column("legal_id", sa.Text()),
        sa.Column("enabled", sa.Boolean()),
        sa.Column("credit_limit", sa.Numeric(precision=18, scale=4)),
        sa.Column("is_debtor", sa.Boolean()),
        sa.Column("is_late_payer", sa.Boolean()),
        sa.Column("payment_status", sa.Text()),
        sa.Column("promotion_grouper_codes", ARRAY(sa.Text)),
        sa.Column("stock_grouper_code", sa.Text()),
        sa.Column("pricelist_code", sa.Text()),
        sa.Column("route_code", sa.Text()),
        sa.Column("latitude", sa.Numeric(precision=9, scale=6)),
        sa.Column("longitude", sa.Numeric(precision=9, scale=6)),
        sa.Column("has_own_coordinates", sa.Boolean()),
        sa.Column("address_format", sa.Text()),
        sa.Column("support_contact_email", sa.Text()),
        sa.Column("support_contact_phone", sa.Text()),
        sa.Column("settings", JSONB),
        sa.Column("extra", JSONB),
        sa.Column("is_placeholder", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True)),
        sa.Column("effective_at", sa.DateTime(timezone=True)),
        sa.Column("source_file", sa.Text()),
        sa.Column("source_position", sa.Text()),
        sa.Column("run_id", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name="stores_pkey"),
        sa.UniqueConstraint("tenant", "partner", "external_id", name="stores_tenant_partner_external_id_key"),
        schema="sync",
    )
    op.create_index(
        "stores_record_id_idx",
        "stores",
        ["tenant", "partner", "partner_record_id"],
        unique=False,
        schema="sync",
        postgresql_where=sa.text("partner_record_id IS NOT NULL"),
    )
    op.create_table(
        "customers",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("partner", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text()),
        sa.Column("partner_record_id", sa.Text()),
        sa.Column("commerce_id", sa.BigInteger()),
        sa.Column("name", sa.Text()),
        sa.Column("email", sa.Text()),
        sa.Column("phone", sa.Text()),
        sa.Column("currency", sa.Text()),
        sa.Column("discount_percentage", sa.Numeric(precision=18, scale=4)),
        sa.Column("is_active", sa.Boolean()),
        sa.Column("payment_terms_id", sa.Text()),
        sa.Column("payment_terms_code", sa.Text()),
        sa.Column("metadata", JSONB),
        sa.Column("extra", JSONB),
        sa.Column("is_placeholder", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True)),
        sa.Column("effective_at", sa.DateTime(timezone=True)),
        sa.Column("source_file", sa.Text()),
        sa.Column("source_position", sa.Text()),
        sa.Column("run_id", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["commerce_id"], ["sync.commerces.id"], name="customers_commerce_id_fkey"),
        sa.PrimaryKeyConstraint("id", name="customers_pkey"),
        schema="sync",
    )
    op.create_index(
        "customers_in_commerce_id_key",
        "customers",
        ["commerce_id", "tenant", "partner", "external_id"],
        unique=True,
        schema="sync",
        postgresql_where=sa.text("commerce_id IS NOT NULL"),
    )
    op.create_index(
        "customers_key",
        "customers",
        ["tenant", "partner", "external_id"],
        unique=True,
        schema="sync",
        postgresql_where=sa.text("commerce_id IS NULL"),
    )
    op.create_index(
        "customers_record_id_idx",
        "customers",
        ["tenant", "partner", "partner_record_id"],
        unique=False,
        schema="sync",
        postgresql_where=sa.text("partner_record_id IS NOT NULL"),
    )
    op.create_table(
        "rejected_records",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("export_file_id", sa.BigInteger(), nullable=False),
        sa.Column("position", sa.Text()),
        sa.Column("external_id", sa.Text()),
        sa.Column("code", sa.Text()),
        sa.Column("field_path", sa.Text()),
        sa.Column("message", sa.Text()),
        sa.Column("record", JSONB),
        sa.Column("status", sa.Text(), server_default="open", nullable=False),
        sa.Column("depends_on_state", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("run_id", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("status in ('open', 'resolved', 'superseded')", name=op.f("rejected_records_status_check")),
        sa.ForeignKeyConstraint(
            ["export_file_id"], ["sync.export_files.id"], name="rejected_records_export_file_id_fkey"
        ),
        sa.PrimaryKeyConstraint("id", name="rejected_records_pkey"),
        schema="sync",
    )
    op.create_index(
        "rejected_records_export_file_id_idx", "rejected_records", ["export_file_id"], unique=False, schema="sync"
    )
    op.create_index(
        "rejected_records_open_idx",
        "rejected_records",
        ["export_file_id"],
        unique=False,
        schema="sync",
        postgresql_where=sa.text("status = 'open'"),
    )
    op.create_table(
        "orders",
        sa.Column("id", sa.BigInteger(), sa.Identity(), nullable=False),
        sa.Column("tenant", sa.Text(), nullable=False),
        sa.Column("partner", sa.Text(), nullable=False),
        sa.Column("external_id", sa.Text()),
        sa.Column("partner_record_id", sa.Text()),
        sa.Column("customer_id", sa.BigInteger()),
        sa.Column("email", sa.Text()),
        sa.Column("customer_external_id", sa.Text()),
        sa.Column("total_quantity", sa.BigInteger()),
        sa.Column("total_revenue", sa.Numeric(precision=18, scale=4)),
        sa.Column("ordered_at", sa.DateTime(timezone=True)),
        sa.Column("currency", sa.Text()),
        sa.Column("unique_quantity", sa.BigInteger()),
        sa.Column("is_cancelled", sa.Boolean()),
        sa.Column("defaulted_fields", ARRAY(sa.Text)),
        sa.Column("extra", JSONB),
        sa.Column("is_placeholder", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True)),
        sa.Column("effective_at", sa.DateTime(timezone=True)),
        sa.Column("source_file", sa.Text()),
        sa.Column("source_position", sa.Text()),
        sa.Column("run_id", sa.Text()),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["customer_id"], ["sync.customers.id"], name="orders_customer_id_fkey"),
        sa.PrimaryKeyConstraint("id", name="orders_pkey"),
        sa.UniqueConstraint("tenant", "partner", "external_id", name="orders_tenant_partner_external_id_key"),
        schema="sync",
    )
    op.create_index("orders_customer_id_idx", "orders", ["customer_id"], unique=False, schema="sync")
    op.create_index(
        "orders_record_id_idx",
        "orders",
        ["tenant", "partner", "partner_record_id"],
        unique=False,
        schema="sync",
        postgresql_where=sa.text("partner_record_id IS NOT NULL"),
    )
    for table in _MAIN_TABLES:
        op.execute(f"create view sync.live_{table} as select * from sync.{table} where deleted_at is null")


def downgrade() -> None:
    """Removes every table and view."""
    for table in _MAIN_TABLES:
        op.execute(f"drop view sync.live_{table}")
    for table in _TABLES:
        op.drop_table(table, schema="sync")
