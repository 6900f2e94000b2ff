"""What README and docs say, held against the code: codes, fields, names, examples, links."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from sync_pipelines.cli import cli
from sync_pipelines.commands import inspect, sql
from sync_pipelines.commands.progress import line_of
from sync_pipelines.configuration.settings import PREFIX, Settings
from sync_pipelines.configuration.sources import load_sources
from sync_pipelines.configuration.stream_settings import StreamSettings
from sync_pipelines.contracts.codes import FILE_CODES, LENIENCY_CODES, REJECT_CODES
from sync_pipelines.contracts.contract import Contract
from sync_pipelines.partners.replenit import ORDERS, Order, OrderItem
from sync_pipelines_tests.loading import TENANT, Site

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "SECURITY.md", *sorted((ROOT / "docs").rglob("*.md"))]
README = PAGES[0].read_text()
GETTING_STARTED = (ROOT / "docs/getting_started.md").read_text()
COMMANDS = (ROOT / "docs/commands.md").read_text()
SOURCES = (ROOT / "docs" / "sources.md").read_text()
CODES = (ROOT / "docs/codes.md").read_text()
ORDERS_PAGE = (ROOT / "docs/orders.md").read_text()

LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(#[^)\s]*)?\)")
EXAMPLE = re.compile(r"\*\*`orders/([^`]+)`\*\*\n\n```json\n(.*?)```", re.DOTALL)
ANSWER = re.compile(r"```sql\n(.*?)\n```\n\n```csv\n(.*?)```", re.DOTALL)


def section(page: str, title: str) -> str:
    """What stands under a heading, up to the next one of any level."""
    found = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", page, re.DOTALL | re.MULTILINE)
    assert found, title
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The rows of a page's tables without header and rule."""
    cells = [[cell.strip() for cell in line.strip("|").split(" |")] for line in text.splitlines() if line[:1] == "|"]
    return [row for row in cells if row[0].startswith("`")]


def anchors(page: str) -> set[str]:
    """The headings of a page as GitHub links to them."""
    titles = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {"#" + re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize(
    ("title", "codes"),
    [
        ("A file failed", FILE_CODES),
        ("A record was rejected", REJECT_CODES),
        ("A value was corrected", LENIENCY_CODES),
    ],
)
def test_every_code_is_documented_with_its_meaning_and_no_other(title: str, codes: dict[str, str]) -> None:
    told = rows(section(CODES, title))

    assert {code.strip("`"): meaning for code, meaning, _ in told} == codes
    assert len(told) == len(codes)
    assert all(remedy for _, _, remedy in told)


@pytest.mark.parametrize(("title", "contract"), [("Order", Order), ("Item", OrderItem)])
def test_every_field_is_documented_with_its_column(title: str, contract: type[Contract]) -> None:
    columns = {f.alias: f.column for f in ORDERS.shape.fields} if contract is Order else item_columns()

    told = {row[0].strip("`"): re.findall(r"`([\w.]+)`|(-)", row[1])[0] for row in rows(section(ORDERS_PAGE, title))}

    assert {name: "".join(column) for name, column in told.items()} == columns | (
        {"OrderItems": "sync.order_items"} if contract is Order else {"OrderId": "-"}
    )


def item_columns() -> dict[str, str]:
    return {info.alias or name: name for name, info in OrderItem.model_fields.items()}


def test_the_example_of_orders_comes_out_as_told(
    site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, content in EXAMPLE.findall(ORDERS_PAGE):
        site.put(name, content)

    loaded = [line_of(entry) for entry in site.sync()]

    assert loaded == re.findall(r"^loaded .*$", section(ORDERS_PAGE, "An example"), re.MULTILINE)
    monkeypatch.setenv("SYNC_DATABASE_URL", site.database.url)
    answers = ANSWER.findall(ORDERS_PAGE)
    assert len(answers) == 2
    for query, answer in answers:
        sql.run(query, "csv")
        assert capsys.readouterr().out == answer


def sources_example(tmp_path: Path) -> Any:
    (block,) = re.findall(r"```yaml\n(.*?)```", GETTING_STARTED, re.DOTALL)
    path = tmp_path / "sources.yaml"
    path.write_text(block)
    return load_sources(path)


def test_the_sources_of_getting_started_load_its_csv(site: Site) -> None:
    settings = sources_example(site.folder).for_stream("replenit", TENANT, "orders")
    lines = re.search(r"^    (InvoiceNo.*)\n    (.*)$", GETTING_STARTED, re.MULTILINE)
    assert lines

    entry = site.load("2010-12-01.csv", "\n".join(lines.groups()) + "\n")

    assert settings.columns["OrderId"] == "InvoiceNo"
    assert (entry.created, entry.read, entry.leniencies) == (1, 1, {"dropped_zero_decimals": 1})
    assert site.items("536365")[0]["extra"] == {
        "Description": "WHITE HANGING HEART T-LIGHT HOLDER",
        "Country": "United Kingdom",
    }


def test_a_file_of_your_own_becomes_rows_as_its_page_says(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (ROOT / "docs" / "your_own_export.md").read_text()
    content, answer = re.findall(r"```csv\n(.*?)```", page, re.DOTALL)
    (printed,) = re.findall(r"```text\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SYNC_DATABASE_URL", site.database.url)
    file = tmp_path / "ventas.csv"
    file.write_bytes(content.encode("cp1252"))

    assert inspect.run(file, None, None, is_written=False, unmasked=False) == 0
    assert [line.rstrip() for line in capsys.readouterr().out.splitlines()] == printed.splitlines()
    inspect.run(file, None, TENANT, is_written=True, unmasked=False)
    site.load("2024-01-25.csv", file.read_bytes())
    query = re.search(r'sql --format csv "(.*?)"', page)
    assert query
    capsys.readouterr()
    sql.run(query[1] + " order by 1", "csv")
    assert capsys.readouterr().out == answer


def test_every_key_of_a_source_is_documented() -> None:
    known = {*StreamSettings.model_fields, *ORDERS.options.model_fields} - {"options"}

    assert {row[0].strip("`") for row in rows(section(SOURCES, "Keys of every stream"))} == known


def test_every_key_of_a_source_has_a_symptom_that_leads_to_it() -> None:
    page = (ROOT / "docs" / "your_own_export.md").read_text()
    told = " ".join(
        line.rpartition(" | ")[2]
        for line in section(page, "Which setting for which symptom").splitlines()
        if line.startswith("| ")
    )
    known = {*StreamSettings.model_fields, *ORDERS.options.model_fields} - {"options"}

    assert {name for name in known if not re.search(rf"`{name}[:`]", told)} == set()
    assert {name for name in re.findall(r"`(\w+)(?::[^`]*)?`", told)} == known


def test_every_setting_is_documented_and_no_other() -> None:
    known = {PREFIX + name.upper() for name in Settings.model_fields}

    assert {row[0].strip("`") for row in rows(section((ROOT / "docs/settings.md").read_text(), "Settings"))} == known
    assert all(set(re.findall(rf"{PREFIX}[A-Z_]+", page.read_text())) <= known for page in PAGES)


def test_every_command_is_documented_and_no_other() -> None:
    commands = {f"sync-pipelines {name}" for name in cli.commands}
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))

    assert {row[0].strip("`") for row in rows(section(COMMANDS, "Commands")) if "sync-pipelines" in row[0]} == commands
    for page in PAGES:
        text = page.read_text()
        assert set(re.findall(r"sync-pipelines [a-z]+(?:-[a-z]+)*", text)) <= commands, page
        assert set(re.findall(r"(?:`|^    )make ([a-z]+)", text, re.MULTILINE)) <= targets, page
        # A command line works as it stands there, in a fresh clone.
        assert not re.search(r"^(?: {4}|\$ )sync-pipelines ", text, re.MULTILINE), page
    assert os.access(ROOT / "sync-pipelines", os.X_OK)


def test_options_named_for_a_command_exist() -> None:
    for name, told, *_ in rows(section(COMMANDS, "Commands")):
        command: Any = cli.commands.get(name.strip("`").removeprefix("sync-pipelines "))
        options = {option for parameter in command.params for option in parameter.opts}

        assert set(re.findall(r"`(--[a-z]+)`", told)) <= options, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text()):
        path = page.parent / target if target else page

        assert path.exists(), target
        assert not anchor or anchor in anchors(path.read_text()), target + anchor


def test_the_readme_is_short() -> None:
    assert len(README.split()) < 900


def test_every_page_is_in_the_navigation() -> None:
    """`make docs` checks links and anchors too, but this names a new page's missing line in a second."""
    listed = set(re.findall(r"^ *- .*?([\w/-]+\.md)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE))

    assert listed == {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").rglob("*.md")}


RULES = {"X": 14, "R": 10, "O": 12, "N": 11, "T": 9, "P": 6}
"""Letter of a rule -> how many there are, numbered from 1."""
DECISIONS = {"F01", "F03", "F04", "F05", "F06", "F07", "F08", "F09", "F11", "F12", "F13", "F19", "F20"}
"""Rules that are no partner's alone."""
EXPLAINED = set(re.findall(r"^\| ([A-Z]\d+) \| .+ \|$", (ROOT / "docs/rules.md").read_text(), re.MULTILINE))


def test_every_rule_is_explained() -> None:
    assert {f"{letter}{n}" for letter, last in RULES.items() for n in range(1, last + 1)} | DECISIONS == EXPLAINED


def test_every_rule_id_in_the_code_is_explained() -> None:
    used = {
        id
        for path in (ROOT / "sync_pipelines").rglob("*.py")
        for id in re.findall(rf"\b([{''.join(RULES)}]\d{{1,2}}|F\d\d)\b(?!:\d)", path.read_text())
    }
    assert used <= EXPLAINED


def test_every_rule_has_a_test_of_its_name() -> None:
    """`pytest --collect-only -q | grep <id>` lists at least one test for each rule."""
    named = {
        id
        for path in (ROOT / "sync_pipelines_tests").rglob("test_*.py")
        for name in re.findall(r"^def (test_\w+)\(", path.read_text(), re.MULTILINE)
        for id in name.split("_")
    }
    named |= {path.name.split("_")[0] for path in (ROOT / "sync_pipelines_tests/cases").rglob("*.case.yaml")}
    assert named >= EXPLAINED
    # Quiet twice, pytest lists files with counts instead of tests.
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]["addopts"]
    assert "-q" not in options.split()
