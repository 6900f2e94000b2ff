"""Pocketflows: businesses and their customers (rules P1 to P6). Every record is the whole record.

Read it top to bottom: contracts, the business a customer belongs to, endpoints, and the two streams.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from sync_pipelines.contracts.contract import Contract
from sync_pipelines.contracts.fields import Email, Filled, JsonObject, Key, Text
from sync_pipelines.contracts.personal import EMAIL, NAME, PHONE
from sync_pipelines.contracts.streams import Identity, LinkResult, Reference, Route, Stream, tenant_as_named


class Business(Contract):
    """A business (P4), found by `id`, else by `external_id` (P2)."""

    partner_record_id: Key | None = Field(default=None, alias="id")
    external_id: Key | None = Field(default=None, alias="external_id")
    name: Filled = Field(alias="name")
    metadata: JsonObject = Field(default=None, alias="metadata")

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"partner_record_id": ("P2",), "external_id": ("P2",)}


class Customer(Contract):
    """A customer of a business (P4), named by `business_id` or `business_external_id` (P1), or by both (F11)."""

    partner_record_id: Key | None = Field(default=None, alias="id")
    external_id: Key | None = Field(default=None, alias="external_id")
    business_id: Key | None = Field(default=None, alias="business_id")
    business_external_id: Key | None = Field(default=None, alias="business_external_id")
    name: Annotated[Text | None, NAME] = Field(default=None, alias="full_name")
    phone: Annotated[Text | None, PHONE] = Field(default=None, alias="phone_number")
    email: Annotated[Email | None, EMAIL] = Field(default=None, alias="email_address")
    metadata: JsonObject = Field(default=None, alias="metadata")

    not_columns: ClassVar[frozenset[str]] = frozenset({"business_id", "business_external_id"})
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"partner_record_id": ("P2",), "external_id": ("P2",)}


def business_of(values: Mapping[str, Any], options: Any, tenant: str) -> LinkResult:
    """Returns the business of a customer: its id in Pocketflows takes precedence over its external id (P1, P5, F11)."""
    record_id, external_id = values.get("business_id"), values.get("business_external_id")
    if record_id is not None:
        return LinkResult(True, Identity("pocketflows", tenant, external_id, record_id), column="business_id")
    if external_id is not None:
        return LinkResult(True, Identity("pocketflows", tenant, external_id), column="business_external_id")
    return LinkResult(False, None, column="business_id")


BUSINESSES: Final = Stream(
    partner="pocketflows",
    name="businesses",
    table="commerces",
    contract=Business,
    key="external_id",
    record_id="partner_record_id",
    normalize_tenant=tenant_as_named,
    replaces=True,
    routes=(
        Route("POST", "/sync/businesses", lists={"businesses": "upsert"}, may_be_one=True),
        Route("POST", "/sync/businesses/batch", lists={"businesses": "upsert"}, may_be_one=True),
        Route("POST", "/businesses", lists={"businesses": "upsert"}, may_be_one=True),
        Route("POST", "/businesses/{id}"),
    ),
    envelopes=frozenset({"businesses"}),
    description="Businesses, stored as commerces. Each record replaces the stored one.",
)

CUSTOMERS: Final = Stream(
    partner="pocketflows",
    name="customers",
    table="customers",
    contract=Customer,
    key="external_id",
    record_id="partner_record_id",
    normalize_tenant=tenant_as_named,
    scope="commerce_id",
    scope_name="business",
    references=(Reference(column="commerce_id", table="commerces"),),
    links={"commerce_id": business_of},
    link_fields={"commerce_id": ("business_id", "business_external_id")},
    replaces=True,
    unknown_code="record_unknown",
    routes=(
        Route("POST", "/sync/businesses/{business_id}/customers", lists={"customers": "upsert"}, may_be_one=True),
        Route("POST", "/sync/businesses/{business_id}/customers/batch", lists={"customers": "upsert"}, may_be_one=True),
        Route("POST", "/businesses/{business_id}/customers", lists={"customers": "upsert"}, may_be_one=True),
        Route("POST", "/businesses/{business_id}/customers/batch", lists={"customers": "upsert"}, may_be_one=True),
        Route(
            "POST", "/businesses/{business_id}/customers/batch_update", lists={"customers": "upsert"}, may_be_one=True
        ),
        Route("POST", "/customers/{id}", "update"),
    ),
    envelopes=frozenset({"customers"}),
    description="Customers of businesses. A business that no export has defined yet becomes a placeholder.",
)
