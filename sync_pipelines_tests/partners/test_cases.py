"""Every case in `cases/<partner>/*.case.yaml`: exports that are dropped, what each came to, what queries answer.

`docs/add_a_partner.md` explains the keys of a case.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sync_pipelines.testing.case_files import CaseRun, answer_of, find_cases
from sync_pipelines_tests.loading import CASES, Site


@pytest.mark.parametrize(
    "path", find_cases(CASES), ids=lambda path: f"{path.parent.name}-{path.name.removesuffix('.case.yaml')}"
)
def test_case(path: Path, site: Site, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    case: dict[str, Any] = yaml.safe_load(path.read_text())
    CaseRun(site.settings).check(case)
    monkeypatch.setenv("SYNC_DATABASE_URL", site.database.url)
    for query, answer in case.get("answers", {}).items():
        answer_of(query)
        assert capsys.readouterr().out == answer, query
