"""A message to a webhook that takes Slack's JSON, `{"text": ...}`.

Its URL is a secret: whoever has it can write. It is in no message, no log and no exception here.

Belongs here: sending, and trying again. Does not belong here: what is said and when (`orchestration.alerts`).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final

import httpx
import stamina
import stamina.instrumentation

# httpx names the whole URL at level INFO.
logging.getLogger("httpx").setLevel(logging.WARNING)
# Where structlog is installed stamina would print to standard output.
stamina.instrumentation.set_on_retry_hooks([])

_LONGEST: Final = 3_000
"""Characters; Slack cuts longer texts."""


class WebhookFailed(Exception):
    """The message was not taken; the text says why, without the URL."""


class _NotNow(Exception):
    """Worth another attempt."""


@dataclass(frozen=True)
class Patience:
    """How long to try.

    Attributes:
        attempts: at most so many.
        seconds: in all, at most.
        first_pause: seconds before the second attempt; each later pause is about twice as long.
        timeout: seconds for one attempt.
    """

    attempts: int = 4
    seconds: float = 15.0
    first_pause: float = 0.5
    timeout: float = 5.0


def send(url: str, text: str, patience: Patience | None = None) -> None:
    """Posts a text; tries again with growing pauses while the other side is away, busy or broken.

    Raises:
        WebhookFailed: it was refused, or the patience is over.
    """
    how = patience or Patience()
    body = {"text": text if len(text) <= _LONGEST else text[: _LONGEST - 4] + " ..."}
    try:
        for attempt in stamina.retry_context(
            on=_NotNow, attempts=how.attempts, timeout=how.seconds, wait_initial=how.first_pause, wait_max=8.0
        ):
            with attempt:
                _post(url, body, how.timeout)
    except _NotNow as fault:
        raise WebhookFailed(f"the webhook did not take it after {how.attempts} attempts at most: {fault}") from None


def _post(url: str, body: dict[str, str], timeout: float) -> None:
    try:
        status = httpx.post(url, json=body, timeout=timeout).status_code
    except httpx.TransportError as fault:
        # What an exception says may quote the URL, and so may the exceptions behind it.
        raise _NotNow(type(fault).__name__) from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as fault:
        raise WebhookFailed(f"the webhook cannot be asked: {type(fault).__name__}") from None
    if status == 429 or status >= 500:
        raise _NotNow(f"it answered {status}")
    if status >= 300:
        raise WebhookFailed(f"the webhook refused it: it answered {status}; check SYNC_ALERT_WEBHOOK")
