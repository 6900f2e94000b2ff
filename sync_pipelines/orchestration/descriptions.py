"""Descriptions of assets, jobs and schedules in the UI, for readers who have not read the code.

The first paragraph of a description is plain text: rows of the catalog show it as it is, without rendering Markdown.

Belongs here: sentences, kinds, code versions, links to the code. Does not belong here: columns (`table_schemas`),
metadata of materializations (`metadata`).
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import metadata as package_metadata
from importlib.metadata import version as package_version
from pathlib import Path
from typing import Any, Final

import dagster as dg

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.orchestration.dagster_names import Stage
from sync_pipelines.tables.descriptions import TABLES
from sync_pipelines.tables.schema import SCHEMA

KINDS: Final[dict[Stage, set[str]]] = {"exports": {"file"}, "records": {"parquet"}, "rows": {"postgres"}}

_STAGES: Final[dict[Stage, str]] = {
    "exports": "Exports of {name} as they arrived. {pull}Finds new files in the landing and keeps a copy of each in the"
    " archive.",
    "records": "Records of {name}, read and validated. Invalid records are rejected one by one; the others are kept as"
    " Parquet.",
    "rows": "Rows of {name}, loaded into sync.{table}. Each file is one transaction: rows, counts, rejects and the"
    " ledger entry commit together.",
}


def asset_description(stage: Stage, stream: Stream) -> str:
    """Returns what an asset is: a plain paragraph, then Markdown."""
    pull = "Pulls the partner's listing first where a source has one. " if stream.pull else ""
    what = _STAGES[stage].format(name=stream.full_name, table=stream.table, pull=pull)
    folder = f"{stream.partner}/<tenant>/{stream.name}"
    lines = [
        f"- **Files** go to `{folder}/` in the landing, for example `{folder}/2026-06-01.json`."
        " The date in the path is the partition; without one, the modification time counts.",
        f"- **Rules** are in {_rules(stream)} `docs/codes.md` lists the codes.",
        "- **Preview** a load with `preview: true` in the launchpad, or with"
        f" `sync-pipelines sync --partner {stream.partner} --stream {stream.name} --preview`.",
        f"- **Replay** rejected records after a correction with `{replay_command(stream)}`.",
    ]
    return f"{what}\n\n{stream.description}\n\n" + "\n".join(lines)


def table_description(table: str, writers: Sequence[Stream]) -> str:
    """Returns what a whole table is: a plain paragraph, then Markdown."""
    names = ", ".join(stream.full_name for stream in writers)
    lines = [
        f"- **Written by** {names}. Every run that loads exports counts the table again; materialize it to count it and"
        " to run its checks now.",
        f"- **Read** `{SCHEMA}.live_{table}`, the rows that are defined and not deleted.",
        "- **Counts**: `live`, `placeholders` (rows that others refer to and no export has defined yet) and `deleted`.",
    ]
    return f"{TABLES[table]}\n\n" + "\n".join(lines)


def code_version(stream: Stream) -> str:
    """Returns the version of the package and the contract: another one may read the same export differently."""
    return f"{package_version('sync_pipelines')}-{stream.fingerprint[:8]}"


def _rules(stream: Stream) -> str:
    if stream.package:
        return f"<{stream.rules_page}>." if stream.rules_page else f"the package `{stream.package}`."
    return f"`{rule_page(stream)}`, their ids in `docs/rules.md`."


def rule_page(stream: Stream) -> str:
    """Returns the page with the partner's rules, relative to the project."""
    return "docs/orders.md" if stream.partner == "replenit" else f"docs/partners/{stream.partner}.md"


def replay_command(stream: Stream, code: str | None = None) -> str:
    """Returns the command that reads rejected records again."""
    return f"sync-pipelines rejects replay --stream {stream.full_name}" + (f" --code {code}" if code else "")


def job_description(stream: Stream) -> str:
    """Returns what the job does."""
    return (
        f"Loads the exports of {stream.full_name} into sync.{stream.table}, for chosen days: archives new files,"
        " normalizes them, and loads each in one transaction. Loaded files are not read again, so you can run it as"
        " often as you like. With `preview: true` in the launchpad it shows what it would do and loads nothing."
    )


def schedule_description(stream: Stream) -> str:
    """Returns what the schedule does."""
    pull = " Pulls today's listing where a source has one." if stream.pull else ""
    return (
        f"Every night at 02:00 UTC: loads yesterday's exports of {stream.full_name}, and every day with pending ones."
        f" A day without exports shows as such, so a missing export is noticed.{pull}"
    )


def code_references(stream: Stream) -> dg.CodeReferencesMetadataValue:
    """Returns the partner's module: its file here, and its page in the repository if the package names one."""
    path = Path(inspect.getfile(stream.contract))
    label = f"contract of {stream.partner}"
    references: list[Any] = [dg.LocalFileCodeReference(file_path=str(path), line_number=1, label=label)]
    if not stream.package and (repository := _repository()):
        url = f"{repository}/blob/HEAD/{'/'.join(stream.contract.__module__.split('.'))}.py"
        references.append(dg.UrlCodeReference(url=url, label=label))
    return dg.CodeReferencesMetadataValue(code_references=references)


@cache
def _repository() -> str | None:
    """Returns `Source` or `Repository` of `[project.urls]`, if there is one."""
    try:
        urls = package_metadata("sync_pipelines").get_all("Project-URL") or []
    except PackageNotFoundError:
        return None
    named = dict(url.split(", ", 1) for url in urls)
    found = named.get("Source") or named.get("Repository")
    return found.removesuffix(".git").rstrip("/") if found else None
