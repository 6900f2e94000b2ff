"""Messages to a webhook: taken, tried again, given up; its URL is in nothing that anybody reads."""

from __future__ import annotations

import logging
import traceback

import pytest

from sync_pipelines.orchestration.webhook import Patience, WebhookFailed, send
from sync_pipelines_tests.webhook_server import webhook

QUICK = Patience(attempts=3, seconds=5, first_pause=0.01, timeout=1)


def test_a_text_is_sent_as_slack_takes_it() -> None:
    with webhook() as hook:
        send(hook.url, "hello", QUICK)
    assert hook.told == [{"text": "hello"}]


def test_a_long_text_is_cut() -> None:
    with webhook() as hook:
        send(hook.url, "x" * 10_000, QUICK)
    assert len(hook.texts[0]) == 3_000
    assert hook.texts[0].endswith(" ...")


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_tried_again(status: int) -> None:
    with webhook() as hook:
        hook.answers = [status, status]
        send(hook.url, "hello", QUICK)
    assert hook.texts == ["hello"] * 3


def test_it_gives_up() -> None:
    with webhook() as hook:
        hook.answers = [503] * 9
        with pytest.raises(WebhookFailed, match="503"):
            send(hook.url, "hello", QUICK)
    assert len(hook.told) == 3


@pytest.mark.parametrize("status", [302, 400, 403, 404])
def test_a_refusal_is_not_tried_again(status: int) -> None:
    with webhook() as hook:
        hook.answers = [status]
        with pytest.raises(WebhookFailed, match=f"{status}; check SYNC_ALERT_WEBHOOK"):
            send(hook.url, "hello", QUICK)
    assert len(hook.told) == 1


@pytest.mark.parametrize(
    "url",
    ["http://127.0.0.1:1/services/s3cret", "http://no.such.host.invalid/s3cret", "http://[s3cret/", "gopher://s3cret"],
)
def test_the_url_is_never_shown(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with pytest.raises(WebhookFailed) as caught:
        send(url, "hello", QUICK)
    assert "s3cret" not in "".join(traceback.format_exception_only(caught.value))
    assert caught.value.__suppress_context__
    assert "s3cret" not in caplog.text


def test_a_message_that_was_taken_leaves_no_url_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with webhook() as hook:
        send(hook.url, "hello", QUICK)
    assert "s3cret" not in caplog.text
