"""Reten's exports in the sample: the companies as commerces, with addresses, users and contacts.

Belongs here: the content of Reten's exports. Does not belong here: their schedule (`feed`).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import date

from sync_pipelines.sample_data import words
from sync_pipelines.sample_data.dirt import Dirt, setting, setting_in, without
from sync_pipelines.sample_data.encode import Layout
from sync_pipelines.sample_data.feed import Feed, Subject
from sync_pipelines.sample_data.sample_files import Record
from sync_pipelines.sample_data.world import Company, build_companies, phone_in, random_for

FOLDER = "reten/red-andina/commerces"
PATH = "/api/commerces/sync"


def build_feed(seed: int, days: int) -> Feed:
    """Returns the exports of all companies."""
    rng = random_for(seed, FOLDER, "first")
    return CommerceFeed(
        FOLDER, seed, [(company.code, _record(rng, company)) for company in build_companies(seed)], days
    )


def _record(rng: random.Random, company: Company) -> Record:
    place, city = company.place, company.place.city
    address = {
        "address_alias": "Casa Matriz", "is_primary": True, "country_code": city.country, "region": city.region,
        "commune": city.commune, "city": city.name, "street": place.street, "street_number": str(place.number),
        "formatted_address": place.line, "latitude": place.latitude, "longitude": place.longitude,
        "source_ref": f"{company.code}-1",
    }  # fmt: skip
    contacts = [
        {"contact_type": "PHONE", "value": phone_in(rng, city), "is_primary": True},
        {"contact_type": "EMAIL", "value": f"contacto@{company.code}.example"},
    ]
    user = {"external_id": f"{company.code}-u1", "name": company.owner, "roles": ["OWNER"], "contacts": contacts}
    return {
        "external_id": company.code,
        "name": company.name,
        "global_external_id": f"{city.country}-{company.tax_id}",
        "tax_id": company.tax_id,
        "metadata": {"rubro": company.name.split()[0], "plan": rng.choice(words.PLANS)},
        "addresses": [address],
        "users": [user],
    }


def _with_fax(record: Record) -> None:
    record["users"] = [{"external_id": "u9", "contacts": [{"contact_type": "FAX", "value": "2 345"}]}]


class CommerceFeed(Feed):
    """Commerces: bodies, lines, arrays, CSV, Parquet and Excel; what is not sent is kept."""

    route = PATH
    layouts = (
        Layout(".json", envelope="items"), Layout(".ndjson.gz"), Layout(".csv", delimiter=";"), Layout(".json.gz"),
        Layout(".parquet"), Layout(".json.zst", envelope="items"), Layout(".jsonl"), Layout(".xlsx"),
    )  # fmt: skip
    kinds = (
        Dirt(without("name"), True, "typed"),
        Dirt(_with_fax, True, "json"),
        Dirt(setting("metadata", "plan=pro"), True, "json"),
        Dirt(setting_in("addresses", "latitude", -133.45), True, "json"),
        Dirt(setting("addresses", [{}]), False, "json"),
        Dirt(setting("external_id", ""), True, "typed"),
        Dirt(setting("tax_id", 76543210), False, "json"),
    )
    changed = 0.08
    dirty = 0.05

    def change(self, subject: Subject) -> Record:
        """Changes a key of the metadata, a branch, a user, a contact or a name, or clears the tax number."""
        patch = self.rng.choice((self._plan, self._branch, self._employee, self._contact, self._name, self._no_tax))(
            subject
        )
        subject.record = subject.record | {name: patch[name] for name in ("name", "tax_id") if name in patch}
        return {"external_id": subject.key, "name": subject.record["name"]} | patch

    def requests(self, day: date) -> Iterator[Record]:
        """Syncs of a few commerces each."""
        for hour in (9, 15):
            changed = self.some(self.known, 0.04)
            yield self.call(day, hour, "POST", PATH, {"items": [self.change(subject) for subject in changed]})

    def queued(self, subject: Subject) -> Record:
        """A sync of an earlier day."""
        return self.call(subject.since, 20, "POST", PATH, {"items": [subject.first]})

    def _plan(self, subject: Subject) -> Record:
        metadata = {"plan": self.rng.choice(words.PLANS), "zona": self.rng.choice(("norte", "sur", None))}
        return {"metadata": metadata}

    def _branch(self, subject: Subject) -> Record:
        """A second address, which may become the primary one; sent again it is the same."""
        first = subject.first["addresses"][0]
        branch = {name: first[name] for name in ("country_code", "region", "city")}
        street = {"street": self.rng.choice(words.STREETS), "street_number": str(self.rng.randint(1, 999))}
        primary = {"is_primary": self.rng.random() < 0.3}
        return {"addresses": [branch | street | primary | {"address_alias": self.rng.choice(("Bodega", " bodega"))}]}

    def _employee(self, subject: Subject) -> Record:
        name = f"{self.rng.choice(words.FIRST_NAMES)} {self.rng.choice(words.LAST_NAMES)}"
        roles = self.rng.sample(words.ROLES[1:], self.rng.randint(0, 2))
        return {"users": [{"external_id": f"{subject.key}-u2", "name": name, "roles": roles}]}

    def _contact(self, subject: Subject) -> Record:
        kind = self.rng.choice(("WHATSAPP", "whatsapp", "PHONE"))
        contact = {"contact_type": kind, "value": f"+569{self.rng.randint(40_000_000, 99_999_999)}", "is_primary": True}
        return {"users": [{"external_id": f"{subject.key}-u1", "contacts": [contact]}]}

    def _name(self, subject: Subject) -> Record:
        return {"name": f"{subject.first['name']} {self.rng.choice(('Express', 'II', 'Centro'))}"}

    def _no_tax(self, subject: Subject) -> Record:
        return {"tax_id": None}
