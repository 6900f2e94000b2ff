"""Nilo: stores with their addresses and users (rules N1 to N11).

In this order: coordinates, contracts, settings, values computed from others, endpoints, the stream.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import ROUND_HALF_UP, Decimal
from typing import Annotated, Any, ClassVar, Final, NamedTuple

from pydantic import Field, model_validator

from sync_pipelines.contracts.codes import REJECT_CODES
from sync_pipelines.contracts.contract import Contract, folded
from sync_pipelines.contracts.fields import (
    Email,
    Filled,
    Flag,
    JsonObject,
    Key,
    Money,
    Text,
    Texts,
    coordinate,
    read_coordinate,
    read_flag,
    read_money,
)
from sync_pipelines.contracts.listing import Credential, Listing
from sync_pipelines.contracts.personal import ADDRESS, CONTACT, EMAIL, LEGAL_ID, NAME, PHONE
from sync_pipelines.contracts.raw import AmbiguousObject
from sync_pipelines.contracts.reading import Reading, RecordRejected, read_at, reject, reject_for
from sync_pipelines.contracts.streams import Children, Match, Route, Stream, tenant_as_named
from sync_pipelines.contracts.texts import read_key

_POINT: Final = re.compile(
    r"""(?P<before>[NSEWO])?\s*(?P<sign>[+-])?\s*(?P<degrees>\d{1,3}(?:[.,]\d*)?)\s*(?P<mark>[°º])?\s*"""
    r"""(?:(?P<minutes>\d{1,2}(?:[.,]\d+)?)\s*['’′]\s*(?:(?P<seconds>\d{1,2}(?:[.,]\d+)?)\s*(?:"|”|″|'')\s*)?)?"""
    r"""(?P<after>[NSEWO])?""",
    re.IGNORECASE | re.ASCII,
)
_LETTERS: Final = {90: {"N": 1, "S": -1}, 180: {"E": 1, "W": -1, "O": -1}}
"""Limit of the degrees -> compass letters; O is the Spanish oeste, west."""


def read_nilo_coordinate(value: Any, reading: Reading, limit: int) -> Decimal | None:
    """Degrees as Nilo's users write them: a degree sign, a decimal comma, a compass letter, minutes (N5)."""
    if not isinstance(value, str):
        return read_coordinate(value, reading, limit)
    text = value.strip()
    if text != value:
        reading.forgive("trimmed_text")
    match = _POINT.fullmatch(text)
    _check_marks(text, reading)
    letter = "" if match is None else ((match["before"] or "") + (match["after"] or "")).upper()
    if match is None or not (letter or match["mark"] or "," in text):
        return read_coordinate(type(value)(text), reading, limit)
    sign = _LETTERS[limit].get(letter, 0) if letter else 1
    if not sign or (letter and match["sign"]):
        raise reject("not_a_number", f"{text[:40]!r} has no valid direction from -{limit} to {limit}")
    if letter:
        reading.forgive("compass_letter")
    return read_coordinate(sign * _degrees(match, reading), reading, limit)


def _check_marks(text: str, reading: Reading) -> None:
    """Rejects a mark that has another meaning in the source's numbers (X9)."""
    other = "." if reading.decimal == "," else reading.thousands
    if other in (".", ",") and other in text:
        raise reject(
            "not_a_number",
            f"{text[:40]!r} has a {other!r}, which is not the decimal separator of this source (`decimal`)",
        )


def _degrees(match: re.Match[str], reading: Reading) -> Decimal:
    if "," in match[0]:
        reading.forgive("decimal_comma")
    degrees, minutes, seconds = (_number(match[part]) for part in ("degrees", "minutes", "seconds"))
    if match["minutes"]:
        if not match["mark"] or degrees % 1 or (match["seconds"] and minutes % 1) or max(minutes, seconds) >= 60:
            raise reject("not_a_number", f"{match[0][:40]!r} is not degrees, minutes and seconds")
        reading.forgive("degrees_minutes_seconds")
        exact = degrees + minutes / 60 + seconds / 3600
        degrees = exact.quantize(Decimal("0.000001"), rounding=ROUND_HALF_UP)
    elif match["mark"]:
        reading.forgive("stripped_degree_sign")
    return -degrees if match["sign"] == "-" else degrees


def _number(text: str | None) -> Decimal:
    return Decimal((text or "0").replace(",", "."))


Latitude = Annotated[Decimal | None, coordinate(90, read_nilo_coordinate)]
Longitude = Annotated[Decimal | None, coordinate(180, read_nilo_coordinate)]


class Address(Contract):
    """An address of a store: its line is `address`, else `addressLine` (N3, N4)."""

    address: Annotated[Filled, ADDRESS] = Field(alias="address")
    address_line: Annotated[Text | None, ADDRESS] = Field(default=None, alias="addressLine")
    apartment_number: Annotated[Text | None, ADDRESS] = Field(default=None, alias="apartmentNumber")
    zip_code: Filled = Field(alias="zipCode")
    internal_code: Text | None = Field(default=None, alias="internalCode")
    latitude: Annotated[Latitude, ADDRESS] = Field(default=None, alias="latitude")
    longitude: Annotated[Longitude, ADDRESS] = Field(default=None, alias="longitude")

    not_columns: ClassVar[frozenset[str]] = frozenset({"address_line"})
    pairs: ClassVar[tuple[tuple[str, str], ...]] = (("latitude", "longitude"),)
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"latitude": ("N5",), "longitude": ("N5",)}

    @model_validator(mode="before")
    @classmethod
    def _line(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and fields.get("address") is None and fields.get("addressLine") is not None:
            return {**fields, "address": fields["addressLine"]}
        return fields


class StoreUser(Contract):
    """A user of a store: phone, e-mail or id, as text (N7)."""

    user_ref: Annotated[Key, CONTACT] = Field(alias="user_ref")


class Store(Contract):
    """A store (N3). `STORES` says which fields a new store needs (N4)."""

    external_id: Key = Field(alias="internalCode")
    name: Annotated[Filled | None, NAME] = Field(default=None, alias="name")
    owner_name: Annotated[Text | None, NAME] = Field(default=None, alias="ownerName")
    owner_identifier: Annotated[Text | None, LEGAL_ID] = Field(default=None, alias="ownerIdentifier")
    legal_name: Annotated[Filled | None, NAME] = Field(default=None, alias="legalName")
    legal_id: Annotated[Filled | None, LEGAL_ID] = Field(default=None, alias="legalId")
    enabled: Flag | None = Field(default=None, alias="enabled")
    credit_limit: Money | None = Field(default=None, alias="creditLimit")
    is_debtor: Flag | None = Field(default=None, alias="debtor")
    is_late_payer: Flag | None = Field(default=None, alias="latePayer")
    promotion_grouper_codes: Texts = Field(default=[], alias="promotionGrouperCode")
    stock_grouper_code: Text | None = Field(default=None, alias="stockGrouperCode")
    pricelist_code: Text | None = Field(default=None, alias="pricelistCode")
    route_code: Text | None = Field(default=None, alias="routeCode")
    latitude: Annotated[Latitude, ADDRESS] = Field(default=None, alias="latitude")
    longitude: Annotated[Longitude, ADDRESS] = Field(default=None, alias="longitude")
    address_format: Annotated[Text | None, ADDRESS] = Field(default=None, alias="addressFormat")
    support_contact_email: Annotated[Email | None, EMAIL] = Field(default=None, alias="supportContactEmail")
    support_contact_phone: Annotated[Text | None, PHONE] = Field(default=None, alias="supportContactPhone")
    settings: JsonObject = Field(default=None, alias="settings")
    addresses: list[Address] | None = Field(default=None, alias="addresses")
    users: list[StoreUser] | None = Field(default=None, alias="users")

    also: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "internalCode": ("storeCode",),
        "creditLimit": ("amount",),
        "debtor": ("isDebtor",),
        "latePayer": ("isLatePayer",),
    }
    pairs: ClassVar[tuple[tuple[str, str], ...]] = (("latitude", "longitude"),)
    derived: ClassVar[Mapping[str, tuple[str, Any]]] = {"has_own_coordinates": ("latitude", lambda latitude: True)}
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "external_id": ("N1",),
        "name": ("N3", "N4"),
        "legal_name": ("N3", "N4"),
        "legal_id": ("N3", "N4"),
        "credit_limit": ("N6",),
        "is_debtor": ("N6",),
        "is_late_payer": ("N6",),
        "latitude": ("N5",),
        "longitude": ("N5",),
        "has_own_coordinates": ("N5",),
        "settings": ("N6",),
        **dict.fromkeys(
            (
                "owner_name", "owner_identifier", "enabled", "promotion_grouper_codes", "stock_grouper_code",
                "pricelist_code", "route_code", "address_format", "support_contact_email", "support_contact_phone",
            ),
            ("N3",),
        ),
    }  # fmt: skip


class _Setting(NamedTuple):
    """A setting with a column of its own (N6): its name on the page, its field, and the function that reads it."""

    name: str
    field: str
    read: Callable[[Any, Reading], Any]


_OUT_OF_SETTINGS: Final = {
    folded(name): _Setting(name, field, read)
    for name, field, read in (
        ("credit", "creditLimit", read_money),
        ("debtor", "debtor", read_flag),
        ("isDebtor", "debtor", read_flag),
        ("latePayer", "latePayer", read_flag),
        ("isLatePayer", "latePayer", read_flag),
    )
}
"""Folded name -> setting."""


def with_plain_fields(record: dict[str, Any], options: Any, reading: Reading) -> dict[str, Any]:
    """Returns the record with credit and payment flags moved out of its settings, and with lists of codes and users.

    Top-level values take precedence over those in the settings (N6); a promotion code may be text or a list (N3).
    """
    errors: list[RecordRejected] = []
    settings = record.get("settings")
    if isinstance(settings, dict):
        errors += _settings_twice(settings)
        moved = _out_of_settings(settings, reading, errors)
        kept = {name: value for name, value in settings.items() if folded(name) not in _OUT_OF_SETTINGS}
        record = {**moved, **record, "settings": kept}
    codes = record.get("promotionGrouperCode")
    if codes is not None and not isinstance(codes, list):
        record = {**record, "promotionGrouperCode": [codes]}
    users = record.get("users")
    if isinstance(users, list):
        record = {**record, "users": _users(users, reading, errors)}
    reject_for(errors)
    return record


def _out_of_settings(settings: Mapping[str, Any], reading: Reading, errors: list[RecordRejected]) -> dict[str, Any]:
    moved: dict[str, Any] = {}
    for name, value in settings.items():
        if folded(name) in _OUT_OF_SETTINGS:
            setting = _OUT_OF_SETTINGS[folded(name)]
            try:
                read = None if value is None else read_at(f"settings.{setting.name}", setting.read, value, reading)
                moved[setting.field] = read
            except RecordRejected as error:
                errors.append(error)
    return moved


def _settings_twice(settings: Mapping[str, Any]) -> list[RecordRejected]:
    """Returns errors for settings that appear twice with different values, in one spelling or in two (F05)."""
    twice = list(settings.names) if isinstance(settings, AmbiguousObject) else []
    values: dict[str, tuple[str, Any]] = {}
    for name, value in settings.items():
        setting = _OUT_OF_SETTINGS.get(folded(name))
        first, known = values.setdefault(setting.field if setting else folded(name), (name, value))
        if type(known) is not type(value) or known != value:
            twice.append(first)
    spelled = [_OUT_OF_SETTINGS[folded(name)].name if folded(name) in _OUT_OF_SETTINGS else name for name in twice]
    return [
        RecordRejected("field_conflict", f"settings.{name}", f"settings.{name}: {REJECT_CODES['field_conflict']}")
        for name in dict.fromkeys(spelled)
    ]


def _users(users: list[Any], reading: Reading, errors: list[RecordRejected]) -> list[dict[str, Any]]:
    rows = []
    for index, user in enumerate(users):
        try:
            rows.append(_user(user, f"users[{index}]", reading))
        except RecordRejected as error:
            errors.append(error)
    return rows


def _user(value: Any, path: str, reading: Reading) -> dict[str, Any]:
    value = value.get("user_ref", value) if isinstance(value, dict) else value
    reference = read_at(path, read_key, value, reading)
    if reference is None:
        raise RecordRejected("required", path, f"{path}: {REJECT_CODES['required']}")
    return {"user_ref": reference}


def shown_values(values: dict[str, Any], children: Mapping[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Returns a store's values with the columns that are computed from others.

    These are the owner's name if the store has none (N3), the coordinates of the first address unless the store was
    ever sent its own (N5), and the payment status, in which debtor takes precedence over late payer (N6).
    """
    shown = dict(values)
    if not shown.get("name"):
        shown["name"] = shown.get("owner_name")
    if not shown.get("has_own_coordinates"):
        first = (children.get("store_addresses") or [{}])[0]
        shown["latitude"], shown["longitude"] = first.get("latitude"), first.get("longitude")
    late = "late_payer" if shown.get("is_late_payer") else "ok"
    shown["payment_status"] = "debtor" if shown.get("is_debtor") else late
    return shown


STORES: Final = Stream(
    partner="nilo",
    name="stores",
    table="stores",
    contract=Store,
    key="external_id",
    normalize_tenant=tenant_as_named,
    merges=("settings",),
    children=(
        Children(column="addresses", table="store_addresses", parent="store_id"),
        Children(column="users", table="store_users", parent="store_id", mode="add", match=(Match(("user_ref",)),)),
    ),
    required_new=("name", "store_addresses", "legal_name", "legal_id"),
    unknown_code="store_unknown",
    computed=("payment_status",),
    compute=shown_values,
    computes=(
        "name",
        "owner_name",
        "is_debtor",
        "is_late_payer",
        "payment_status",
        "latitude",
        "longitude",
        "has_own_coordinates",
        "store_addresses.latitude",
        "store_addresses.longitude",
    ),
    carries=("name",),
    prepare=with_plain_fields,
    prepared=frozenset({"settings", "users"}),
    routes=(
        Route("POST", "/store", "create"),
        Route("PUT", "/store/{key}", "update"),
        Route("PUT", "/store/{key}/status", "touch", needs=("enabled",), takes=("enabled",)),
        Route("PUT", "/store/{key}/add/user", "touch", mode="add", needs=("users",), takes=("users",)),
        Route("PUT", "/store/{key}/remove/user", "touch", mode="remove", needs=("users",), takes=("users",)),
        Route("POST", "/store/{key}/credit", "touch", needs=("amount",), takes=("amount",)),
        Route("POST", "/store/{key}/debtor", "touch", sets={"debtor": True}, takes=()),
        Route("POST", "/store/{key}/latepayer", "touch", sets={"latePayer": True}, takes=()),
        Route(
            "POST",
            "/batch/store/setting",
            "touch",
            lists={"stores": "touch"},
            takes=("storeCode", "settings"),
            names_lists=True,
        ),
        Route(
            "POST",
            "/batch/store",
            lists={"create": "create", "update": "update", "upsert": "upsert", "remove": "delete"},
            is_exclusive=True,
            may_be_empty=True,
            names_lists=True,
        ),
    ),
    envelopes=frozenset({"data"}),
    pull=Listing(
        path="/store",
        records="data",
        key="internalCode",
        size="take",
        size_limit=50,
        page="page",
        credentials=(
            Credential("api_key", "x-api-key"),
            Credential("authorization", "Authorization", takes_scheme=True),
        ),
        filters=("enabled",),
    ),
    description="Stores with their addresses and users, and one flag each for credit and payment.",
)
