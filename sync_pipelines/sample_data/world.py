"""The people, products and shops in all partners' sample exports.

Everything depends on the seed only. Each shop has its own stream of random numbers, so that one partner's exports do
not change when another partner's are added.

Belongs here: people, companies, shops and what they sell. Does not belong here: changes over the days, and any
partner's field names.
"""

from __future__ import annotations

import random
import unicodedata
from dataclasses import dataclass

from sync_pipelines.sample_data import words
from sync_pipelines.sample_data.words import City, Country, Good

PEOPLE_PER_SHOP = 700
PRODUCTS_PER_SHOP = 240
COMPANIES = 60
OUTLETS = 240


@dataclass(frozen=True)
class Person:
    """A customer; `number` identifies them in the shop's other systems."""

    number: str
    name: str
    email: str
    country: Country


@dataclass(frozen=True)
class Product:
    """A product variant; `dollars` is its list price before conversion to a country's currency."""

    product_id: str
    sku: str
    brand: str
    size: str | None
    color: str | None
    dollars: float


@dataclass(frozen=True)
class Shop:
    """A tenant: its GUID, a short code that its numbers begin with, its customers and goods."""

    tenant: str
    code: str
    people: tuple[Person, ...]
    products: tuple[Product, ...]


@dataclass(frozen=True)
class Place:
    """An address; coordinates have six decimals."""

    city: City
    street: str
    number: int
    latitude: float
    longitude: float

    @property
    def line(self) -> str:
        """The address on one line."""
        return f"{self.street} {self.number}, {self.city.name}"


@dataclass(frozen=True)
class Company:
    """A small company: a commerce at one partner, a business at another, the owner of stores at a third."""

    code: str
    name: str
    legal_name: str
    tax_id: str
    country: Country
    place: Place
    owner: str


@dataclass(frozen=True)
class Outlet:
    """A store of a company; its code is padded with zeros, as in an ERP."""

    code: str
    company: Company
    place: Place


def random_for(seed: int, *names: str) -> random.Random:
    """Returns the random numbers of one part of the sample, which are independent of the other parts."""
    return random.Random("/".join((str(seed), *names)))


def build_shops(seed: int) -> tuple[Shop, Shop]:
    """Returns the two shops: a grocer selling in four countries and a fashion house selling in all of them."""
    grocer = _build_shop(
        seed, "3f0c9a52-6b1e-4d7a-9c35-8e2d41b7a6f0", "MA", words.GROCERY_BRANDS, words.GROCERY_GOODS, "CL PE AR EC"
    )
    fashion = _build_shop(
        seed, "b8d21e74-05c9-4f63-a1de-7730c4e95b18", "CT", words.FASHION_BRANDS, words.FASHION_GOODS, "BR MX CO CL EC"
    )
    return grocer, fashion


def _build_shop(
    seed: int, tenant: str, code: str, brands: tuple[str, ...], goods: tuple[Good, ...], codes: str
) -> Shop:
    rng = random_for(seed, "shop", code)
    countries = [country for country in words.COUNTRIES if country.code in codes.split()]
    people = tuple(_build_person(rng, code, number, countries) for number in range(1, PEOPLE_PER_SHOP + 1))
    products = tuple(_build_product(rng, number, brands, goods) for number in range(1, PRODUCTS_PER_SHOP + 1))
    return Shop(tenant, code, people, products)


def build_companies(seed: int) -> tuple[Company, ...]:
    """Returns the companies, from several countries."""
    rng = random_for(seed, "companies")
    return tuple(_build_company(rng, number) for number in range(1, COMPANIES + 1))


def build_outlets(seed: int) -> tuple[Outlet, ...]:
    """Returns the stores of those companies: one or many for each, in cities of the company's country."""
    rng, companies = random_for(seed, "outlets"), build_companies(seed)
    owners = [rng.choice(companies[: COMPANIES * 2 // 3]) for _ in range(OUTLETS)]
    return tuple(Outlet(f"{number * 7:06d}", owner, build_place(rng, owner.country))
                 for number, owner in enumerate(owners, start=1))  # fmt: skip


def build_place(rng: random.Random, country: Country) -> Place:
    """A place in a city of the country."""
    city = rng.choice([city for city in words.CITIES if city.country == country.code] or words.CITIES)
    near = (round(degrees + rng.uniform(-0.05, 0.05), 6) for degrees in (city.latitude, city.longitude))
    return Place(city, rng.choice(words.STREETS), rng.randint(1, 8999), *near)


def phone_in(rng: random.Random, city: City) -> str:
    """A telephone number of the city."""
    return f"{city.dial}{rng.randint(2_000_000, 9_999_999)}"


def _build_company(rng: random.Random, number: int) -> Company:
    homes = {city.country for city in words.CITIES}
    country = rng.choice([country for country in words.COUNTRIES if country.code in homes])
    name = f"{rng.choice(words.TRADES)} {rng.choice(words.TRADE_NAMES)}"
    owner = f"{rng.choice(words.FIRST_NAMES)} {rng.choice(words.LAST_NAMES)}"
    suffix = {"BR": "Ltda.", "MX": "S.A. de C.V.", "AR": "S.R.L."}.get(country.code, "SpA")
    legal = f"Comercial {rng.choice(words.LAST_NAMES)} y {rng.choice(words.LAST_NAMES)} {suffix}"
    place = build_place(rng, country)
    return Company(f"com-{number:04d}", name, legal, _tax_id(rng, country.code), country, place, owner)


def _tax_id(rng: random.Random, code: str) -> str:
    """A tax number as written there; Chile's and Colombia's begin with zeros and end in a check digit."""
    digits = rng.randint(5_000_000, 99_999_999)
    match code:
        case "AR":
            return f"30-{digits:08d}-{rng.randint(0, 9)}"
        case "BR":
            text = f"{digits:08d}"
            return f"{text[:2]}.{text[2:5]}.{text[5:]}/0001-{rng.randint(10, 99)}"
        case "MX":
            founded = f"{rng.randint(60, 99)}{rng.randint(1, 9):02d}{rng.randint(1, 28):02d}"
            return f"{rng.choice(('PAN', 'ABA', 'FER'))}{founded}{digits % 1000:03d}"
        case _:
            return f"{digits:09d}-{_check_digit(digits)}"


def _check_digit(number: int) -> str:
    """The last sign of a Chilean tax number: modulo 11, ten written as K."""
    weights = (2, 3, 4, 5, 6, 7)
    total = sum(int(digit) * weights[place % 6] for place, digit in enumerate(reversed(str(number))))
    return "0K987654321"[total % 11]


def _build_person(rng: random.Random, code: str, number: int, countries: list[Country]) -> Person:
    first, last = rng.choice(words.FIRST_NAMES), rng.choice(words.LAST_NAMES)
    email = f"{_plain(first)}.{_plain(last)}{number}@{rng.choice(words.MAIL_DOMAINS)}".lower()
    return Person(f"{code}{number:05d}", f"{first} {last}", email, rng.choice(countries))


def _build_product(rng: random.Random, number: int, brands: tuple[str, ...], goods: tuple[Good, ...]) -> Product:
    good = rng.choice(goods)
    size = rng.choice(good.sizes) if good.sizes else None
    color = rng.choice(good.colors) if good.colors else None
    dollars = good.low + (good.high - good.low) * rng.random()
    return Product(f"{good.code}-{number:04d}", f"{good.code}{number:04d}-{rng.randint(10, 99)}", rng.choice(brands),
                   size, color, dollars)  # fmt: skip


def _plain(text: str) -> str:
    decomposed = unicodedata.normalize("NFKD", text)
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


def price_in(country: Country, dollars: float) -> int | float:
    """A price in the country's currency, on its usual step: whole pesos stay integers, others have cents."""
    price = max(1, round(dollars * country.rate / country.step)) * country.step
    return int(price) if country.step >= 1 else round(price, 2)
