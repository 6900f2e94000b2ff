"""Which fields of a contract hold personal data, as markers of their types.

A field without a marker is plain; an e-mail address is masked in it all the same. Objects (`JsonObject`) and fields the
contract does not know are personal unless they are marked `PLAIN`.

Belongs here: the markers. Does not belong here: which field has which (`partners`), masking (`privacy.masking`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["plain", "text", "email", "phone", "contact"]
"""`text` is masked word by word; `contact` is a phone number, an e-mail address or any other text."""


@dataclass(frozen=True)
class Personal:
    """Annotation: how values of a field are masked where people see them unasked."""

    kind: Kind


PLAIN: Final = Personal("plain")
"""Nothing of a person; for an object that would count as personal."""
NAME: Final = Personal("text")
"""The name of a person, or of a company that may be one."""
ADDRESS: Final = Personal("text")
"""A part of an address that tells where somebody is."""
LEGAL_ID: Final = Personal("text")
"""A tax or legal id, of a person or of a company that may be one."""
EMAIL: Final = Personal("email")
"""An e-mail address."""
PHONE: Final = Personal("phone")
"""A telephone number."""
CONTACT: Final = Personal("contact")
"""A telephone number, an e-mail address or another way to reach a person."""
OBJECT: Final = Personal("contact")
"""An object in which anything may stand."""
