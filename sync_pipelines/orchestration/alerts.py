"""One message to a webhook for each failed run: which stream and days, which files and why, what to do.

Belongs here: when a message is sent, and its text. Does not belong here: sending (`webhook`).
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import dagster as dg

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import ledger
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.orchestration.due import ATTEMPTS
from sync_pipelines.orchestration.failed_runs import streams_of
from sync_pipelines.orchestration.partitions import dates_of
from sync_pipelines.orchestration.plurals import counted
from sync_pipelines.privacy.masking import without_emails
from sync_pipelines.privacy.untrusted_text import slack_escaped
from sync_pipelines.stages.export_stages import Workspace

SECONDS_BETWEEN_TICKS: Final = 15
_SHOWN: Final = 10
_LONGEST_ERROR: Final = 300

Send = Callable[[str, str], None]


def build_alert_sensor(streams: Iterable[Stream], other_jobs: Iterable[str], send: Send | None = None) -> Any:
    """Returns the sensor, on by default. It does nothing until `SYNC_ALERT_WEBHOOK` is set.

    Args:
        streams: whose runs are ours.
        other_jobs: names of further jobs that are ours.
        send: takes URL and text; by default `webhook.send`.
    """
    chosen, others = tuple(streams), frozenset(other_jobs)

    @dg.run_failure_sensor(
        name="sync_failure_alerts",
        # Runs of the command line may belong to another code location.
        monitor_all_code_locations=True,
        minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sends a message to a webhook (SYNC_ALERT_WEBHOOK) when a run fails: what failed, why, what to do.",
    )
    def failure_alerts(
        context: dg.RunFailureSensorContext, sync_pipelines_workspace: dg.ResourceParam[Any]
    ) -> dg.SkipReason | None:
        workspace: Workspace = sync_pipelines_workspace
        run = context.dagster_run
        settings: Settings = workspace.settings
        concerned = streams_of(run, chosen)
        if settings.alert_webhook is None:
            return dg.SkipReason(f"run {run.run_id} failed; SYNC_ALERT_WEBHOOK is not set, so no message is sent")
        if not concerned and run.job_name not in others:
            return dg.SkipReason(f"run {run.run_id} does not belong to sync_pipelines")
        files = failed_files(workspace, concerned, run.run_id)
        if files and not any(is_news(file) for file in files):
            return dg.SkipReason(f"run {run.run_id} retried exports that an earlier message named")
        error = send_text(
            send, settings, message(run, context.failure_event.message, concerned, files, settings.ui_url)
        )
        return dg.SkipReason(f"run {run.run_id} failed, and no message was sent: {error}") if error else None

    return failure_alerts


def failed_files(workspace: Workspace, streams: Iterable[Stream], run_id: str) -> list[LedgerFile]:
    """Returns the files that failed in a run and are not loaded yet."""
    with workspace.connection() as connection:
        entries = [e for s in streams for e in ledger.unloaded(connection, s.partner, s.name)]
    return [entry for entry in entries if entry.status == "failed" and entry.run_id == run_id]


def is_news(file: LedgerFile) -> bool:
    """Returns whether to send a message about a failure: the first, and the last before the file is set aside."""
    return file.attempts <= 1 or file.attempts >= ATTEMPTS


def message(
    run: dg.DagsterRun, error: str | None, streams: Sequence[Stream], files: Sequence[LedgerFile], ui_url: str | None
) -> str:
    """Returns the text of a message about a failed run."""
    days = dates_of(dict(run.tags))
    what = ", ".join(stream.full_name for stream in streams) or run.job_name
    parts = [f"sync_pipelines: {what} failed" + (f" for {days}" if days else "") + f" (job {run.job_name})"]
    if files:
        parts.append(f"{counted(len(files), 'export')} failed; the others of the run are loaded:")
        parts += listed(
            f"{slack_escaped(without_emails(file.path))}: {short(file.error)}{_aside(file)}" for file in files
        )
        parts.append(
            "What to do: correct the file or sources.yaml (docs/codes.md explains each code). "
            "The sensor tries again; to try now, run sync-pipelines sync."
        )
    else:
        parts.append(short(error) or "No export caused it.")
        parts.append("What to do: open the run. To find the cause, run sync-pipelines check. Nothing is lost.")
    if ui_url:
        parts.append(f"{ui_url.rstrip('/')}/runs/{run.run_id}")
    return "\n".join(parts)


def listed(lines: Iterable[str]) -> list[str]:
    """Returns the first lines as those of a list, and how many more there are."""
    found = list(lines)
    more = [f"... and {len(found) - _SHOWN:,} more: sync-pipelines status"] if len(found) > _SHOWN else []
    return [f"- {line}" for line in [*found[:_SHOWN], *more]]


def _aside(file: LedgerFile) -> str:
    return f" (set aside after {file.attempts} attempts)" if file.attempts >= ATTEMPTS else ""


def short(text: str | None) -> str:
    """Returns a text on one line, without e-mail addresses, as a message shows it."""
    one_line = without_emails(" ".join((text or "").split()))
    return slack_escaped(one_line if len(one_line) <= _LONGEST_ERROR else one_line[: _LONGEST_ERROR - 4] + " ...")


def send_text(send: Send | None, settings: Settings, text: str) -> str | None:
    """Sends a text; returns the error if that failed, without the URL."""
    # httpx takes a fifth of a second to import, and most installations have no webhook.
    from sync_pipelines.orchestration import webhook

    assert settings.alert_webhook is not None
    try:
        (send or webhook.send)(settings.alert_webhook.get_secret_value(), text)
    except webhook.WebhookFailed as error:
        return str(error)
    return None
