"""One large clean file of each stream except orders, for benchmarks: any number of complete records.

Belongs here: records, some of them changed and some new. Does not belong here: orders (`bulk`), realistic exports (a
module for each partner), benchmarks (`bench`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from sync_pipelines.sample_data import words

Record = dict[str, Any]
BUSINESSES: Final = 5_000
"""Businesses that Pocketflows' customers belong to."""


def bulk_records(stream: str, n: int, *, changed: float = 0.0, new: float = 0.0) -> Iterator[Record]:
    """Yields records of a stream, one for each key. Memory does not grow with `n`.

    Args:
        stream: such as "nilo/stores".
        n: records of the unchanged file.
        changed: the share of them that differ from the unchanged file's (`1 / n`: one of them), evenly spread.
        new: how many are added at the end, as a share of `n`.
    """
    rng = random.Random(f"{stream}/bulk")
    build = BULK[stream]
    many = round(n * changed)
    for number in range(n + round(n * new)):
        is_changed = number < n and number * many // n != (number + 1) * many // n
        yield build(rng.getrandbits(64), number, is_changed)


def _commerce(bits: int, number: int, is_changed: bool) -> Record:
    contacts = [
        {"contact_type": "PHONE", "value": f"+56 9 {bits % 10**8:08d}", "is_primary": True},
        {"contact_type": "EMAIL", "value": f"contacto{number}@correo.example", "is_primary": is_changed},
    ]
    user = {"external_id": f"C{number}-u1", "name": _person(bits), "roles": ["OWNER"], "contacts": contacts}
    return {
        "external_id": f"C{number:07d}",
        "name": f"Comercial {_person(bits)}",
        "global_external_id": f"CL-{number:08d}",
        "tax_id": f"{bits % 10**8:08d}",
        "metadata": {"plan": words.PLANS[bits % len(words.PLANS)], "since": 2000 + bits % 25},
        "addresses": [_commerce_address(bits >> place, number, place, is_changed) for place in range(2)],
        "users": [user],
    }


def _commerce_address(bits: int, number: int, place: int, is_changed: bool) -> Record:
    return {
        "address_alias": ("Casa Matriz", "Sucursal")[place],
        "is_primary": place == 0,
        "country_code": "CL",
        "region": "RM",
        "commune": "Ñuñoa",
        "city": "Santiago",
        "street": "Irarrázaval",
        "street_number": str(bits % 9_000 + is_changed),
        "unit": str(bits % 90),
        "formatted_address": f"Irarrázaval {bits % 9_000}, Ñuñoa",
        "latitude": (bits % 10**7 - 5 * 10**6) / 10**5,
        "longitude": (bits % 10**8 - 5 * 10**7) / 10**6,
        "source_ref": f"{number}-{place}",
    }


def _store(bits: int, number: int, is_changed: bool) -> Record:
    return {
        "internalCode": f"S{number:07d}",
        "name": f"Almacén {number}",
        "ownerName": _person(bits),
        "ownerIdentifier": f"{bits % 10**8}",
        "legalName": f"{_person(bits >> 8)} S.A.",
        "legalId": f"{bits % 10**8}-K",
        "enabled": bits % 8 != 0,
        "creditLimit": (bits % 10**7 + 10**7 * is_changed) / 100,
        "debtor": bits % 16 == 0,
        "latePayer": bits % 32 == 0,
        "stockGrouperCode": f"G{bits % 40}",
        "pricelistCode": f"P{bits % 9}",
        "routeCode": f"R{bits % 300}",
        "addressFormat": "AR",
        "supportContactEmail": f"ayuda{bits % 50}@correo.example",
        "supportContactPhone": f"+54 11 {bits % 10**8}",
        "settings": {"minimum": bits % 100, "delivery": {"days": ["lu", "ju"]}},
        "addresses": [
            {
                "address": f"Corrientes {bits % 9_000}",
                "apartmentNumber": str(place + is_changed),
                "zipCode": str(1_000 + bits % 8_000),
                "latitude": (bits % 10**7 - 5 * 10**6) / 10**5,
                "longitude": (bits % 10**8 - 5 * 10**7) / 10**6,
            }
            for place in range(2)
        ],
    }


def _traede_customer(bits: int, number: int, is_changed: bool) -> Record:
    return {
        "customer_number": f"{10_000_000 + number}",
        "name": f"{_person(bits)} ApS",
        "currency": ("DKK", "EUR", "SEK")[bits % 3],
        "discount_percentage": bits % 50 + 0.5 * is_changed,
        "active": bits % 16 != 0,
        "payment_terms": {"id": f"{bits % 12}"},
        "addresses_sync_mode": "replace",
        "addresses_sync_key": "address_title",
        "addresses": [
            {
                "title": title,
                "name": _person(bits >> 8),
                "address": f"Vestergade {bits % 300 + is_changed}",
                "zip": str(1_000 + bits % 9_000),
                "city": "Aarhus",
                "country": "DK",
                "remote_erp_id": f"{number}-{title}",
            }
            for title in ("Hovedkontor", "Lager")
        ],
    }


def _business(bits: int, number: int, is_changed: bool) -> Record:
    return {
        "id": f"biz_{number:07d}",
        "external_id": f"B{number:07d}",
        "name": f"Negocio {_person(bits)}{' II' * is_changed}",
        "metadata": {"plan": words.PLANS[bits % len(words.PLANS)], "seats": bits % 90},
    }


def _customer(bits: int, number: int, is_changed: bool) -> Record:
    return {
        "id": f"cus_{number:07d}",
        "external_id": f"K{number:07d}",
        "business_id": f"biz_{bits % BUSINESSES:07d}",
        "full_name": f"{_person(bits)}{' Jr.' * is_changed}",
        "phone_number": f"+52 55 {bits % 10**8:08d}",
        "email_address": f"cliente{number}@correo.example",
        "metadata": {"tier": bits % 5, "tags": ["a", "b"]},
    }


def _person(bits: int) -> str:
    return f"{_FIRST[bits % len(_FIRST)]} {_LAST[(bits >> 16) % len(_LAST)]}"


_FIRST: Final = ("Ana", "Leo", "Inés", "Søren", "Lucía", "Mateo", "Noa", "Björn")
_LAST: Final = ("Rojas", "Muñoz", "Jensen", "Castro", "Díaz", "Peña", "Lund", "Vega")

BULK: Final[Mapping[str, Callable[[int, int, bool], Record]]] = {
    "reten/commerces": _commerce,
    "nilo/stores": _store,
    "traede/customers": _traede_customer,
    "pocketflows/businesses": _business,
    "pocketflows/customers": _customer,
}
"""Stream -> function that builds a record from random bits, its number, and whether it is changed."""
