"""References by one text of a record, declared so that a whole column can be read at once.

Belongs here: the form of such a declaration, how long a reference may be. Does not belong here: references made of
several fields (use a partner's function), reading records (`normalize`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from sync_pipelines.contracts.streams import Identity, LinkResult

LONGEST_REFERENCE: Final = 2_000
"""Bytes of the longest key that always fits into an index entry."""


@dataclass(frozen=True)
class ByText:
    """A link by one text; callable as a `Link` for one record.

    Attributes:
        column: options -> the contract's attribute that refers to the row.
        form: (text, options) -> the external id it refers to; empty for no link.
        owner: (options, tenant) -> partner and tenant of the row.
        absent: the leniency for a record that refers to no row.
        rules: ids of the rules that it implements.
    """

    column: Callable[[Any], str]
    form: Callable[[str, Any], str]
    owner: Callable[[Any, str], tuple[str, str]]
    absent: str
    rules: tuple[str, ...]

    def __call__(self, values: Mapping[str, Any], options: Any, tenant: str) -> LinkResult:
        """Returns the reference of one record."""
        column = self.column(options)
        text = values.get(column)
        external_id = None if text is None else self.form(text, options)
        if not external_id:
            return LinkResult(column in values, None, self.absent)
        return LinkResult(True, Identity(*self.owner(options, tenant), external_id), column=column)


def is_too_long(referred: Identity) -> bool:
    """Whether a row's key is too long for PostgreSQL's index."""
    for part in referred:
        # A character has at most four bytes.
        if part is not None and len(part) * 4 > LONGEST_REFERENCE and len(part.encode()) > LONGEST_REFERENCE:
            return True
    return False
