"""Cases: files with exports, the expected outcome of each, and the expected results of queries.

Belongs here: reading and running a case. Does not belong here: the database it runs on (`plugin`).
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import yaml

from sync_pipelines.commands import sql
from sync_pipelines.commands.progress import line_of
from sync_pipelines.configuration.settings import Settings
from sync_pipelines.stages.export_stages import Workspace, discover, load_all, open_workspace

_KEYS: Final = ("exports", "outcomes", "answers", "sources", "rejects", "leniencies")
_LONG_AGO: Final = datetime(2024, 1, 2, tzinfo=UTC)
_REJECTS: Final = (
    "select f.path, r.position, r.code, coalesce(r.field_path, '') from sync.rejected_records r"
    " join sync.export_files f on f.id = r.export_file_id"
    " order by f.path collate \"C\", f.revision, string_to_array(r.position, '/')::int[], r.code"
)


def find_cases(folder: Path) -> list[Path]:
    """Returns the cases in a folder and its subfolders."""
    return sorted(folder.rglob("*.case.yaml"))


@dataclass
class CaseRun:
    """A case that runs with a landing and a database of its own.

    Attributes:
        settings: settings with an empty landing and an empty database.
        outcomes: path of an export -> its outcome.
        leniencies: path of an export -> code -> count, for exports with leniencies.
    """

    settings: Settings
    outcomes: dict[str, str] = field(default_factory=dict)
    leniencies: dict[str, dict[str, int]] = field(default_factory=dict)

    def check(self, case: Mapping[str, Any]) -> None:
        """Loads the exports, each with a sync of its own, and compares the results.

        Raises:
            AssertionError: a result differs from the case.
        """
        assert case.keys() >= {"exports", "outcomes"}, "a case needs `exports` and `outcomes`"
        assert case.keys() <= set(_KEYS), f"a case has the keys {', '.join(_KEYS)}"
        if "sources" in case:
            self.settings.sources.write_text(yaml.safe_dump({"sources": case["sources"]}))
        workspace = open_workspace(self.settings)
        # A case shows what becomes of each record, even where none is accepted.
        workspace = replace(workspace, sources=replace(workspace.sources, has_guards=False))
        for number, (path, content) in enumerate(case["exports"].items()):
            self._sync(workspace, path, content, _LONG_AGO + timedelta(seconds=number))
        rejects = _rejects(workspace)
        workspace.database.engine().dispose()
        assert self.outcomes == case["outcomes"]
        assert self.leniencies == case.get("leniencies", self.leniencies)
        assert rejects == case.get("rejects", rejects)

    def _sync(self, workspace: Workspace, path: str, content: Any, modified_at: datetime) -> None:
        export = Path(self.settings.landing) / path
        export.parent.mkdir(parents=True, exist_ok=True)
        export.write_text(content if isinstance(content, str) else json.dumps(content))
        os.utime(export, (modified_at.timestamp(), modified_at.timestamp()))
        found = discover(workspace)
        for entry in found.failed + load_all(workspace, found.pending):
            self.outcomes[entry.path] = line_of(entry).split(": ", 1)[1]
            if entry.leniencies:
                self.leniencies[entry.path] = dict(entry.leniencies)


def _rejects(workspace: Workspace) -> list[str]:
    with workspace.connection() as connection:
        rows = connection.execute(_REJECTS).fetchall()
    return [f"{path} {position}: {code} {field_path}".rstrip() for path, position, code, field_path in rows]


def answer_of(query: str) -> None:
    """Prints the result of a query as CSV. The database is that of `SYNC_DATABASE_URL`."""
    sql.run(query, "csv")
