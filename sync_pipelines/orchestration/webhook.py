"""Messages to a webhook that accepts Slack's JSON, `{"text": ...}`.

Its URL is a secret: anyone who has it can post. No message, log or exception contains it.

Belongs here: sending, with retries. Does not belong here: texts, and when they are sent (`orchestration.alerts`).
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
# If structlog is installed, stamina would print to standard output.
stamina.instrumentation.set_on_retry_hooks([])

_LONGEST: Final = 3_000
"""Characters; Slack cuts longer texts."""


class WebhookFailed(Exception):
    """The webhook did not accept the message. The text has the reason, without the URL."""


class _Temporary(Exception):
    """An error that is worth a retry."""


@dataclass(frozen=True)
class Patience:
    """How long to retry.

    Attributes:
        attempts: the largest number of attempts.
        seconds: the longest time for all attempts.
        first_pause: seconds before the second attempt; each later pause is about twice as long.
        timeout: seconds for one attempt.
    """

    attempts: int = 4
    seconds: float = 15.0
    first_pause: float = 0.5
    timeout: float = 5.0


def send(url: str, text: str, patience: Patience | None = None) -> None:
    """Posts a text; retries with growing pauses while the server is down, busy or broken.

    Raises:
        WebhookFailed: the webhook rejected the text, or all attempts failed.
    """
    how = patience or Patience()
    body = {"text": text if len(text) <= _LONGEST else text[: _LONGEST - 4] + " ..."}
    try:
        for attempt in stamina.retry_context(
            on=_Temporary, attempts=how.attempts, timeout=how.seconds, wait_initial=how.first_pause, wait_max=8.0
        ):
            with attempt:
                _post(url, body, how.timeout)
    except _Temporary as error:
        raise WebhookFailed(
            f"the webhook did not accept the message after at most {how.attempts} attempts: {error}"
        ) from None


def _post(url: str, body: dict[str, str], timeout: float) -> None:
    try:
        status = httpx.post(url, json=body, timeout=timeout).status_code
    except httpx.TransportError as error:
        # The text of the exception, or of its causes, may contain the URL.
        raise _Temporary(type(error).__name__) from None
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        raise WebhookFailed(f"the webhook cannot be called: {type(error).__name__}") from None
    if status == 429 or status >= 500:
        raise _Temporary(f"status {status}")
    if status >= 300:
        raise WebhookFailed(f"the webhook rejected the message with status {status}; check SYNC_ALERT_WEBHOOK")
