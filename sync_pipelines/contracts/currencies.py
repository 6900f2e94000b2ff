"""Currencies: their ISO 4217 codes, and the signs amounts are written with.

Belongs here: what stands for a currency. Does not belong here: amounts (`numbers`), field types (`fields`).
"""

from __future__ import annotations

from functools import cache
from typing import Final

# The data the library has (CLDR) knows market names and predecessors that ISO never listed.
_NEVER_ISO: Final = frozenset("BAN BGM BGO BRZ CNH CNX KRH KRO MCF MDC MKN VNN YUR".split())

CURRENCY_SIGN: Final = r"(?:[A-Z]{0,3}[$¢-¥֏؋৲৳฿៛₠-⃀﷼]|S/\.?|B/\.?|Bs\.?[SF]?|Gs\.?|Q|Kč|zł|kr\.?|Ft|lei|Fr\.?)"
"""A pattern of signs and local abbreviations, such as `$`, `R$`, `US$`, `S/` or `Bs.`, whatever their case."""


@cache
def known_currencies() -> frozenset[str]:
    """The ISO 4217 codes, those withdrawn included: exports reach back years (O2)."""
    from babel.numbers import list_currencies

    return frozenset(list_currencies()) - _NEVER_ISO
