"""Traede: customers with their addresses (rules T1 to T9).

Read it top to bottom: contracts, payment terms, the address list, the endpoint, and the stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field

from sync_pipelines.contracts.contract import Contract, folded
from sync_pipelines.contracts.fields import Country, Currency, Filled, Flag, JsonObject, Key, Percentage, Text, choice
from sync_pipelines.contracts.personal import ADDRESS, NAME, PLAIN
from sync_pipelines.contracts.reading import Reading, RecordRejected, reject_for
from sync_pipelines.contracts.streams import (
    BlockedBy,
    Children,
    Default,
    ListMode,
    Match,
    Route,
    Stream,
    tenant_as_named,
)

_ID_NAMES: Final = ("payment_term_id", "payment_terms_id", "id")
_CODE_NAMES: Final = ("payment_term_code", "payment_terms_code", "code")


SyncMode = Annotated[str, choice("replace", "append")]
SyncKey = Annotated[str, choice("address_title", "remote_erp_id")]


class Address(Contract):
    """An address of a customer (T7)."""

    title: Annotated[Filled, ADDRESS] = Field(alias="title")
    name: Annotated[Filled, NAME] = Field(alias="name")
    address: Annotated[Filled, ADDRESS] = Field(alias="address")
    address_2: Annotated[Text | None, ADDRESS] = Field(default=None, alias="address_2")
    zip: Annotated[Filled, ADDRESS] = Field(alias="zip")
    city: Filled = Field(alias="city")
    region: Text | None = Field(default=None, alias="region")
    country: Country = Field(alias="country")
    remote_erp_id: Key | None = Field(default=None, alias="remote_erp_id")

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"title": ("T7", "T8"), "remote_erp_id": ("T7", "T8")}


class Customer(Contract):
    """A customer (T2 to T6). Only a new one needs a name and a currency; null is rejected for every one (X1)."""

    external_id: Key = Field(alias="customer_number")
    name: Annotated[Filled, NAME] = Field(default="", alias="name")
    currency: Currency = Field(default="", alias="currency")
    discount_percentage: Percentage = Field(default=None, alias="discount_percentage")
    is_active: Flag | None = Field(default=None, alias="active")
    payment_terms: Annotated[JsonObject, PLAIN] = Field(default=None, alias="payment_terms")
    payment_terms_id: Key | None = Field(default=None, alias="payment_terms_id")
    payment_terms_code: Key | None = Field(default=None, alias="payment_terms_code")
    addresses: list[Address] | None = Field(default=None, alias="addresses")
    addresses_sync_mode: SyncMode | None = Field(default=None, alias="addresses_sync_mode")
    addresses_sync_key: SyncKey | None = Field(default=None, alias="addresses_sync_key")
    delete: Flag | None = Field(default=None, alias="delete")

    also: ClassVar[Mapping[str, tuple[str, ...]]] = {"payment_terms": ("payment_term",)}
    not_columns: ClassVar[frozenset[str]] = frozenset(
        {"payment_terms", "addresses_sync_mode", "addresses_sync_key", "delete"}
    )
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "external_id": ("T2",),
        "name": ("T3",),
        "currency": ("T3",),
        "discount_percentage": ("T4",),
        "is_active": ("T4",),
        "payment_terms_id": ("T5",),
        "payment_terms_code": ("T5",),
    }


def with_payment_term(record: dict[str, Any], options: Any, reading: Reading) -> dict[str, Any]:
    """Returns the record with its payment term's id and code as separate fields, without `addresses: null` (T5, T6)."""
    if record.get("addresses", ()) is None:
        record = {name: value for name, value in record.items() if name != "addresses"}
    term = record.get("payment_terms")
    if "payment_terms" not in record or not (isinstance(term, dict) or term is None):
        return record
    rest = {name: value for name, value in record.items() if name != "payment_terms"}
    if term is None:
        return {**rest, "payment_terms_id": None, "payment_terms_code": None}
    found_id, found_code = _one_of(term, _ID_NAMES), _one_of(term, _CODE_NAMES)
    if found_id is None and found_code is None:
        raise RecordRejected("payment_term_missing", "payment_terms", "the payment term has neither an id nor a code")
    if found_id is not None and found_code is not None:
        reading.forgive("payment_term_id_rules")
    known = {folded(name) for name in (*_ID_NAMES, *_CODE_NAMES)}
    unknown = {f"payment_terms.{name}": value for name, value in term.items() if folded(name) not in known}
    return {**rest, "payment_terms_id": found_id, "payment_terms_code": found_code, **unknown}


def _one_of(term: Mapping[str, Any], names: tuple[str, ...]) -> Any:
    wanted = {folded(name) for name in names}
    values = [value for name, value in term.items() if folded(name) in wanted and value is not None]
    if any(value != values[0] for value in values):
        raise RecordRejected("field_conflict", "payment_terms", f"{names[0]} appears twice with different values")
    return values[0] if values else None


def address_list(values: Mapping[str, Any]) -> Mapping[str, tuple[ListMode, str | None]]:
    """Returns mode and way of matching the addresses, as the payload sets them (T6, T7, T8)."""
    addresses = values.get("addresses")
    if addresses is None:
        return {}
    mode, key = values.get("addresses_sync_mode"), values.get("addresses_sync_key")
    sent = {"addresses_sync_mode": mode, "addresses_sync_key": key}
    reject_for(
        [
            RecordRejected("list_mode_missing", name, f"{name} is required if addresses are sent")
            for name, value in sent.items()
            if value is None
        ]
    )
    _check_keys(addresses, str(key))
    return {"customer_addresses": ("merge" if mode == "append" else "replace", key)}


def _check_keys(addresses: list[Address], key: str) -> None:
    seen: set[str] = set()
    errors: list[RecordRejected] = []
    for index, address in enumerate(addresses):
        path = f"addresses[{index}].{'title' if key == 'address_title' else key}"
        found = address.title.strip().casefold() if key == "address_title" else address.remote_erp_id
        if found is None:
            why = f"{path}: remote_erp_id is required, because it is the sync key"
            errors.append(RecordRejected("required", path, why))
        elif found in seen:
            errors.append(RecordRejected("duplicate_in_list", path, f"{path}: two addresses have the key {found!r}"))
        else:
            seen.add(found)
    reject_for(errors)


CUSTOMERS: Final = Stream(
    partner="traede",
    name="customers",
    table="customers",
    contract=Customer,
    key="external_id",
    normalize_tenant=tenant_as_named,
    children=(
        Children(
            column="addresses",
            table="customer_addresses",
            parent="customer_id",
            match=(
                Match(("title",), name="address_title", folds=True),
                Match(("remote_erp_id",), name="remote_erp_id"),
            ),
        ),
    ),
    required_new=("name", "currency"),
    placeholder_is_new=True,
    defaults=(Default("is_active", True),),
    blocked_by=BlockedBy("orders", "customer_id"),
    prepare=with_payment_term,
    prepared=frozenset({"payment_terms"}),
    listing=address_list,
    listing_fields=("addresses_sync_mode", "addresses_sync_key"),
    delete_flag="delete",
    routes=(
        Route("POST", "/customers/sync", lists={"customers": "upsert"}),
        Route("POST", "/production/customers/sync", lists={"customers": "upsert"}),
    ),
    envelopes=frozenset({"customers"}),
    description="Customers with their addresses. A customer with live orders cannot be deleted.",
)
