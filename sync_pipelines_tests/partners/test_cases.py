"""Every case in `cases/<partner>/*.case.yaml`: exports that are dropped, what each came to, what queries answer.

The words of a case are told in `docs/add_a_partner.md`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sync_pipelines.commands import sql
from sync_pipelines.commands.progress import line_of
from sync_pipelines_tests.loading import CASES, Site

FOUND = sorted(CASES.glob("*/*.case.yaml"))


@pytest.mark.parametrize("path", FOUND, ids=lambda path: f"{path.parent.name}-{path.name.removesuffix('.case.yaml')}")
def test_case(path: Path, site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    case: dict[str, Any] = yaml.safe_load(path.read_text())
    assert case.keys() >= {"exports", "outcomes"}
    assert case.keys() <= {"exports", "outcomes", "answers", "sources", "rejects", "leniencies"}

    if "sources" in case:
        (site.folder / "sources.yaml").write_text(yaml.safe_dump({"sources": case["sources"]}))
    told: dict[str, str] = {}
    for name, content in case["exports"].items():
        site.put_at(name, content)
        told |= {entry.path: line_of(entry).split(": ", 1)[1] for entry in site.sync()}

    assert told == case["outcomes"]
    if "rejects" in case:
        seen = [f"{row['path']} {row['position']}: {row['code']} {row['field_path'] or ''}" for row in site.rejects()]
        assert list(map(str.rstrip, seen)) == case["rejects"]
    if "leniencies" in case:
        assert {entry.path: dict(entry.leniencies) for entry in site.ledger() if entry.leniencies} == case["leniencies"]
    monkeypatch.setenv("SYNC_DATABASE_URL", site.database.url)
    for query, answer in case.get("answers", {}).items():
        sql.run(query, "csv")
        assert capsys.readouterr().out == answer, query
