"""The people, products and shops that all partners' sample exports talk about.

Everything is drawn from the seed alone, each shop from its own stream of random numbers, so that one partner's
exports stay byte for byte the same when another partner's are added.

Belongs here: who exists and what they sell. Does not belong here: what happens to them over the days, and any
partner's field names.
"""

from __future__ import annotations

import random
import unicodedata
from dataclasses import dataclass

from sync_pipelines.sample import words
from sync_pipelines.sample.words import Country, Good

PEOPLE_PER_SHOP = 700
PRODUCTS_PER_SHOP = 240


@dataclass(frozen=True)
class Person:
    """A customer; `number` is the one the shop's other systems know them by."""

    number: str
    name: str
    email: str
    country: Country


@dataclass(frozen=True)
class Product:
    """One sellable variant; `dollars` is its list price before it is told in a country's currency."""

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


def random_for(seed: int, *names: str) -> random.Random:
    """The stream of random numbers of one part of the sample; no part's draws shift another's."""
    return random.Random("/".join((str(seed), *names)))


def build_shops(seed: int) -> tuple[Shop, Shop]:
    """The two shops: a grocer selling in four countries and a fashion house selling in all of them."""
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
