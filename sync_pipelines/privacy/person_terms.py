"""A person to erase, by the key and the email addresses that a user typed, and the search for them in any text.

Unlike `erased_people`, which only has hashes, this has the values themselves, and only while a command runs.

Belongs here: what is looked for in a text. Does not belong here: places to look (`stages.person_search`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, BinaryIO, Final

from sync_pipelines.privacy.erased_people import DISTINCTIVE, emails_in, normal_email, normal_key

ERASED: Final = "[erased]"
IDENTITIES: Final = frozenset(
    {"external_id", "partner_record_id", "user_ref", "customer_external_id", "owner_identifier", "email", "value"}
)
"""Columns that identify people; a short key is only looked for there."""
_AT_ONCE: Final = 1 << 20
_OVERLAP: Final = 4096


@dataclass(frozen=True)
class Person:
    """The person to erase.

    Attributes:
        partner, tenant: of the customer.
        customer: key of the customer, or None.
        also_email: an email address of the person, or None.
        keeps_orders: whether the orders are kept, without personal values.
    """

    partner: str
    tenant: str
    customer: str | None
    also_email: str | None
    keeps_orders: bool = False

    @property
    def emails(self) -> list[str]:
        """The email addresses; a key that is one counts."""
        text = f"{self.also_email or ''} {self.customer or ''}"
        return list(dict.fromkeys(map(normal_email, emails_in(text))))

    @property
    def by_email(self) -> Person:
        """The person by email addresses only."""
        return replace(self, customer=None, also_email=" ".join(self.emails))

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """What to look for in a text: whole words, not parts of others."""
        start, word = r"(?:(?<![\w.+-])(?<!\w')|(?<=\\[nrtbf]))", r"[\w.@+#-]"
        parts = [f"(?i:{start}(?:{_spelled(email)})(?![\\w-]|\\.\\w))" for email in self.emails]
        key = normal_key(self.customer or "")
        if len(key) >= DISTINCTIVE:
            parts.append(rf"(?:(?<!{word})|(?<=\\[nrtbf]))(?:{_spelled(key)})(?![\w@#+-]|\.\w)")
        return re.compile("|".join(parts) or r"(?!)")

    @property
    def needles(self) -> list[str]:
        """Texts in lower case of which one is in every text or JSON that names the person."""
        words = {*self.emails, normal_key(self.customer or "")} - {""}
        return sorted({form.lower() for word in words for form in _forms(word)})

    def is_named(self, value: Any, column: str = "") -> bool:
        """Whether a value of a row, or of a document, names the person."""
        if isinstance(value, str):
            is_key = column in IDENTITIES and self.customer is not None
            return (is_key and normal_key(value) == normal_key(self.customer or "")) or bool(self.pattern.search(value))
        if isinstance(value, Mapping):
            return any(self.is_named(inner, name) for name, inner in value.items())
        return isinstance(value, list) and any(self.is_named(inner, column) for inner in value)

    def is_in_stream(self, content: BinaryIO) -> bool:
        """Whether a stream of UTF-8, or of another encoding with the letters of ASCII, names the person."""
        before = ""
        while block := content.read(_AT_ONCE):
            text = before + block.decode(errors="replace")
            if self.pattern.search(text):
                return True
            before = text[-_OVERLAP:]
        return False

    def without(self, node: Any) -> Any:
        """Returns a document in which the person is replaced by `[erased]`, as are the other texts of the row."""
        if isinstance(node, str):
            return self.pattern.sub(ERASED, node)
        if isinstance(node, list):
            return [self.without(inner) for inner in node]
        if not isinstance(node, dict):
            return node
        if isinstance(node.get("data"), dict) and self.is_named(node["data"]):
            return node | {"data": {name: ERASED if isinstance(v, str) else v for name, v in node["data"].items()}}
        return {self.pattern.sub(ERASED, name): self.without(inner) for name, inner in node.items()}


def _forms(text: str) -> dict[str, None]:
    """Returns a text as it is, and as in JSON."""
    return dict.fromkeys([text, json.dumps(text, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1]])


def _spelled(text: str) -> str:
    return "|".join(re.escape(form) for form in _forms(text))
