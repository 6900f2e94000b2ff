"""People whose data was erased: `archive/erasures.json`, and whether a text names one of them.

The file has a secret key and, for each person, keyed hashes of what identifies them, so it names nobody. It is next to
the exports it applies to, because an archive without its database must stay without these people too. `sync.erasures`
shows the same list.

Belongs here: the file and the comparison of texts. Does not belong here: what is dropped of a record
(`normalize.erasure`), the command (`stages.erase`).
"""

from __future__ import annotations

import json
import re
import secrets
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Final, Literal

from sync_pipelines.privacy.private_files import private_folder, write_private

FILE: Final = "erasures.json"
DISTINCTIVE: Final = 6
"""Shortest key that is looked for in any text; shorter ones only in fields that identify people."""
_EMAIL: Final = re.compile(r"""[^\s"<>()\[\]{},;:\\/|=&?]+@[^\s"'<>()\[\]{},;:\\/|=&?@]+""")
_WORD: Final = re.compile(rf"[\w.@+#-]{{{DISTINCTIVE},}}")
_EDGES: Final = ".-#+"

Kind = Literal["customer", "email"]
Scope = tuple[str, str]
"""A partner and a tenant."""


@dataclass(frozen=True)
class Erasure:
    """One person, or one way to identify one.

    Attributes:
        partner, tenant: whose records are read without the person.
        kind: what identifies the person.
        subject: keyed hash of the key or the email address.
        keeps_orders: whether the person's orders are kept without personal values.
        reason, erased_by, erased_at: why, who and when (ISO 8601).
        lifted_at: when it was lifted; None while it holds.
    """

    partner: str
    tenant: str
    kind: Kind
    subject: str
    keeps_orders: bool
    reason: str
    erased_by: str
    erased_at: str
    lifted_at: str | None = None

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What makes it the same erasure."""
        return self.partner, self.tenant, self.kind, self.subject


@dataclass(frozen=True)
class ErasedPeople:
    """The content of the file.

    Attributes:
        secret: the key of the hashes, in hexadecimal.
        erasures: all of them, lifted ones included.
    """

    secret: str = field(default_factory=lambda: secrets.token_hex(32), repr=False)
    erasures: tuple[Erasure, ...] = ()

    @property
    def changes(self) -> int:
        """How many erasures there were, and how many were lifted. It only grows."""
        return len(self.erasures) + sum(erasure.lifted_at is not None for erasure in self.erasures)

    def subject_of(self, kind: Kind, text: str) -> str:
        """Returns the keyed hash of a key or an email address."""
        return _hashed(bytes.fromhex(self.secret), kind, normal_key(text) if kind == "customer" else normal_email(text))

    def active(self, scopes: Iterable[Scope]) -> list[Erasure]:
        """Returns the erasures that hold for some scopes."""
        wanted = set(scopes)
        return [e for e in self.erasures if e.lifted_at is None and (e.partner, e.tenant) in wanted]

    def with_added(self, added: Iterable[Erasure]) -> ErasedPeople:
        """Returns the people with further ones. An erasure that already holds stays; its orders may be dropped now."""
        new = {erasure.identity: erasure for erasure in added}
        held = {e.identity for e in self.erasures if e.lifted_at is None}
        kept = [
            replace(e, keeps_orders=e.keeps_orders and new[e.identity].keeps_orders)
            if e.lifted_at is None and e.identity in new
            else e
            for e in self.erasures
        ]
        return replace(self, erasures=(*kept, *(e for e in new.values() if e.identity not in held)))

    def with_lifted(self, identities: Iterable[tuple[str, str, str, str]], at: str) -> ErasedPeople:
        """Returns the people with some erasures lifted."""
        wanted = set(identities)
        return replace(
            self,
            erasures=tuple(
                replace(e, lifted_at=at) if e.lifted_at is None and e.identity in wanted else e for e in self.erasures
            ),
        )

    def those_of(self, scopes: Iterable[Scope]) -> Subjects | None:
        """Returns what identifies the people erased in some scopes, or None if nobody was."""
        found = self.active(scopes)
        return Subjects(bytes.fromhex(self.secret), found) if found else None


class Subjects:
    """Identifies erased people in texts.

    Each question returns None if a text names nobody, else whether the person's orders are kept.

    Args:
        secret: the key of the hashes.
        erasures: those to look for.
    """

    def __init__(self, secret: bytes, erasures: Iterable[Erasure]) -> None:
        self._secret = secret
        self._keeps: dict[str, bool] = {}
        kinds = set()
        for erasure in erasures:
            kinds.add(erasure.kind)
            self._keeps[erasure.subject] = self._keeps.get(erasure.subject, True) and erasure.keeps_orders
        self._has_keys = "customer" in kinds
        self._has_emails = "email" in kinds

    def by_key(self, text: str) -> bool | None:
        """Looks up a whole text as a key."""
        return self._keeps.get(_hashed(self._secret, "customer", normal_key(text))) if self._has_keys else None

    def by_email(self, text: str) -> bool | None:
        """Looks up the email addresses in a text."""
        if not self._has_emails or "@" not in text:
            return None
        return self._first({normal_email(text), *map(normal_email, emails_in(text))}, "email")

    def in_text(self, text: str) -> bool | None:
        """Looks up the email addresses and the distinctive words in a text."""
        found = self.by_email(text)
        if found is not None or not self._has_keys or len(text) < DISTINCTIVE:
            return found
        words = {normal_key(text)}
        if len(text) > DISTINCTIVE:
            words |= {form for word in _WORD.findall(text) for form in (word, word.strip(_EDGES))}
        return self._first((normal_key(word) for word in words if len(word) >= DISTINCTIVE), "customer")

    def in_identity(self, text: str) -> bool | None:
        """Looks up a field that identifies a person, in which a key of any length counts."""
        found = self.by_key(text)
        return self.in_text(text) if found is None else found

    def _first(self, texts: Iterable[str], kind: Kind) -> bool | None:
        return next((k for t in texts if (k := self._keeps.get(_hashed(self._secret, kind, t))) is not None), None)


def normal_key(text: str) -> str:
    """Returns a key in the form that is compared."""
    return unicodedata.normalize("NFC", text).strip()


def normal_email(text: str) -> str:
    """Returns an email address in the form that is compared."""
    return unicodedata.normalize("NFC", text).strip().strip(".").casefold()


def emails_in(text: str) -> Iterator[str]:
    """Yields the email addresses in a text."""
    # A quote is a part of a name, as in o'neil, unless it begins the word.
    yield from (found.lstrip("'") for found in _EMAIL.findall(text))


def read_erased_people(archive: Path) -> ErasedPeople | None:
    """Returns the people erased from an archive, or None if nobody ever was.

    Raises:
        OSError, ValueError: the file cannot be read.
    """
    try:
        content = json.loads((archive / FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    return ErasedPeople(content["secret"], tuple(Erasure(**erasure) for erasure in content["erasures"]))


def write_erased_people(archive: Path, people: ErasedPeople) -> None:
    """Replaces the file, readable only by its owner."""
    private_folder(archive)
    content = {"secret": people.secret, "erasures": [asdict(erasure) for erasure in people.erasures]}
    write_private(archive / FILE, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def _hashed(secret: bytes, kind: Kind, text: str) -> str:
    given = f"{kind}\0{text}".encode(errors="surrogatepass")
    return blake2b(given, key=secret, digest_size=16).hexdigest()
