"""Pulls a partner's listing: its pages, in order, as one JSON array of the records' original text.

Belongs here: requests, waiting and retries, the end of a listing, checks of a response. Does not belong here: which
endpoint a partner has (`partners`), where the export goes (`stages.pulls`).
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from itertools import count
from json import JSONDecodeError
from typing import Any, BinaryIO, Final, NamedTuple

import httpx
import stamina
import stamina.instrumentation

from sync_pipelines.configuration.pull_settings import PullSettings
from sync_pipelines.contracts.listing import Listing
from sync_pipelines.errors import ExportError
from sync_pipelines.exports.pages import Element, read_page
from sync_pipelines.privacy.redaction import redacted
from sync_pipelines.privacy.untrusted_text import on_one_line

log = logging.getLogger(__name__)

# If structlog is installed, stamina would print to standard output, which is for results of commands.
stamina.instrumentation.set_on_retry_hooks([])

_MESSAGE_LENGTH: Final = 300
_SECONDS: Final = re.compile(r"[0-9]{1,9}")
_ENTRANCE: Final = {401, 403}


def pull_listing(listing: Listing, settings: PullSettings, target: BinaryIO) -> int:
    """Writes every record of a listing to `target` as one JSON array and returns their number (N11).

    Records keep their original text, so that numbers keep their digits (X9). Of several records with one key, the first
    is used. The listing ends with a page that is short, empty, or starts with a record that was already seen.

    Raises:
        ConfigurationError: a secret's variable is not set.
        ExportError: `pull_failed` after the last attempt, `pull_refused`, `pull_unreadable`.
    """
    pull = _Pull(listing, settings)
    records = 0
    target.write(b"[")
    for text in pull.records():
        target.write(b",\n" if records else b"\n")
        target.write(text)
        records += 1
    target.write(b"\n]\n" if records else b"]\n")
    return records


class _NotNow(Exception):
    """The partner asks to retry later."""

    def __init__(self, message: str, seconds: float | None) -> None:
        super().__init__(message)
        self.seconds = seconds


class _Record(NamedTuple):
    """A record's text and its key, or None if it has none."""

    text: bytes
    key: str | None

    @property
    def identity(self) -> bytes:
        content = self.text if self.key is None else self.key.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(content, digest_size=16, person=b"text" if self.key is None else b"key").digest()


class _Pull:
    """One pass through a listing."""

    def __init__(self, listing: Listing, settings: PullSettings) -> None:
        self._listing = listing
        self._settings = settings
        self._url = settings.url + listing.path
        self._size = min(getattr(settings, listing.size), listing.size_limit)
        self._secrets = {c: getattr(settings, c.setting).reveal() for c in listing.credentials}
        self._seen: set[bytes] = set()
        self._until = time.monotonic() + settings.seconds
        self._connection: Any = None

    def records(self) -> Iterator[bytes]:
        """Yields the text of each record that is new."""
        with (
            httpx.Client(headers=self._headers(), timeout=self._settings.timeout) as client,
            self._hanging_up_in_time(),
        ):
            for number in count(self._listing.first_page):
                page = self._read(self._get(client, number), number)
                is_last = len(page) < self._size or page[0].identity in self._seen
                for record in page:
                    if record.key is None or record.identity not in self._seen:
                        yield record.text
                    self._seen.add(record.identity)
                if is_last:
                    return

    def _headers(self) -> dict[str, str]:
        scheme = f"{self._settings.scheme} " if self._settings.scheme else ""
        headers = {c.header: (scheme if c.takes_scheme else "") + secret for c, secret in self._secrets.items()}
        return {"Accept": "application/json", **headers}

    def _parameters(self, number: int) -> dict[str, str]:
        """Returns the query: integers and lower-case booleans, as the partner requires."""
        filters = {name: getattr(self._settings, name) for name in self._listing.filters}
        return {
            self._listing.size: str(self._size),
            self._listing.page: str(number),
            **{name: "true" if value else "false" for name, value in filters.items() if value is not None},
        }

    def _get(self, client: httpx.Client, number: int) -> bytes:
        """Returns a page's body; retries until it comes or the attempts are used up."""
        settings = self._settings
        attempts = stamina.retry_context(
            self._pause,
            attempts=settings.attempts,
            timeout=None,
            wait_initial=settings.wait,
            wait_max=settings.longest_wait,
            wait_jitter=settings.wait,
        )
        try:
            for attempt in attempts:
                with attempt:
                    return self._body(self._answer(client, number), number)
        except (httpx.HTTPError, _NotNow) as error:
            why = self._shown(error) or type(error).__name__
            message = f"page {number} of {self._url} failed after {settings.attempts} attempts: {why}"
            raise ExportError("pull_failed", message, "sync again later; nothing of this pull was kept") from None
        except (httpx.InvalidURL, UnicodeError) as error:
            raise ExportError("pull_refused", f"cannot send a request to {self._url}: {error}", "check url") from None
        raise AssertionError("stamina either returns or raises")

    def _answer(self, client: httpx.Client, number: int) -> httpx.Response:
        """Returns a response with its content. Reads in pieces: a server may send a byte a second, or without end.

        Raises:
            ExportError: `pull_failed` when the pull's time is over, `too_large`.
        """
        self._check_time(number)
        pieces, size = [], 0
        with client.stream(
            "GET", self._url, params=self._parameters(number), extensions={"trace": self._note_connection}
        ) as answer:
            for piece in answer.iter_bytes():
                self._check_time(number)
                pieces.append(piece)
                size += len(piece)
                if size > self._settings.page_bytes:
                    shown = self._settings.page_bytes.human_readable(decimal=True)
                    message = f"page {number} of {self._url} is larger than {shown}"
                    raise ExportError("too_large", message, "if that is expected, raise `page_bytes` of the pull")
        # The content is already decoded.
        headers = [(n, v) for n, v in answer.headers.items() if n not in ("content-encoding", "content-length")]
        return httpx.Response(answer.status_code, headers=headers, content=b"".join(pieces), request=answer.request)

    def _note_connection(self, event: str, info: Mapping[str, Any]) -> None:
        if event in ("connection.connect_tcp.complete", "connection.start_tls.complete"):
            self._connection = info["return_value"]

    @contextmanager
    def _hanging_up_in_time(self) -> Iterator[None]:
        """Closes the connection when the pull's time is over: a server may send one byte of a header per second."""
        timer = threading.Timer(self._settings.seconds, self._hang_up)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    def _hang_up(self) -> None:
        if self._connection is not None:
            with suppress(OSError):
                self._connection.get_extra_info("socket").shutdown(socket.SHUT_RDWR)

    def _check_time(self, number: int) -> None:
        if time.monotonic() > self._until:
            message = f"the pull was not finished after {self._settings.seconds:,.0f} seconds, at page {number}"
            raise ExportError("pull_failed", message, "if that is expected, raise `seconds` of the pull")

    def _pause(self, error: Exception) -> bool | float:
        """Returns whether to retry: after the usual pause, or after the seconds that the partner asks for."""
        if isinstance(error, _NotNow) and error.seconds is not None:
            answer: bool | float = min(error.seconds, self._settings.longest_wait)
        else:
            answer = isinstance(error, _NotNow | httpx.TransportError | httpx.DecodingError)
        if answer is not False:
            log.info("%s", on_one_line(redacted(f"{self._url}: {self._shown(error) or type(error).__name__}")))
        return answer

    def _body(self, response: httpx.Response, number: int) -> bytes:
        status = response.status_code
        if response.is_success:
            return response.content
        answer = self._answer_text(response.content)
        message = f"page {number} of {self._url}: the server answered {status}" + (f": {answer}" if answer else "")
        if status == httpx.codes.TOO_MANY_REQUESTS or status >= 500:
            raise _NotNow(message, _retry_after(response.headers.get("Retry-After")))
        names = [c.setting for c in self._listing.credentials]
        hint = f"check {', '.join(names)} and scheme" if status in _ENTRANCE else "check url and the server's answer"
        raise ExportError("pull_refused", message, hint)

    def _read(self, body: bytes, number: int) -> list[_Record]:
        """Returns the records of a page. An object in place of the list is one record."""
        where = f"page {number} of {self._url}"
        hint = "check url; if it is right, contact the partner"
        try:
            found = read_page(body.decode("utf-8-sig"), self._listing.records)
        except (UnicodeDecodeError, RecursionError, JSONDecodeError) as error:
            why = "it is nested too deeply" if isinstance(error, RecursionError) else self._shown(error)
            raise ExportError("pull_unreadable", f"{where} is not JSON: {why}", hint) from None
        if isinstance(found, Element):
            found = None if found.field(self._listing.key) is None else [found]
        if found is None:
            answer = self._answer_text(body)
            message = f"{where} has no list of records in {self._listing.records!r}"
            raise ExportError("pull_unreadable", message + (f"; the server says: {answer}" if answer else ""), hint)
        return [_Record(element.text.encode(), element.field(self._listing.key)) for element in found]

    def _answer_text(self, body: bytes) -> str:
        """Returns the text of an error response: the body's `message` with its errors, or the start of a text."""
        try:
            answer: Any = json.loads(body)
        except (ValueError, RecursionError):
            text = body[: 4 * _MESSAGE_LENGTH].decode(errors="replace")
            return "" if text.lstrip()[:1] in ("<", "{", "[") else self._shown(text)
        if not isinstance(answer, dict):
            return ""
        fields = {str(name).lower(): value for name, value in answer.items()}
        errors = fields.get("errors")
        details = [e for e in errors if isinstance(e, dict)] if isinstance(errors, list) else []
        parts = [fields.get("message") or fields.get("error"), *(e.get("message") for e in details)]
        return self._shown("; ".join(part for part in parts if isinstance(part, str)))

    def _shown(self, given: object) -> str:
        """Returns external text that is fit for a log: on one line, without secrets."""
        text = "".join(c if c.isprintable() else " " for c in str(given))
        for secret in self._secrets.values():
            text = text.replace(secret, "***")
        return " ".join(text.split())[:_MESSAGE_LENGTH]


def _retry_after(header: str | None) -> float | None:
    """Returns the seconds in a `Retry-After`, given as seconds or as a date; None if it is neither."""
    text = (header or "").strip()
    if _SECONDS.fullmatch(text):
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
