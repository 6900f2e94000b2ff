"""What `sources.yaml` says of a pull: where the partner's API is, which variables hold the secrets, how patient to be.

Belongs here: those keys, their checks, secrets. Does not belong here: the rest of a source (`sources`), what a
listing is (`contracts.listing`), asking for it (`exports.pull`).
"""

from __future__ import annotations

import os
import re
from functools import cache
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, ByteSize, ConfigDict, Field, create_model, field_validator, model_validator

from sync_pipelines.contracts.listing import Listing
from sync_pipelines.errors import ConfigurationError

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,29}")


class Secret(BaseModel):
    """A secret, which is never written down: the name of the environment variable that holds it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    env: str

    @model_validator(mode="before")
    @classmethod
    def _never_written_down(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            # The value may be the secret, so no message repeats it.
            raise ValueError("a secret is not written down; it stands as {env: NAME_OF_A_VARIABLE}")
        return value

    def reveal(self) -> str:
        """The secret itself, without the white space around it.

        Raises:
            ConfigurationError: the variable is not set, or holds what no header can carry.
        """
        value = os.environ.get(self.env, "").strip()
        hint = "set it for every process that syncs; .env files are read for settings alone"
        if not value:
            raise ConfigurationError("secret_missing", f"the environment variable {self.env} is not set", hint)
        if not (value.isascii() and value.isprintable()):
            message = f"the environment variable {self.env} holds characters that no HTTP header can carry"
            raise ConfigurationError("secret_missing", message, hint)
        return value


class PullSettings(BaseModel):
    """How one tenant's listing is pulled; `pull_model` adds what the partner's listing declares.

    Attributes:
        url: of the API, without the listing's own path.
        scheme: stands before the credential that takes one; without it that is sent raw.
        timeout: seconds to wait for a connection, or for the next bytes of an answer.
        attempts: how often a page is asked for in all.
        wait: seconds before the second attempt; they double with each further one, plus up to as many at random.
        longest_wait: seconds no pause exceeds, whatever `Retry-After` asks for.
        seconds: that the whole pull may take.
        page_bytes: of one answer, once it is decompressed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str
    scheme: str | None = None
    timeout: float = Field(30, gt=0, le=3600)
    attempts: int = Field(5, ge=1, le=100)
    wait: float = Field(1, ge=0, le=3600)
    longest_wait: float = Field(60, ge=0, le=3600)
    seconds: float = Field(3600, gt=0)
    page_bytes: ByteSize = Field(ByteSize(256 * 1000**2), gt=0)

    @property
    def secrets(self) -> list[Secret]:
        """Every secret it names."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return [value for value in values if isinstance(value, Secret)]

    @field_validator("url")
    @classmethod
    def _address_alone(cls, value: str) -> str:
        # No message repeats the value: people write passwords into URLs.
        try:
            parts = urlsplit(value)
            sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            sound = False
        if not sound or not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("this is no URL; write it as in https://api.example.com/v1")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("only scheme, host and path belong into the URL, no password and no parameters")
        return value.rstrip("/")

    @field_validator("scheme")
    @classmethod
    def _one_word(cls, value: str | None) -> str | None:
        if value is not None and not _SCHEME.fullmatch(value):
            raise ValueError("a scheme is one word, such as Bearer; the token itself stands in a variable")
        return value


@cache
def pull_model(listing: Listing) -> type[PullSettings]:
    """The settings of a listing: the general ones, its secrets, its page size and its filters."""
    fields: dict[str, Any] = {listing.size: (int, Field(listing.size_limit, ge=1))}
    fields |= {credential.setting: (Secret, ...) for credential in listing.credentials}
    fields |= {name: (bool | None, None) for name in listing.filters}
    return create_model("PullSettings", __base__=PullSettings, **fields)
