"""Nilo's exports in the sample: the companies' stores, with both spellings of Nilo's page, and calls of every route.

Belongs here: the content of Nilo's exports. Does not belong here: their schedule (`feed`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from datetime import date
from typing import Any
from urllib.parse import quote

from sync_pipelines.sample_data.dirt import Dirt, setting, setting_in, without
from sync_pipelines.sample_data.encode import Layout
from sync_pipelines.sample_data.feed import Feed, Subject
from sync_pipelines.sample_data.sample_files import Record
from sync_pipelines.sample_data.world import Outlet, build_outlets, build_place, phone_in, price_in, random_for

FOLDER = "nilo/distribuidora-austral/stores"


def build_feed(seed: int, days: int) -> Feed:
    """Returns the exports of all stores."""
    rng = random_for(seed, FOLDER, "first")
    outlets = build_outlets(seed)
    stores = [
        (outlet.code, _by_table(rng, outlet) if rng.random() < 0.5 else _by_example(rng, outlet)) for outlet in outlets
    ]
    return StoreFeed(seed, days, stores, {outlet.code: outlet for outlet in outlets})


def _by_table(rng: random.Random, outlet: Outlet) -> Record:
    """A store with the field names of the page's table."""
    place = outlet.place
    address = {"address": place.line, "zipCode": place.city.zip_code}
    return {
        "name": f"{outlet.company.name} {place.city.name}",
        "internalCode": outlet.code,
        "addresses": [address | {"latitude": place.latitude, "longitude": place.longitude}],
        "legalName": outlet.company.legal_name,
        "legalId": outlet.company.tax_id,
        "promotionGrouperCode": rng.choice(("0012", "0034", ["0012", "0034"])),
        "stockGrouperCode": rng.choice(("DC-SUR", "DC-NORTE")),
        "pricelistCode": f"LP{rng.randint(1, 4):02d}",
        "enabled": True,
        "creditLimit": price_in(outlet.company.country, rng.randint(5, 80) * 100.0),
    }


def _by_example(rng: random.Random, outlet: Outlet) -> Record:
    """A store with the field names of the page's example."""
    place, city, company = outlet.place, outlet.place.city, outlet.company
    line = {"internalCode": outlet.code, "addressLine": place.line, "apartmentNumber": "2", "zipCode": city.zip_code}
    return {
        "ownerName": company.owner,
        "ownerIdentifier": company.tax_id,
        "internalCode": outlet.code,
        "addresses": [line],
        "latitude": _coordinate(rng, place.latitude, "NS"),
        "longitude": _coordinate(rng, place.longitude, "EO"),
        "addressFormat": f"{place.line}, {city.zip_code} {city.region}",
        "legalName": company.legal_name,
        "legalId": company.tax_id,
        "supportContactEmail": f"tienda{outlet.code}@{company.code}.example",
        "supportContactPhone": phone_in(rng, city),
        "routeCode": f"R-{rng.randint(1, 30):03d}",
        "settings": {
            "dropSize": {"amount": price_in(company.country, 50), "currency": company.country.currency},
            "credit": price_in(company.country, rng.randint(5, 80) * 100.0),
        },
    }


def _coordinate(rng: random.Random, degrees: float, letters: str) -> str:
    """Degrees as users write them: with a degree sign, a decimal comma, or a letter for the direction."""
    plain = f"{abs(degrees):.6f}"
    sign = "-" if degrees < 0 else ""
    letter = letters[1] if degrees < 0 else letters[0]
    comma = plain.replace(".", ",")
    return rng.choice((f"{sign}{plain}°", f"{sign}{plain}", f"{sign}{comma}", f"{sign}{comma}º", f"{plain}° {letter}"))


class StoreFeed(Feed):
    """Stores: read responses, lines, arrays, CSV, Parquet, batches; logs with calls of every route."""

    route = "/store"
    layouts = (
        Layout(".json", envelope="data"), Layout(".ndjson"), Layout(".csv", delimiter=";"), Layout(".json.gz"),
        Layout(".parquet"), Layout(".ndjson.zst"), Layout(".csv.gz", delimiter="|"), Layout(".json", envelope="data"),
    )  # fmt: skip
    kinds = (
        Dirt(setting("latitude", "sin datos"), True, "json"),
        Dirt(setting_in("addresses", "zipCode", None), False, "json"),
        Dirt(setting("creditLimit", "mucho"), True, "text"),
        Dirt(setting("enabled", "si"), False, "text"),
        Dirt(setting("legalId", None), True, "json"),
        Dirt(without("internalCode"), True, "json"),
        Dirt(setting("longitude", 258.449722), False, "json"),
        Dirt(setting("settings", "dropSize=1000"), True, "json"),
        Dirt(setting("internalCode", 417), False, "json"),
    )
    creates_in_flat_files = False
    repeated = 0.02
    changed = 0.035

    def __init__(self, seed: int, days: int, stores: list[tuple[str, Record]], outlets: dict[str, Outlet]) -> None:
        super().__init__(FOLDER, seed, stores, days)
        self._outlets = outlets

    def change(self, subject: Subject) -> Record:
        """Credit, a price list, a place, another address, settings, or whether the store sells."""
        patch = self.rng.choice(
            (self._credit, self._prices, self._place, self._address, self._settings, self._enabled)
        )(subject)
        subject.record = subject.record | patch
        return {"internalCode": subject.key} | patch

    def batch(self, day: date, index: int) -> tuple[Any, int] | None:
        """Every fifth day a body of four lists: a new store, changes, a store in two lists, removals."""
        if index % 5 != 4:
            return None
        new, wanted = self._make(day), f"U{day:%m%d}"
        update = [self.change(subject) for subject in self.some(self.known, 0.01)]
        upsert = [self.change(subject) for subject in self.some(self.known, 0.01)]
        update = [record for record in update if record["internalCode"] not in {u["internalCode"] for u in upsert}]
        twice = self.some(self.known, 0.001)
        upsert += [{"internalCode": subject.key, "enabled": True} for subject in twice if update]
        update += [{"internalCode": subject.key, "enabled": False} for subject in twice if update]
        update.append({"internalCode": wanted, "enabled": False})
        sent = {record["internalCode"] for record in update + upsert}
        removed = self.some([subject for subject in self.known if subject.key not in sent], 0.01)
        remove = [self._remove(subject) for subject in removed] + [f"X{day:%m%d}"]
        body = {"create": [new], "update": update, "upsert": upsert, "remove": remove}
        return body, 1 + len(update) + len(upsert) + len(remove)

    def requests(self, day: date) -> Iterator[Record]:
        """A call of every route; some name a store that other exports have later, or never."""
        yield self.call(day, 8, "POST", "/store", self._make(day, "L"))
        stores = self.some(self.known, 0.1)
        for number, (method, path, body) in enumerate(self._routes(day)):
            for subject in stores[number :: len(self._routes(day))][:2]:
                answer = body(subject)
                code = quote(subject.key, safe="")
                yield self.call(day, 9 + number, method, path.format(code=code), answer)
        yield self.call(day, 17, "PUT", f"/store/N{day:%m%d}", {"enabled": True})
        yield self.call(day, 17, "POST", f"/store/P{day:%m%d}/credit", {"amount": 250000})
        coming = [key for day_ahead in self._coming for key, _ in day_ahead][-1:]
        for key in coming if coming and coming[0] not in {subject.key for subject in self.known} else []:
            yield self.call(day, 18, "PUT", f"/store/{key}/add/user", {"users": ["+56911112222"]})
        settings = [
            {"storeCode": subject.key, "settings": {"minimumOrderAmount": 1000, "debtor": False, "latePayer": True}}
            for subject in stores[:3]
        ]
        yield self.call(day, 18, "POST", "/batch/store/setting", {"stores": settings})
        removed = self.some([subject for subject in self.known if subject not in stores], 0.005)
        yield self.call(day, 18, "POST", "/batch/store", {"remove": [self._remove(subject) for subject in removed]})
        yield self.call(day, 19, "POST", "/batch/store", {"remove": [subject.key for subject in self.gone[:1]]})

    def queued(self, subject: Subject) -> Record:
        """A change of an earlier day."""
        patch = {name: value for name, value in subject.first.items() if name != "internalCode"}
        return self.call(subject.since, 20, "PUT", f"/store/{quote(subject.key, safe='')}", patch)

    def flat(self, record: Record) -> Record:
        """Cells; decimals with a comma, as the spreadsheet that wrote them has it."""
        cells = {name: value for name, value in super().flat(record).items() if name != "creditLimit"}
        for name in ("latitude", "longitude"):
            if name in cells:
                cells[name] = str(cells[name]).replace(".", ",")
        return cells | ({"creditLimit": record["creditLimit"]} if "creditLimit" in record else {})

    def _routes(self, day: date) -> tuple[tuple[str, str, Callable[[Subject], Record | None]], ...]:
        user, other = f"+569{day:%m%d}0001", f"compras{day:%d}@correo.example"
        return (
            ("PUT", "/store/{code}", lambda subject: self._without_code(self.change(subject))),
            ("PUT", "/store/{code}/status", self._enabled),
            ("PUT", "/store/{code}/add/user", lambda subject: {"users": [user, other]}),
            ("PUT", "/store/{code}/remove/user", lambda subject: {"users": [user]}),
            ("POST", "/store/{code}/credit", lambda subject: {"amount": self._credit(subject)["creditLimit"]}),
            ("POST", "/store/{code}/debtor", lambda subject: None),
            ("POST", "/store/{code}/latepayer", lambda subject: None),
        )

    def _make(self, day: date, prefix: str = "B") -> Record:
        """A store that only a batch or a log creates."""
        outlet = self._outlets[self.rng.choice(sorted(self._outlets))]
        return _by_table(self.rng, outlet) | {"internalCode": f"{prefix}{day:%m%d}"}

    def _remove(self, subject: Subject) -> str:
        self.known.remove(subject)
        self.gone.append(subject)
        return subject.key

    @staticmethod
    def _without_code(record: Record) -> Record:
        return {name: value for name, value in record.items() if name != "internalCode"}

    def _credit(self, subject: Subject) -> Record:
        return {"creditLimit": price_in(self._outlets[subject.key].company.country, self.rng.randint(5, 90) * 100.0)}

    def _prices(self, subject: Subject) -> Record:
        return {
            "pricelistCode": f"LP{self.rng.randint(1, 6):02d}",
            "promotionGrouperCode": self.rng.choice(("0012", "0056")),
        }

    def _place(self, subject: Subject) -> Record:
        place = build_place(self.rng, self._outlets[subject.key].company.country)
        return {
            "latitude": _coordinate(self.rng, place.latitude, "NS"),
            "longitude": _coordinate(self.rng, place.longitude, "EO"),
        }

    def _address(self, subject: Subject) -> Record:
        place = build_place(self.rng, self._outlets[subject.key].company.country)
        return {"addresses": [{"address": place.line, "zipCode": place.city.zip_code}]}

    def _settings(self, subject: Subject) -> Record:
        return {"settings": {"allowPartialDelivery": self.rng.random() < 0.5, "latePayer": self.rng.random() < 0.2}}

    def _enabled(self, subject: Subject) -> Record:
        return {"enabled": not subject.record.get("enabled", True)}
