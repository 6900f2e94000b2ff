"""The steps that run checks, each check of which can be run alone.

A stream's checks are one step that runs after its rows are loaded; it reports the checks of the tables that the run
wrote, too. If the rows fail, Dagster skips the checks of the run; `check_runs` then requests them in a run of their
own. The checks of a whole table are one step, for runs by hand and for the nightly one.

Belongs here: which rows are checked, and results in the form that Dagster accepts. Does not belong here: the checks
(`checks`).
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any, Final

import dagster as dg
import psycopg

from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import ledger, quality
from sync_pipelines.database.quality import Extent
from sync_pipelines.orchestration.checks import ERROR, WARN, Answer, Asked, Check, row_checks, stream_checks
from sync_pipelines.orchestration.dagster_names import TABLES, asset_key, stream_name, table_key
from sync_pipelines.orchestration.metadata_tables import table_of
from sync_pipelines.orchestration.outages import through_outages
from sync_pipelines.orchestration.partitions import dates_of
from sync_pipelines.orchestration.table_assets import written_tables
from sync_pipelines.partners import STREAMS
from sync_pipelines.privacy.personal_data import masked_example
from sync_pipelines.stages.display_rows import ids_written
from sync_pipelines.stages.export_stages import Workspace

ROWS_CHECKED: Final = 2_000
"""Rows of a large table that are checked after a run. The nightly run checks all."""


def check_keys(streams: Iterable[Stream]) -> list[dg.AssetCheckKey]:
    """Returns the keys of the checks of some streams and of their tables."""
    keys: dict[dg.AssetCheckKey, None] = {}
    for stream in streams:
        keys |= {dg.AssetCheckKey(asset_key("rows", stream), check.name): None for check in stream_checks(stream)}
        keys |= {dg.AssetCheckKey(table_key(stream.table), check.name): None for check in row_checks(stream)}
    return list(keys)


def build_checks(stream: Stream) -> dg.AssetChecksDefinition:
    """Returns the checks of a stream, one step; each can be run alone.

    After a run that loaded days, the step reports the checks of the tables that the run wrote, too.
    """
    chosen = {check.name: check for check in stream_checks(stream)}
    rows = asset_key("rows", stream)

    @dg.multi_asset_check(
        name=f"check_{stream_name(stream)}",
        specs=[dg.AssetCheckSpec(c.name, asset=rows, description=c.description) for c in chosen.values()],
        can_subset=True,
    )
    def checks(
        context: dg.AssetCheckExecutionContext, sync_pipelines_workspace: dg.ResourceParam[Any]
    ) -> Iterator[dg.AssetCheckResult]:
        workspace: Workspace = sync_pipelines_workspace
        selected = {key.name for key in context.op_execution_context.selected_asset_check_keys}
        days = dates_of(dict(context.run.tags))

        def ask() -> tuple[list[dg.AssetCheckResult], list[dg.AssetCheckResult]]:
            with workspace.connection() as connection:
                asked = Asked(connection, stream, workspace, quality.EVERYTHING, datetime.now(UTC))
                mine = [
                    result_of(rows, check, [(stream, check.ask(asked))])
                    for name, check in chosen.items()
                    if name in selected
                ]
                return mine, [] if days is None else checked_after(asked, days)

        mine, of_tables = through_outages(context.instance, context.run, workspace.database, ask)
        for result in of_tables:
            # It accepts check evaluations; only its type annotation does not.
            context.op_execution_context.log_event(evaluation_of(result))  # type: ignore[arg-type]
        yield from mine

    return checks


def build_table_checks(table: str, streams: Sequence[Stream]) -> dg.AssetChecksDefinition:
    """Returns the checks of a whole table, one step; each can be run alone.

    Args:
        table: all rows of it are checked.
        streams: those whose records fill the table.
    """
    chosen = {check.name: check for stream in streams for check in row_checks(stream)}

    @dg.multi_asset_check(
        name=f"check_{TABLES}_{table}",
        specs=[dg.AssetCheckSpec(c.name, asset=table_key(table), description=c.description) for c in chosen.values()],
        can_subset=True,
    )
    def checks(
        context: dg.AssetCheckExecutionContext, sync_pipelines_workspace: dg.ResourceParam[Any]
    ) -> Iterator[dg.AssetCheckResult]:
        workspace: Workspace = sync_pipelines_workspace
        selected = {key.name for key in context.op_execution_context.selected_asset_check_keys}

        def ask() -> list[dg.AssetCheckResult]:
            with workspace.connection() as connection:
                asked = Asked(connection, streams[0], workspace, quality.EVERYTHING, datetime.now(UTC))
                return [result for result in check_rows(asked, streams) if result.check_name in selected]

        yield from through_outages(context.instance, context.run, workspace.database, ask)

    return checks


def check_rows(asked: Asked, streams: Iterable[Stream]) -> list[dg.AssetCheckResult]:
    """Runs the checks of a table's rows for some streams that fill it. Checks of the same name give one result."""
    answers: dict[str, tuple[Check, list[tuple[Stream, Answer]]]] = {}
    for stream in streams:
        for check in row_checks(stream):
            answer = check.ask(replace(asked, stream=stream))
            answers.setdefault(check.name, (check, []))[1].append((stream, answer))
    return [result_of(table_key(stream.table), check, found) for check, found in answers.values()]


def checked_after(asked: Asked, days: Iterable[date]) -> list[dg.AssetCheckResult]:
    """Returns the checks of the tables that a run of some days wrote.

    Every row of a small table is checked. Of a large table only rows that the run wrote are checked, and only if it is
    the stream's own.
    """
    found: list[dg.AssetCheckResult] = []
    for table in written_tables(asked.stream):
        streams = [stream for stream in STREAMS if stream.table == table]
        if streams and quality.is_small(asked.connection, streams[0]):
            found += check_rows(asked, streams)
        elif table == asked.stream.table:
            about = extent(asked.workspace, asked.connection, asked.stream, days)
            found += check_rows(replace(asked, about=about), [asked.stream])
    return found


def extent(
    workspace: Workspace, connection: psycopg.Connection[Any], stream: Stream, days: Iterable[date] | None
) -> Extent:
    """Returns which rows to check after a run of some days: all if the tables are small, else some that it wrote."""
    if days is None or quality.is_small(connection, stream):
        return quality.EVERYTHING
    entries = ledger.of_dates(connection, stream.partner, stream.name, list(days))
    return Extent(tuple(ids_written(workspace, connection, stream, entries, ROWS_CHECKED)))


def result_of(key: dg.AssetKey, check: Check, answers: Sequence[tuple[Stream, Answer]]) -> dg.AssetCheckResult:
    """Returns the result of a check for one or several streams."""
    details: dict[str, Any] = {}
    for _, answer in answers:
        details |= {name: details.get(name, 0) + number for name, number in answer.numbers.items()}
    failed = [answer for _, answer in answers if not answer.passed]
    if failed:
        details["what_to_do"] = " ".join(dict.fromkeys(answer.todo for answer in failed))
    examples = [masked_example(stream, row) for stream, answer in answers for row in answer.examples or ()]
    if examples:
        details["examples"] = table_of(examples)
    texts = list(dict.fromkeys(answer.text for _, answer in answers))
    if len(texts) > 1:
        texts = [f"{stream.full_name}: {answer.text}" for stream, answer in answers]
    return dg.AssetCheckResult(
        passed=not failed,
        check_name=check.name,
        asset_key=key,
        severity=ERROR if any(answer.severity == ERROR for answer in failed or [a for _, a in answers]) else WARN,
        description="; ".join(texts),
        metadata=details,
    )


def evaluation_of(result: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    """Returns a result as an event that any step may log."""
    assert result.asset_key is not None and result.check_name is not None
    return dg.AssetCheckEvaluation(
        check_name=result.check_name,
        asset_key=result.asset_key,
        passed=result.passed,
        metadata=result.metadata,
        severity=result.severity,
        description=result.description,
    )
