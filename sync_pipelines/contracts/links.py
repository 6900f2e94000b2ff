"""References by one text of a record, declared so that a column of them is read at once.

Belongs here: what such a declaration can say. Does not belong here: references made of several fields (a partner's
function serves for those), reading records (`normalize`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sync_pipelines.contracts.streams import Identity, LinkResult


@dataclass(frozen=True)
class ByText:
    """A link by one text; a `Link` for one record.

    Attributes:
        column: options -> the contract's attribute that names the row.
        form: (text, options) -> the external id it means; empty for no link.
        owner: (options, tenant) -> partner and tenant of the row.
        absent: the leniency of a record that names no row.
        rules: the ids of the rules it carries out.
    """

    column: Callable[[Any], str]
    form: Callable[[str, Any], str]
    owner: Callable[[Any, str], tuple[str, str]]
    absent: str
    rules: tuple[str, ...]

    def __call__(self, values: Mapping[str, Any], options: Any, tenant: str) -> LinkResult:
        """What one record says of the reference."""
        column = self.column(options)
        text = values.get(column)
        external_id = None if text is None else self.form(text, options)
        if not external_id:
            return LinkResult(column in values, None, self.absent)
        return LinkResult(True, Identity(*self.owner(options, tenant), external_id), column=column)
