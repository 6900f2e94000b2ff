"""Possible damage in a file that no setting can fix.

Belongs here: damage that spreadsheets and programs do to values. Does not belong here: how values are written
(`values`), what would be rejected (`trial`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Final

from sync_pipelines.inspection.proposal import Proposal, kind_of
from sync_pipelines.inspection.sight import Seen, SeenColumn
from sync_pipelines.inspection.values import is_scientific

_CODES: Final = re.compile(
    r"(?i)(?:^|[\s_])(zip|postcode|postal|cp|codigo|code|sku|ean|upc|id|rut|phone|telefono|cep)(?:$|[\s_])"
)
_TWICE: Final = re.compile("Ã[\x80-\xbf©³±¡­º]|Â[°º¿¡]|â€")
_TOTAL: Final = re.compile(r"(?i)^\s*(sub\s?)?(total|totales|totais|gran total|grand total|suma|soma)\b")


def risks_in(seen: Seen, proposal: Proposal) -> Iterator[str]:
    """Yields sentences for people, each with a column and a position."""
    of_column = {column: name for name, column in proposal.fields.items()}
    for column in seen.columns.values():
        name = of_column.get(column.name)
        is_code = bool(_CODES.search(column.name)) or name in ("ProductId", "Sku")
        is_code = is_code or (name is not None and kind_of(proposal.stream, name) == "key")
        yield from _scientific(column)
        if is_code and seen.is_flat:
            yield from _lost_zeros(column)
        if broken := next((text for text in column.texts if _TWICE.search(text)), None):
            yield f"{column.name!r} looks decoded twice, such as {broken[:40]!r}: check how the file was made"
        if "\ufffd" in "".join(column.texts[:2_000]):
            yield f"{column.name!r} holds U+FFFD: letters were lost before the file arrived"
    yield from _totals(seen)


def _scientific(column: SeenColumn) -> Iterator[str]:
    found = [
        (p, v) for p, v in zip(column.positions, column.values, strict=True) if isinstance(v, str) and is_scientific(v)
    ]
    if found:
        place, text = found[0]
        yield (
            f"{column.name!r} has numbers with an exponent, such as {text} at {place}: "
            "a spreadsheet cut off digits; export the column as text"
        )


def _lost_zeros(column: SeenColumn) -> Iterator[str]:
    numbers = [
        value for value in column.values if isinstance(value, int | float | Decimal) and not isinstance(value, bool)
    ]
    if numbers and not column.texts:
        yield f"{column.name!r} holds numbers, not text: leading zeros of codes, if there were any, are lost"
        return
    plain = [text for text in column.texts if text.isdigit()]
    if len(plain) < 5 or len(plain) < len(column.texts) or any(text.startswith("0") for text in plain):
        return
    lengths = sorted({len(text) for text in plain})
    longest = sum(len(text) == lengths[-1] for text in plain)
    if len(lengths) == 2 and lengths[1] - lengths[0] == 1 and longest * 2 > len(plain) and lengths[1] >= 4:
        yield (
            f"most values of {column.name!r} have {lengths[1]} digits, some {lengths[0]}, and none begins with 0: "
            "leading zeros may be lost"
        )


def _totals(seen: Seen) -> Iterator[str]:
    if not seen.is_flat or not seen.columns:
        return
    for column in list(seen.columns.values())[:3]:
        for place, text in zip(column.positions[-3:], column.values[-3:], strict=True):
            if isinstance(text, str) and _TOTAL.match(text):
                yield (
                    f"row {place} looks like a total: exclude it with "
                    f"`skip: [{{column: {column.name}, matches: '{text.strip().split()[0]}*'}}]`"
                )
                return
