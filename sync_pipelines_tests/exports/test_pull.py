"""The mechanism of a pull, against a real HTTP server: when it ends, when it waits, when it gives up (N11)."""

from __future__ import annotations

import gzip
import io
import json
import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from sync_pipelines.configuration.pull_settings import PullSettings, pull_model
from sync_pipelines.errors import ConfigurationError, ExportError
from sync_pipelines.exports.pull import pull_listing
from sync_pipelines.partners.nilo import STORES
from sync_pipelines_tests.listing_server import (
    ENVIRONMENT,
    KEY,
    TOKEN,
    Answer,
    Partner,
    pull_of,
    served,
    store,
    stores,
)

assert STORES.pull is not None
LISTING = STORES.pull


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def partner() -> Iterator[Partner]:
    with served() as running:
        yield running


def settings(partner: Partner, **changes: Any) -> PullSettings:
    return pull_model(LISTING).model_validate(pull_of(partner, **changes))


def text(partner: Partner, **changes: Any) -> bytes:
    target = io.BytesIO()
    count = pull_listing(LISTING, settings(partner, **changes), target)
    assert len(json.loads(target.getvalue())) == count
    return target.getvalue()


def codes(partner: Partner, **changes: Any) -> list[Any]:
    return [record["internalCode"] for record in json.loads(text(partner, **changes))]


def fault(partner: Partner, **changes: Any) -> ExportError:
    with pytest.raises(ExportError) as caught:
        pull_listing(LISTING, settings(partner, **changes), io.BytesIO())
    assert KEY not in str(caught.value) and TOKEN not in str(caught.value)
    return caught.value


def numbered(first: int, last: int) -> list[str]:
    return [f"S{n:04d}" for n in range(first, last + 1)]


# -- pages ---------------------------------------------------------------------------------------------------------


def test_N11_every_page_up_to_a_short_one(partner: Partner) -> None:
    partner.list(stores(1, 120))
    assert codes(partner) == numbered(1, 120)
    assert partner.numbers == ["1", "2", "3"]


def test_N11_a_short_first_page_is_the_only_one(partner: Partner) -> None:
    partner.list(stores(1, 7))
    assert codes(partner) == numbered(1, 7)
    assert partner.numbers == ["1"]


def test_N11_an_exact_multiple_ends_with_an_empty_page(partner: Partner) -> None:
    partner.list(stores(1, 100))
    assert codes(partner) == numbered(1, 100)
    assert partner.numbers == ["1", "2", "3"]


def test_N11_an_empty_listing(partner: Partner) -> None:
    assert text(partner) == b"[]\n"
    assert partner.numbers == ["1"]


def test_N11_a_page_whose_first_code_was_seen_is_the_last(partner: Partner) -> None:
    partner.pages = dict.fromkeys(range(1, 100), stores(1, 50))
    assert codes(partner) == numbered(1, 50)
    assert partner.numbers == ["1", "2"]


def test_N11_pages_without_codes_that_repeat_end_too(partner: Partner) -> None:
    partner.pages = {number: [{"name": f"no code {n}"} for n in range(50)] for number in range(1, 100)}
    assert len(json.loads(text(partner))) == 100
    assert partner.numbers == ["1", "2"]


def test_N11_of_one_code_on_several_pages_the_first_is_taken(partner: Partner) -> None:
    partner.pages = {1: stores(1, 50), 2: [store("S0051"), store("S0002", name="again"), store(" S0003 ")]}
    pulled = json.loads(text(partner))
    assert [record["internalCode"] for record in pulled] == numbered(1, 51)
    assert pulled[1]["name"] == "Store S0002"


def test_N11_a_number_and_a_text_are_one_code(partner: Partner) -> None:
    partner.pages = {1: [store(17), store("17"), store(18), {"InternalCode": "18"}]}
    assert [record.get("internalCode") for record in json.loads(text(partner))] == [17, 18]


def test_N11_records_without_a_code_are_left_to_the_load(partner: Partner) -> None:
    partner.answers = [
        Answer(
            b'[{"name": "a"}, {"name": "a"}, 7, null, {"internalCode": ""}, {"internalCode": NaN, "name": "\\ud800"}]'
        )
    ]
    assert len(json.loads(text(partner))) == 6


@pytest.mark.parametrize(
    ("changes", "query"),
    [
        ({}, {"take": "50", "page": "1"}),
        ({"take": 500}, {"take": "50", "page": "1"}),
        ({"take": 10, "enabled": True}, {"take": "10", "page": "1", "enabled": "true"}),
        ({"enabled": False}, {"take": "50", "page": "1", "enabled": "false"}),
    ],
)
def test_N11_what_is_asked(partner: Partner, changes: dict[str, Any], query: dict[str, str]) -> None:
    text(partner, **changes)
    (asked,) = partner.asked
    assert (asked.path, asked.query) == ("/dev/store", query)


def test_N11_a_smaller_take_makes_smaller_pages(partner: Partner) -> None:
    partner.list(stores(1, 25), size=10)
    assert codes(partner, take=10) == numbered(1, 25)
    assert partner.numbers == ["1", "2", "3"]


@pytest.mark.parametrize(("scheme", "sent"), [({}, TOKEN), ({"scheme": "Bearer"}, f"Bearer {TOKEN}")])
def test_N11_both_credentials_are_sent(partner: Partner, scheme: dict[str, str], sent: str) -> None:
    partner.list(stores(1, 60))
    text(partner, **scheme)
    assert len(partner.asked) == 2
    for asked in partner.asked:
        headers = {name.lower(): value for name, value in asked.headers.items()}
        assert (headers["x-api-key"], headers["authorization"]) == (KEY, sent)


def test_N11_white_space_around_a_secret_is_not_sent(partner: Partner, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NILO_TOKEN", f" {TOKEN}\n")
    text(partner)
    assert partner.asked[0].headers["Authorization"] == TOKEN


@pytest.mark.parametrize("value", [None, "", " ", "tóken", "two\nlines"])
def test_N11_a_secret_that_is_missing_or_unfit(
    partner: Partner, monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("NILO_TOKEN") if value is None else monkeypatch.setenv("NILO_TOKEN", value)
    with pytest.raises(ConfigurationError, match="secret_missing: the environment variable NILO_TOKEN") as caught:
        text(partner)
    assert not value or not value.strip() or value not in str(caught.value)
    assert partner.asked == []


# -- what stands in a page -----------------------------------------------------------------------------------------


def test_N11_x9_records_keep_their_text(partner: Partner) -> None:
    first = b'{"internalCode":"A","latitude":-34.5452780000001,  "big": 123456789012345678901234567890.10,'
    first += b' "twice": 1, "twice": 1.0, "n": "\xc3\xb1 \\u00f1 \\ud83d"}'
    second = b'{"internalCode":"B","creditLimit":0.1e2,"latitude":1.50}'
    partner.answers = [Answer(b'{"data": [' + first + b" ,\n" + second + b'], "code": 200}')]
    assert text(partner) == b"[\n" + first + b",\n" + second + b"\n]\n"


def test_N11_a_body_that_is_a_list_or_one_record(partner: Partner) -> None:
    partner.answers = [Answer([store("A")])]
    assert codes(partner) == ["A"]
    partner.answers = [Answer({"code": 200, "data": store("B")})]
    assert codes(partner) == ["B"]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("", "is not JSON"),
        ("<html>maintenance</html>", "is not JSON"),
        ('{"data": [{"internalCode": "A"}', "is not JSON"),
        (b'{"data": ["\xff"]}', "is not JSON"),
        ('{"data": [{"internalCode": "A"}]} x', "is not JSON"),
        ('{"data": [{"internalCode": "A"} {}]}', "is not JSON"),
        ('{"data": [{"internalCode": "A"}],}', "is not JSON"),
        ("{7: []}", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("7", "has no list of records in 'data'"),
        ("{}", "has no list of records in 'data'"),
        ({"data": None}, "has no list of records in 'data'"),
        ({"data": {"items": []}}, "has no list of records in 'data'"),
        ({"code": 404, "message": "Tienda no encontrada"}, "the server says: Tienda no encontrada"),
    ],
)
def test_N11_a_bad_body_stops_the_pull(partner: Partner, body: Any, says: str) -> None:
    partner.list(stores(1, 60))
    partner.answers = [None, Answer(body)]
    error = fault(partner)
    assert error.code == "pull_unreadable"
    assert "page 2 of http://127.0.0.1" in error.message and says in error.message
    assert partner.numbers == ["1", "2"]


# -- asking again --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answers",
    [
        [Answer("busy", 500), Answer({"message": "Internal"}, 502)],
        [Answer("slow down", 429), Answer("", 503)],
        [Answer({"data": []}, cut=4), Answer({"data": []}, cut=0)],
        [Answer({"data": []}, delay=0.4)],
    ],
    ids=["two 5xx", "429 and 503", "dropped mid-body", "timeout"],
)
def test_N11_what_passes_is_asked_again(partner: Partner, answers: list[Answer | None]) -> None:
    partner.list(stores(1, 60))
    partner.answers = [None, *answers]
    assert codes(partner, timeout=0.2) == numbered(1, 60)
    assert partner.numbers == ["1", *["2"] * (len(answers) + 1)]


@pytest.mark.parametrize(
    ("told", "longest", "at_least", "at_most"),
    [
        ("1", 60, 0.95, 3.0),
        ("3600", 0.3, 0.28, 2.0),
        ("date", 60, 0.9, 4.0),
        ("date", 0.3, 0.28, 2.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 60, 0, 0.9),
        ("soon", 60, 0, 0.9),
        ("-5", 60, 0, 0.9),
    ],
)
def test_N11_retry_after_is_honoured_within_bounds(
    partner: Partner, told: str, longest: float, at_least: float, at_most: float
) -> None:
    if told == "date":
        # A date has whole seconds, so up to one of the two is lost.
        told = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)
    partner.list(stores(1, 1))
    partner.answers = [Answer({"message": "slow down"}, 429, {"Retry-After": told})]
    assert codes(partner, longest_wait=longest) == ["S0001"]
    first, second = partner.asked
    assert at_least <= second.at - first.at <= at_most


def test_N11_pauses_grow_and_differ(partner: Partner) -> None:
    partner.answers = [Answer("", 500)] * 3
    text(partner, attempts=4, wait=0.1)
    pauses = [later.at - sooner.at for sooner, later in zip(partner.asked, partner.asked[1:], strict=False)]
    assert all(pause >= least for pause, least in zip(pauses, (0.1, 0.2, 0.4), strict=True))


def test_N11_after_the_last_attempt_it_has_failed(partner: Partner) -> None:
    partner.answers = [Answer({"message": f"out of order, {TOKEN} noted"}, 500)] * 3
    error = fault(partner)
    assert error.code == "pull_failed"
    assert "failed after 3 attempts" in error.message
    assert "the server answered 500: out of order, *** noted" in error.message
    assert partner.numbers == ["1"] * 3


def test_N11_a_url_that_cannot_be_asked(partner: Partner) -> None:
    error = fault(partner, url="https://" + "x" * 70 + ".example.com")
    assert error.code == "pull_refused" and "cannot send a request to" in error.message


def test_N11_nobody_there(partner: Partner) -> None:
    error = fault(partner, url="http://127.0.0.1:9/x", attempts=2)
    assert error.code == "pull_failed"
    assert "failed after 2 attempts: " in error.message


@pytest.mark.parametrize(
    ("status", "body", "says"),
    [
        (401, {"message": f"Token {TOKEN} inválido\n"}, "the server answered 401: Token *** inválido (check api_key,"),
        (403, {"Message": "Forbidden"}, "403: Forbidden (check api_key, authorization and scheme)"),
        (
            400,
            {"code": 400, "message": "Datos inválidos", "errors": [{"field": "take", "message": "es requerido"}]},
            "400: Datos inválidos; es requerido (check url",
        ),
        (404, "<html>nginx</html>", "page 1 of {url}/store: the server answered 404 (check url"),
        (418, "I am a teapot", "418: I am a teapot"),
        (302, "", "the server answered 302"),
    ],
)
def test_N11_a_refusal_stops_at_once_with_the_message(partner: Partner, status: int, body: Any, says: str) -> None:
    partner.answers = [Answer(body, status, {"Location": "/elsewhere"})]
    error = fault(partner)
    assert error.code == "pull_refused"
    assert says.format(url=partner.url) in str(error)
    assert len(partner.asked) == 1


def test_N11_secrets_are_not_shown(partner: Partner) -> None:
    found = settings(partner, scheme="Bearer")
    shown = f"{found!r} {found} {found.model_dump_json()}"
    assert all(os.environ[secret.env] not in shown for secret in found.secrets)
    assert len(found.secrets) == 2


@pytest.mark.parametrize("drips_head", [False, True])
def test_a_server_that_sends_byte_after_byte_is_left_in_time(partner: Partner, drips_head: bool) -> None:
    partner.answers = [Answer({"data": stores(1, 50)}, drip=0.05, drips_head=drips_head)] * 3
    started = time.monotonic()
    with pytest.raises(ExportError, match=r"^pull_failed: the pull was not finished after 1 seconds, at page 1 "):
        codes(partner, seconds=1)
    assert 0.9 < time.monotonic() - started < 4


def test_an_answer_that_grows_without_end_is_too_large(partner: Partner) -> None:
    bomb = gzip.compress(b"[" + b" " * 20_000_000)
    partner.answers = [Answer(bomb, headers={"Content-Encoding": "gzip"})]
    with pytest.raises(ExportError, match=r"^too_large: page 1 of .* is larger than 1\.0MB"):
        codes(partner, page_bytes="1MB")


def test_a_compressed_answer_is_read(partner: Partner) -> None:
    body = gzip.compress(json.dumps({"data": stores(1, 3)}).encode())
    partner.answers = [Answer(body, headers={"Content-Encoding": "gzip"})]
    assert codes(partner) == ["S0001", "S0002", "S0003"]
