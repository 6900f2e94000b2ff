"""Replenit: orders with their items (rules O1 to O12).

The page names endpoints, fields, lengths and defaults; the rules cover the rest. Read it top to bottom:
contract, sizes, customer link, routes, stream.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from sync_pipelines.contracts.characters import composed
from sync_pipelines.contracts.contract import Contract
from sync_pipelines.contracts.currencies import known_currencies
from sync_pipelines.contracts.fields import (
    Code50,
    Count,
    Currency,
    Email,
    Flag,
    Instant,
    Key,
    Key100,
    Money,
    Text,
    Text50,
)
from sync_pipelines.contracts.links import ByText
from sync_pipelines.contracts.personal import EMAIL
from sync_pipelines.contracts.reading import Reading
from sync_pipelines.contracts.streams import (
    EFFECTIVE_TIME,
    Children,
    Default,
    FlatLines,
    Options,
    Reference,
    Route,
    Stream,
)

_SIZE: Final = re.compile(r"\s*(\d+\s*/\s*\d+|\d+(?:[.,]\d+)?)\s*([a-zµ]*)\s*", re.IGNORECASE)
_MEASURES: Final = frozenset(
    "µg mg g gr kg lb lbs oz t ml cl dl l lt ltr gal floz mm cm dm m in ft yd m2 m3 w kw v mah gb tb mb "
    "un und unid u ud pc pcs pz pza pack packs ct par pares caps tab tabs".split()
)


def size_numeric(size: str | None) -> Decimal | None:
    """Returns the number in a size: "1.5 L" -> 1.5, "1/2 kg" -> 0.5, "XL" -> None (O8)."""
    return _parsed_size(size)[0]


def size_metric(size: str | None) -> str | None:
    """Returns the unit in a size, in lower case: "1l" -> "l", "42" -> None, "XL" -> None (O8)."""
    return _parsed_size(size)[1]


@lru_cache(maxsize=4096)
def _parsed_size(size: str | None) -> tuple[Decimal | None, str | None]:
    match = _SIZE.fullmatch(size) if size else None
    if match is None:
        return None, None
    number, metric = match[1], match[2].lower()
    # "2XL" is a garment size and "1,500" is either of two numbers: neither is guessed.
    if (metric and metric not in _MEASURES) or re.fullmatch(r"\d+,\d{3}", number):
        return None, None
    numerator, _, denominator = number.replace(",", ".").partition("/")
    if denominator and not int(denominator):
        return None, None
    value = Decimal(numerator.strip()) / Decimal(denominator.strip() or 1)
    if value.adjusted() > 11:
        return None, None
    return value.quantize(Decimal("0.000001"), rounding=ROUND_HALF_UP), metric or None


class OrderItem(Contract):
    """A line of an order: CreateOrderItemDto (O6)."""

    product_id: Key100 = Field(alias="ProductId")
    sku: Code50 = Field(alias="Sku")
    quantity: Count = Field(alias="Quantity")
    price: Money = Field(alias="Price")
    size: Text50 | None = Field(default=None, alias="Size")
    color: Text50 | None = Field(default=None, alias="Color")
    brand: Text | None = Field(default=None, alias="Brand")
    is_gift: Flag | None = Field(default=None, alias="IsGift")
    original_price: Money | None = Field(default=None, alias="OriginalPrice")
    order_external_id: Key | None = Field(default=None, alias="OrderId")

    not_columns: ClassVar[frozenset[str]] = frozenset({"order_external_id"})
    derived: ClassVar[Mapping[str, tuple[str, Any]]] = {
        "size_numeric": ("size", size_numeric),
        "size_metric": ("size", size_metric),
    }
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "product_id": ("O2", "O6"),
        "sku": ("O2", "O6"),
        "size": ("O2", "O8"),
        "size_numeric": ("O8",),
        "size_metric": ("O8",),
        "color": ("O2",),
    }


class Order(Contract):
    """An order: UpsertOrderDto (O2, O3, O4)."""

    external_id: Key100 = Field(alias="OrderId")
    email: Annotated[Email | None, EMAIL] = Field(default=None, alias="Email")
    customer_external_id: Key | None = Field(default=None, alias="CustomerId")
    total_quantity: Count | None = Field(default=None, alias="TotalQuantity")
    total_revenue: Money | None = Field(default=None, alias="TotalRevenue")
    ordered_at: Instant | None = Field(default=None, alias="OrderDate")
    currency: Currency = Field(alias="Currency")
    unique_quantity: Count | None = Field(default=None, alias="UniqueQuantity")
    is_cancelled: Flag | None = Field(default=None, alias="IsOrderCancelled")
    order_items: list[OrderItem] | None = Field(default=None, alias="OrderItems")

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "external_id": ("O2",),
        "email": ("O5",),
        "customer_external_id": ("O5",),
        "total_quantity": ("O3", "O12"),
        "total_revenue": ("O3", "O10", "O12"),
        "ordered_at": ("O3", "O4"),
        "currency": ("O2",),
        "unique_quantity": ("O3", "O12"),
        "is_cancelled": ("O3", "O9"),
    }


class CustomersOf(BaseModel):
    """The partner and tenant whose customers the orders refer to (O5)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    partner: str
    tenant: Annotated[str, AfterValidator(composed)]


class OrderOptions(Options):
    """Settings of `replenit/orders` in `sources.yaml`."""

    customer_identifier: Literal["email", "customer_id"] = "email"
    customers_of: CustomersOf | None = None
    currency_default: str | None = None

    @field_validator("currency_default")
    @classmethod
    def _is_known(cls, code: str | None) -> str | None:
        if code is not None and code not in known_currencies():
            raise ValueError(f"{code!r} is not an ISO 4217 code")
        return code


def tenant_guid(folder: str) -> str | None:
    """Returns a tenant's GUID in lower case without braces, or None if the text is not a GUID (O1)."""
    bare = folder[1:-1] if folder.startswith("{") and folder.endswith("}") else folder
    try:
        guid = str(uuid.UUID(bare))
    except ValueError:
        return None
    return guid if guid == bare.lower() else None


def with_currency_default(record: dict[str, Any], options: OrderOptions, reading: Reading) -> dict[str, Any]:
    """Returns the record with the source's currency if it has none (O2)."""
    if options.currency_default is None or "Currency" in record:
        return record
    return {**record, "Currency": options.currency_default}


def _identifier(options: OrderOptions) -> str:
    """Returns the attribute by which the source identifies customers (O5)."""
    return "email" if options.customer_identifier == "email" else "customer_external_id"


def _customer_key(text: str, options: OrderOptions) -> str:
    """Returns a customer's external id; emails are in lower case (O5)."""
    return text.strip().casefold() if options.customer_identifier == "email" else text


def _customers_owner(options: OrderOptions, tenant: str) -> tuple[str, str]:
    """Returns partner and tenant of the customers; another partner's only if the source sets it and uses ids (O5)."""
    owner = options.customers_of
    if owner is not None and options.customer_identifier == "customer_id":
        return owner.partner, owner.tenant
    return "replenit", tenant


customer_of: Final = ByText(
    _identifier, _customer_key, _customers_owner, absent="customer_identifier_absent", rules=("O5",)
)
"""The link of an order to its customer, by the source's `customer_identifier` (O5)."""


def _sum_of_quantity(items: list[OrderItem]) -> int:
    return sum(item.quantity for item in items)


def _sum_of_revenue(items: list[OrderItem]) -> Decimal:
    return sum((item.price * item.quantity for item in items), Decimal(0))


def _distinct_products(items: list[OrderItem]) -> int:
    return len({item.product_id for item in items})


ORDERS: Final = Stream(
    partner="replenit",
    name="orders",
    table="orders",
    contract=Order,
    key="external_id",
    normalize_tenant=tenant_guid,
    tenant_form="GUIDs (32 hexadecimal digits), such as 7d444840-9dc0-11d1-b245-5ffdce74fad2",
    tenant_place="The GUID is in the URL of the tenant's calls to Replenit: POST /orders/<GUID>.",
    children=(
        Children(
            column="order_items",
            table="order_items",
            parent="order_id",
            parent_key="order_external_id",
        ),
    ),
    references=(Reference(column="customer_id", table="customers", emails_of="replenit"),),
    links={"customer_id": customer_of},
    link_fields={"customer_id": ("email", "customer_external_id")},
    defaults=(
        Default("total_quantity", 1),
        Default("total_revenue", Decimal(1)),
        Default("ordered_at", EFFECTIVE_TIME),
        Default("unique_quantity", 1),
        Default("is_cancelled", False),
        Default("order_items", None),
    ),
    lists_defaults=True,
    routes=(
        Route("POST", "/orders/{tenant}", "upsert"),
        Route("DELETE", "/orders/{tenant}/{key}", "delete", body=False, missing_key="Order ID is required."),
    ),
    flat=FlatLines(
        children="order_items",
        totals={
            "total_quantity": _sum_of_quantity,
            "total_revenue": _sum_of_revenue,
            "unique_quantity": _distinct_products,
        },
        same_line=("product_id", "sku", "size", "color"),
    ),
    options=OrderOptions,
    prepare=with_currency_default,
    prepared=frozenset(),
    description="Orders with their items. A customer that no export has defined yet becomes a placeholder.",
)
