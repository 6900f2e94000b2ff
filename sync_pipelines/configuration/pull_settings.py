"""The keys of `pull` in `sources.yaml`: address of the partner's API, variables with secrets, timeouts and retries.

Belongs here: those keys, errors in their values, secrets. Does not belong here: the other keys of a source (`sources`),
the declaration of a listing (`contracts.listing`), requesting it (`exports.pull`).
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
    """The name of the environment variable that holds a secret."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    env: str

    @model_validator(mode="before")
    @classmethod
    def _never_written_down(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            # The value may be the secret, so the message does not repeat it.
            raise ValueError("a secret must not be in the file; write {env: NAME_OF_A_VARIABLE} instead")
        return value

    def reveal(self) -> str:
        """Returns the secret, without surrounding white space.

        Raises:
            ConfigurationError: the variable is not set, or has characters that no HTTP header can have.
        """
        value = os.environ.get(self.env, "").strip()
        hint = "set it for every process that syncs; .env files are read only for settings"
        if not value:
            raise ConfigurationError("secret_missing", f"the environment variable {self.env} is not set", hint)
        if not (value.isascii() and value.isprintable()):
            message = f"the environment variable {self.env} has characters that no HTTP header can have"
            raise ConfigurationError("secret_missing", message, hint)
        return value


class PullSettings(BaseModel):
    """How one tenant's listing is pulled; `pull_model` adds what the partner's listing declares.

    Attributes:
        url: address of the API, without the listing's own path.
        scheme: precedes the credential that takes one, such as `Bearer`; without it the credential is sent unchanged.
        timeout: seconds to wait for a connection, or for the next bytes of a response.
        attempts: most requests for one page.
        wait: seconds before the second attempt; doubled for each further one, plus a random time of up to as much.
        longest_wait: most seconds of a pause, whatever `Retry-After` says.
        seconds: most seconds for the whole pull.
        page_bytes: most bytes of one decompressed response.
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
        """All secrets in these settings."""
        values = (getattr(self, name) for name in type(self).model_fields)
        return [value for value in values if isinstance(value, Secret)]

    @field_validator("url")
    @classmethod
    def _address_alone(cls, value: str) -> str:
        # The message does not repeat the value: people write passwords into URLs.
        try:
            parts = urlsplit(value)
            sound = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            sound = False
        if not sound or not value.isascii() or not value.isprintable() or " " in value:
            raise ValueError("invalid URL; use a URL such as https://api.example.com/v1")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError("the URL may have only scheme, host and path, no password and no parameters")
        return value.rstrip("/")

    @field_validator("scheme")
    @classmethod
    def _one_word(cls, value: str | None) -> str | None:
        if value is not None and not _SCHEME.fullmatch(value):
            raise ValueError("a scheme is one word, such as Bearer; put the token into an environment variable")
        return value


@cache
def pull_model(listing: Listing) -> type[PullSettings]:
    """Returns the model of a listing's settings: the general ones, its secrets, its page size and its filters."""
    fields: dict[str, Any] = {listing.size: (int, Field(listing.size_limit, ge=1))}
    fields |= {credential.setting: (Secret, ...) for credential in listing.credentials}
    fields |= {name: (bool | None, None) for name in listing.filters}
    return create_model("PullSettings", __base__=PullSettings, **fields)
