"""The integrators' pages of Reten and Traede, held against the code: fields, columns, examples, codes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sync_pipelines.commands import sql
from sync_pipelines.commands.progress import line_of
from sync_pipelines.contracts.codes import ALL_CODES
from sync_pipelines.contracts.contract import Contract
from sync_pipelines.partners import reten, traede
from sync_pipelines_tests.loading import Site
from sync_pipelines_tests.test_docs import ANSWER, rows, section

FOLDER = Path(__file__).parents[2] / "docs/partners"
EXAMPLE = re.compile(r"\*\*`(\w+/[^`]+)`\*\*\n\n```json\n(.*?)```", re.DOTALL)
NOT_FIELDS = {"payment_terms_id", "payment_terms_code"}
"""Columns of Traede's contract that its page sends inside of `payment_terms`."""


@pytest.mark.parametrize(
    ("page", "title", "contract"),
    [
        ("reten", "Commerce", reten.Commerce),
        ("reten", "Address", reten.Address),
        ("reten", "User", reten.User),
        ("reten", "Contact", reten.Contact),
        ("traede", "Customer", traede.Customer),
        ("traede", "Address", traede.Address),
    ],
)
def test_every_field_is_documented_with_its_column(page: str, title: str, contract: type[Contract]) -> None:
    told = rows(section((FOLDER / f"{page}.md").read_text(), title))
    columns = {re.findall(r"`(\w+)`", row[0])[0]: row[1] for row in told}
    fields = {info.alias or name: name for name, info in contract.model_fields.items()}
    assert columns.keys() == fields.keys() - (NOT_FIELDS if contract is traede.Customer else set())
    for alias, column in columns.items():
        assert column == "-" or "rows of" in column or f"`{fields[alias]}`" in column or alias == "payment_terms", alias


@pytest.mark.parametrize("page", ["reten", "traede"])
def test_the_example_comes_out_as_told(
    page: str, site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (FOLDER / f"{page}.md").read_text()
    for path, content in EXAMPLE.findall(text):
        site.put_at(f"{page}/acme/{path}", content)

    assert [line_of(entry) for entry in site.sync()] == re.findall(r"^loaded .*$", text, re.MULTILINE)

    monkeypatch.setenv("SYNC_DATABASE_URL", site.database.url)
    answers = ANSWER.findall(text)
    assert len(answers) == 2
    for query, answer in answers:
        sql.run(query, "csv")
        assert capsys.readouterr().out == answer


@pytest.mark.parametrize("page", ["reten", "traede"])
def test_every_reject_code_told_exists(page: str) -> None:
    (sentence,) = re.findall(r"^Frequent rejects: .*$", (FOLDER / f"{page}.md").read_text(), re.MULTILINE)
    told = set(re.findall(r"`(\w+)`", sentence)) - {"metadata", "contact_type"}
    assert told <= ALL_CODES.keys()
