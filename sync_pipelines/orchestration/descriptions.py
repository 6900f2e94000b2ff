"""What the UI says of assets, jobs and schedules to someone who has not read the code.

Belongs here: sentences, owners, kinds, links to the code. Does not belong here: columns (`table_schemas`), what a
materialization tells (`metadata`).
"""

from __future__ import annotations

import inspect
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError
from importlib.metadata import metadata as package_metadata
from pathlib import Path
from typing import Any, Final

import dagster as dg

from sync_pipelines import partners
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.orchestration.dagster_names import Stage

OWNERS: Final = ("team:integrations",)
KINDS: Final[dict[Stage, set[str]]] = {"exports": {"file"}, "records": {"parquet"}, "rows": {"postgres", "table"}}

_STAGES: Final[dict[Stage, str]] = {
    "exports": "**Exports of `{name}` as they arrived.** {pull}Lists the landing and keeps a copy of what is new in the"
    " archive, by content.",
    "records": "**Records of `{name}`, read and validated.** Reads the archived exports and normalizes them to"
    " Parquet. A record that breaks a rule is refused alone; what is mended on the way is counted.",
    "rows": "**`sync.{table}` of {partner}.** Loads the normalized records, one transaction a file. Rows, counts,"
    " refused records and the ledger entry commit together.",
}


def asset_description(stage: Stage, stream: Stream) -> str:
    """What an asset is, in Markdown."""
    pull = "Pulls what a source names, on today's partition. " if stream.pull else ""
    what = _STAGES[stage].format(name=stream.full_name, table=stream.table, partner=stream.partner, pull=pull)
    folder = f"{stream.partner}/<tenant>/{stream.name}"
    lines = [
        what,
        stream.description,
        f"- **Files go to** `{folder}/` in the landing, such as `{folder}/2026-06-01.json`."
        " A date in the path is the partition; without one it is the file's modification time.",
        f"- **Rules**: `{rule_page(stream)}`; ids in `docs/rules.md`, codes in `docs/codes.md`.",
        "- **Try first**: `preview: true` in the launchpad, or"
        f" `sync-pipelines sync --partner {stream.partner} --stream {stream.name} --preview`.",
        f"- **Replay refused records** after a correction: `{replay_command(stream)}`.",
    ]
    return "\n\n".join(lines[:2]) + "\n\n" + "\n".join(lines[2:])


def rule_page(stream: Stream) -> str:
    """The page that tells the partner's rules, relative to the project."""
    return "docs/orders.md" if stream.partner == "replenit" else f"docs/partners/{stream.partner}.md"


def replay_command(stream: Stream, code: str | None = None) -> str:
    """The command that reads refused records again."""
    return f"sync-pipelines rejects replay --stream {stream.full_name}" + (f" --code {code}" if code else "")


def job_description(stream: Stream) -> str:
    """What the job does."""
    return (
        f"Loads the exports of `{stream.full_name}` of the chosen days into `sync.{stream.table}`: archives what is new"
        " in the landing, normalizes it, and loads each file in one transaction. Files that are loaded already are not"
        " read again, so running it twice does no harm. In the launchpad, `preview: true` tells what it would do and"
        " loads nothing."
    )


def schedule_description(stream: Stream) -> str:
    """What the schedule is for."""
    pull = " It also pulls today's listing where a source says so." if stream.pull else ""
    return (
        f"Every night at 02:00 UTC: yesterday's exports of `{stream.full_name}`, and every day that has pending ones."
        f" A day without a file shows as one, so that a silent partner is noticed.{pull}"
    )


def code_references(stream: Stream) -> dg.CodeReferencesMetadataValue:
    """The partner's module: where this process has it, and in the repository if the package names one."""
    module = import_module(f"{partners.__name__}.{stream.partner}") if _is_registered(stream) else None
    path = Path(inspect.getfile(module or type(stream)))
    label = f"what {stream.partner}'s exports mean"
    references: list[Any] = [dg.LocalFileCodeReference(file_path=str(path), line_number=1, label=label)]
    if module and (repository := _repository()):
        url = f"{repository}/blob/HEAD/{'/'.join(module.__name__.split('.'))}.py"
        references.append(dg.UrlCodeReference(url=url, label=label))
    return dg.CodeReferencesMetadataValue(code_references=references)


def _is_registered(stream: Stream) -> bool:
    return stream.partner in partners.PARTNERS


@cache
def _repository() -> str | None:
    """The `Source` or `Repository` of `[project.urls]`, if there is one."""
    try:
        urls = package_metadata("sync_pipelines").get_all("Project-URL") or []
    except PackageNotFoundError:
        return None
    named = dict(url.split(", ", 1) for url in urls)
    found = named.get("Source") or named.get("Repository")
    return found.removesuffix(".git").rstrip("/") if found else None
