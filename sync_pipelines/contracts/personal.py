"""Which fields of a contract hold personal data, as markers of their types.

A field without a marker is plain, but an e-mail address in it is masked. Objects (`JsonObject`) and fields that are not
in the contract are personal unless they are marked `PLAIN`.

Belongs here: the markers. Does not belong here: which field has which (`partners`), masking (`privacy.masking`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["plain", "text", "email", "phone", "contact"]
"""`text` is masked word by word; `contact` is a phone number, an e-mail address or any other text."""


@dataclass(frozen=True)
class Personal:
    """Annotation: how values of a field are masked where they are displayed by default."""

    kind: Kind


PLAIN: Final = Personal("plain")
"""No personal data; for an object that would count as personal."""
NAME: Final = Personal("text")
"""The name of a person, or of a company that may be a person's."""
ADDRESS: Final = Personal("text")
"""A part of an address that shows where somebody is."""
LEGAL_ID: Final = Personal("text")
"""A tax or legal id, of a person or of a company that may be a person's."""
EMAIL: Final = Personal("email")
"""An e-mail address."""
PHONE: Final = Personal("phone")
"""A telephone number."""
CONTACT: Final = Personal("contact")
"""A telephone number, an e-mail address or another way to reach a person."""
OBJECT: Final = Personal("contact")
"""An object that may hold anything."""
