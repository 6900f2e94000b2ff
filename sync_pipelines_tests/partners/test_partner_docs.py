"""The partners' own API pages: every example on them loads with the outcome the page tells (X12).

The pages lie beside the project, `../shared/partner_docs`; without them these tests are skipped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from sync_pipelines.contracts.streams import Route, Stream
from sync_pipelines.partners import STREAMS
from sync_pipelines.partners.reten import sync_response
from sync_pipelines_tests.loading import TENANT, Site, call, lines, outcomes

PAGES = Path(__file__).parents[2].parent / "shared" / "partner_docs"
AT = "2024-05-01T10:00:00Z"

pytestmark = pytest.mark.skipif(not PAGES.is_dir(), reason="the partners' pages are not here")


class Example(NamedTuple):
    """A request on a page; the body is written as JSON, JavaScript or Python, all of which YAML reads."""

    method: str
    path: str
    body: Any = None


def page(name: str) -> str:
    return (PAGES / f"{name}.txt").read_text()


def end_of(text: str, start: int) -> int:
    """Where the object or list that begins at a place ends."""
    depth = 0
    for end in range(start, len(text)):
        depth += (text[end] in "{[") - (text[end] in "}]")
        if not depth:
            return end + 1
    raise AssertionError(text[start : start + 80])


def literal(text: str, start: int) -> Any:
    """The object or list that begins at a place."""
    return yaml.safe_load(text[start : end_of(text, start)])


def literals(text: str, before: str) -> list[Any]:
    """The objects and lists that follow a pattern."""
    return [literal(text, match.end()) for match in re.finditer(before + r"(?=[{\[])", text, re.MULTILINE)]


def endpoints(name: str) -> set[tuple[str, str]]:
    """The endpoints that a page names with their method, ids in the path as `{}`."""
    found = re.findall(r"(POST|PUT|DELETE|PATCH) (/[\w/:{}]+)", page(name))
    return {(method, re.sub(r"\{\w+\}|:\w+", "{}", path)) for method, path in found}


def declared(partner: str) -> set[tuple[str, str]]:
    """The endpoints that are read, the same way."""
    routes: list[Route] = [route for stream in STREAMS if stream.partner == partner for route in stream.routes]
    return {(route.method, re.sub(r"\{\w+\}", "{}", route.path)) for route in routes}


@pytest.mark.parametrize("stream", STREAMS, ids=lambda stream: stream.full_name)
def test_X12_every_endpoint_on_the_page_that_writes_is_read(stream: Stream) -> None:
    names = [path.stem for path in PAGES.glob(f"{stream.partner}_*.txt")]
    for name in names:
        assert endpoints(name) <= declared(stream.partner)


# -- Reten -----------------------------------------------------------------------------------------------------


def test_R10_every_example_of_reten_is_answered_as_the_page_says(site: Site) -> None:
    text = page("reten_commerces")
    (answer,) = literals(text, r"^Response 201 Created\n\n")
    bodies = literals(text, r"-d '") + literals(text, r"sync',\n  ")
    assert len(bodies) == 2

    for number, body in enumerate(bodies):
        entry = site.load_at(f"reten/t{number}/commerces/2024-05-01.json", body)
        assert sync_response(entry.counts) == answer

    again = site.load_at("reten/t0/commerces/2024-05-02.json", bodies[0])
    assert sync_response(again.counts) == {"created": 0, "updated": 1, "total": 1}
    assert outcomes(again) == {"unchanged": 1}


# -- Replenit --------------------------------------------------------------------------------------------------


def test_O1_the_example_of_replenit_is_one_order(site: Site) -> None:
    bodies = literals(page("replenit_orders"), r"^POST /orders/\{YOUR_TENANT_ID\}\n")
    assert len(bodies) == 1

    body = site.load("2024-05-01.json", bodies[0])
    logged = site.load("2024-05-02.ndjson", lines(call(AT, "POST", f"/orders/{TENANT}", bodies[0])))

    assert [outcomes(entry) for entry in (body, logged)] == [{"created": 1}, {"unchanged": 1}]


def test_O11_the_page_and_the_program_ask_for_an_order_id_alike(site: Site) -> None:
    (said,) = re.findall(r'Missing order ID \| \{"success": false, "message": "([^"]+)"', page("replenit_orders"))

    entry = site.load("2024-05-01.ndjson", lines(call(AT, "DELETE", f"/orders/{TENANT}/")))

    assert outcomes(entry) == {"rejected": 1}
    assert [reject["message"] for reject in site.rejects()] == [said]


# -- Traede ----------------------------------------------------------------------------------------------------


def test_T1_the_example_of_traede_is_one_customer(site: Site) -> None:
    path = "/production/customers/sync"
    bodies = literals(page("traede_customers"), rf"^POST {path}\n")
    assert len(bodies) == 1

    body = site.load_at("traede/acme/customers/2024-05-01.json", bodies[0])
    logged = site.load_at("traede/acme/customers/2024-05-02.ndjson", lines(call(AT, "POST", path, bodies[0])))

    assert [outcomes(entry) for entry in (body, logged)] == [{"created": 1}, {"unchanged": 1}]


# -- Pocketflows -----------------------------------------------------------------------------------------------


def test_P1_every_endpoint_of_pocketflows_takes_a_record(site: Site) -> None:
    """The page has no body; each endpoint is called with the least it allows, a business first."""
    named = sorted(endpoints("pocketflows_sync"), key=lambda endpoint: ("customers" in endpoint[1], endpoint[1]))
    assert len(named) == 10
    for of_customers in (False, True):
        paths = [path for _, path in named if ("customers" in path) == of_customers]
        calls = [_pocketflows_call(path) for path in sorted(paths, key=lambda path: path.startswith("/customers"))]
        stream = "customers" if of_customers else "businesses"

        entry = site.load_at(f"pocketflows/acme/{stream}/2024-05-01.ndjson", lines(*calls))

        assert (entry.read, entry.rejected, entry.created) == (len(paths), 0, 1)


def _pocketflows_call(path: str) -> dict[str, Any]:
    record = {"id": "i1", "external_id": "e1"} | ({} if "customers" in path else {"name": "Tienda"})
    return call(AT, "POST", path.replace("{}", "i1"), [record] if "batch" in path else record)


# -- Nilo ------------------------------------------------------------------------------------------------------

_SAMPLE = re.compile(
    r"""(?P<json>^\{$)"""
    r"""|^(?:const )?data = (?P<data>\{)"""
    r"""|^fetch\(\s*"https://[^"]*?/dev(?P<path>/[^"]*)",\s*\{\s*method: "(?P<method>\w+)\""""
    r"""|^url = "https://[^"]*?/dev(?P<url>/[^"]*)\""""
    r"""|^response = requests\.(?P<call>\w+)\(""",
    re.MULTILINE,
)


def nilo_examples() -> Iterator[Example]:
    """Every writing request of the page in its order: each endpoint's body, then its calls in two languages."""
    text = page("nilo_stores").partition("\nTipos de Respuesta\n")[0]
    bodies: list[Any] = []
    data: Any = None
    path, taken = "", 0
    for match in _SAMPLE.finditer(text):
        if match.start() < taken:
            continue
        if match["json"]:
            bodies.append(literal(text, match.start("json")))
            taken = end_of(text, match.start("json"))
        elif match["data"]:
            data = literal(text, match.start("data"))
            taken = end_of(text, match.start("data"))
        elif match["url"]:
            path = match["url"]
        elif match["method"] or match["call"]:
            method, called = (match["method"] or match["call"]).upper(), match["path"] or path
            if method != "GET":
                yield from (Example(method, called, body) for body in [*bodies, data])
            bodies, data = [], None


def test_N2_every_example_of_nilo_is_taken(site: Site) -> None:
    examples = list(nilo_examples())
    endpoints = {re.sub("1234", "{key}", example.path) for example in examples}
    assert endpoints == {route.path for stream in STREAMS if stream.partner == "nilo" for route in stream.routes}
    assert len(examples) == 28

    log = lines(*(call(AT, *example) for example in examples))
    entry = site.load_at("nilo/acme/stores/2024-05-01.ndjson", log)

    assert site.rejects() == []
    # Each request stands three times, bodies that differ from the first where the page's languages differ.
    assert outcomes(entry) == {"created": 3, "updated": 10, "unchanged": 24}
    columns = ("is_placeholder", "enabled", "credit_limit", "payment_status", "store_users")
    stores = {key: [row[name] for name in columns] for (_, _, key), row in site.tables()["stores"].items()}
    assert stores == {
        "1234": [False, True, 5000, "ok", []],
        "5678": [False, True, 10000, "debtor", []],
        "9012": [False, True, None, "ok", []],
    }


def test_X12_the_read_response_of_nilo_is_an_upsert(site: Site) -> None:
    (response,) = [found for found in literals(page("nilo_stores"), r"^") if found.get("code") == 200]

    entry = site.load_at("nilo/acme/stores/2024-05-01.json", json.dumps(response))

    assert outcomes(entry) == {"created": 1}
    ((key, store),) = site.tables()["stores"].items()
    assert (key[2], store["name"]) == (response["data"]["internalCode"], response["data"]["name"])
    assert (store["is_debtor"], store["payment_status"]) == (False, "ok")
