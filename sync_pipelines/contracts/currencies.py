"""Currencies: their ISO 4217 codes, and the signs that amounts are written with.

Belongs here: codes and signs. Does not belong here: amounts (`numbers`), field types (`fields`).
"""

from __future__ import annotations

from functools import cache
from typing import Final

# The library's data (CLDR) includes market names and predecessors that ISO never listed.
_NEVER_ISO: Final = frozenset("BAN BGM BGO BRZ CNH CNX KRH KRO MCF MDC MKN VNN YUR".split())

CURRENCY_SIGN: Final = r"(?:[A-Z]{0,3}[$¢-¥֏؋৲৳฿៛₠-⃀﷼]|S/\.?|B/\.?|Bs\.?[SF]?|Gs\.?|Q|Kč|zł|kr\.?|Ft|lei|Fr\.?)"
"""A pattern of signs and local abbreviations, such as `$`, `R$`, `US$`, `S/` or `Bs.`, in any case."""


@cache
def known_currencies() -> frozenset[str]:
    """Returns the ISO 4217 codes, including withdrawn ones: exports go back years (O2)."""
    from babel.numbers import list_currencies

    return frozenset(list_currencies()) - _NEVER_ISO
