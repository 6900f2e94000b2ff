"""Reten: commerces with their addresses, users and the users' contacts (rules R1 to R10).

Read it top to bottom: contracts, from the innermost out; then how lists merge, the endpoint, and the stream.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar, Final

from pydantic import Field

from sync_pipelines.contracts.contract import Contract
from sync_pipelines.contracts.fields import Filled, Flag, JsonObject, Key, Latitude, Longitude, Text, Texts, choice
from sync_pipelines.contracts.personal import ADDRESS, CONTACT, LEGAL_ID, NAME
from sync_pipelines.contracts.streams import Children, Match, Route, Stream, tenant_as_named

ContactType = Annotated[str, choice("PHONE", "EMAIL", "WHATSAPP", "OTHER")]


class Contact(Contract):
    """A way to reach a user (R9)."""

    contact_type: ContactType = Field(alias="contact_type")
    value: Annotated[Filled, CONTACT] = Field(alias="value")
    is_primary: Flag | None = Field(default=None, alias="is_primary")

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {"is_primary": ("R7",)}


class User(Contract):
    """A person of a commerce (R8)."""

    external_id: Key = Field(alias="external_id")
    name: Annotated[Text | None, NAME] = Field(default=None, alias="name")
    roles: Texts = Field(default=[], alias="roles")
    contacts: list[Contact] | None = Field(default=None, alias="contacts")


class Address(Contract):
    """A place of a commerce; every field is optional (R5)."""

    alias: Annotated[Text | None, ADDRESS] = Field(default=None, alias="address_alias")
    is_primary: Flag | None = Field(default=None, alias="is_primary")
    country_code: Text | None = Field(default=None, alias="country_code")
    region: Text | None = Field(default=None, alias="region")
    commune: Text | None = Field(default=None, alias="commune")
    city: Text | None = Field(default=None, alias="city")
    street: Annotated[Text | None, ADDRESS] = Field(default=None, alias="street")
    street_number: Annotated[Text | None, ADDRESS] = Field(default=None, alias="street_number")
    unit: Annotated[Text | None, ADDRESS] = Field(default=None, alias="unit")
    formatted_address: Annotated[Text | None, ADDRESS] = Field(default=None, alias="formatted_address")
    latitude: Annotated[Latitude, ADDRESS] = Field(default=None, alias="latitude")
    longitude: Annotated[Longitude, ADDRESS] = Field(default=None, alias="longitude")
    source_ref: Text | None = Field(default=None, alias="source_ref")

    pairs: ClassVar[tuple[tuple[str, str], ...]] = (("latitude", "longitude"),)
    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "alias": ("R5", "R6"),
        "source_ref": ("R5", "R6"),
        "is_primary": ("R5", "R7"),
    }


class Commerce(Contract):
    """A commerce (R2, R3)."""

    external_id: Key = Field(alias="external_id")
    name: Filled = Field(alias="name")
    global_external_id: Annotated[Text | None, LEGAL_ID] = Field(default=None, alias="global_external_id")
    tax_id: Annotated[Text | None, LEGAL_ID] = Field(default=None, alias="tax_id")
    metadata: JsonObject = Field(default=None, alias="metadata")
    addresses: list[Address] | None = Field(default=None, alias="addresses")
    users: list[User] | None = Field(default=None, alias="users")

    rules: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "external_id": ("R2",),
        "name": ("R2",),
        "global_external_id": ("R3",),
        "tax_id": ("R3",),
        "metadata": ("R3", "R4"),
    }


def sync_response(counts: Mapping[str, int]) -> dict[str, int]:
    """Returns the outcomes as in the API's response (R10); created and updated add up to the total (F19)."""
    updated = counts["updated"] + counts["unchanged"] + counts["stale"]
    return {"created": counts["created"], "updated": updated, "total": counts["read"] - counts["rejected"]}


_CONTACTS: Final = Children(
    column="contacts",
    table="commerce_user_contacts",
    parent="commerce_user_id",
    mode="merge",
    match=(Match(("contact_type", "value")),),
    primary=("contact_type",),
)

COMMERCES: Final = Stream(
    partner="reten",
    name="commerces",
    table="commerces",
    contract=Commerce,
    key="external_id",
    normalize_tenant=tenant_as_named,
    merges=("metadata",),
    children=(
        Children(
            column="addresses",
            table="commerce_addresses",
            parent="commerce_id",
            mode="merge",
            match=(
                Match(("source_ref",)),
                Match(("alias",), folds=True),
                Match(tuple(name for name in Address.model_fields if name != "is_primary"), whole=True),
            ),
            primary=(),
            skips_empty=True,
        ),
        Children(
            column="users",
            table="commerce_users",
            parent="commerce_id",
            mode="merge",
            match=(Match(("external_id",)),),
            nested=(_CONTACTS,),
        ),
    ),
    routes=(Route("POST", "/api/commerces/sync", lists={"items": "upsert"}),),
    envelopes=frozenset({"items"}),
    response=sync_response,
    description="Commerces with their addresses, users and contacts. A field that a record leaves out stays as it is.",
)
