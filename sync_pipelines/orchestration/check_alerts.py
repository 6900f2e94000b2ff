"""One message to a webhook for each run that turned a check red, or in which a guard held an export.

Belongs here: when that message is sent, and its text. Does not belong here: failed runs (`alerts`), sending
(`webhook`), the checks (`checks`).
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final

import dagster as dg

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.contracts.streams import Stream
from sync_pipelines.database import ledger
from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.orchestration.alerts import SECONDS_BETWEEN_TICKS, Send, listed, send_text, short
from sync_pipelines.orchestration.check_steps import check_keys
from sync_pipelines.orchestration.plurals import counted, is_or_are
from sync_pipelines.orchestration.private_dagster import check_before, checks_of_run
from sync_pipelines.privacy.masking import without_emails
from sync_pipelines.privacy.untrusted_text import slack_escaped
from sync_pipelines.stages.export_stages import Workspace

Evaluation = dg.AssetCheckEvaluation

_UNKNOWN: Final = "no description"


def build_check_alert_sensor(streams: Iterable[Stream], send: Send | None = None) -> dg.SensorDefinition:
    """Returns the sensor, on by default. It does nothing until `SYNC_ALERT_WEBHOOK` is set.

    Args:
        streams: whose checks are ours.
        send: takes URL and text; by default `webhook.send`.
    """
    ours = frozenset(check_keys(streams))

    @dg.run_status_sensor(
        name="sync_check_alerts",
        run_status=dg.DagsterRunStatus.SUCCESS,
        # Runs of the command line may belong to another code location.
        monitor_all_code_locations=True,
        minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sends a message to a webhook (SYNC_ALERT_WEBHOOK) when a check turns red, or an export is held.",
    )
    def check_alerts(
        context: dg.RunStatusSensorContext, sync_pipelines_workspace: dg.ResourceParam[Any]
    ) -> dg.SkipReason | None:
        workspace: Workspace = sync_pipelines_workspace
        settings: Settings = workspace.settings
        run = context.dagster_run
        if settings.alert_webhook is None:
            return dg.SkipReason("SYNC_ALERT_WEBHOOK is not set, so no message is sent")
        red = [one for one in checks_of_run(context.instance, run.run_id) if is_red(one)]
        news = [
            one
            for one in red
            if one.asset_check_key in ours
            and not is_red(check_before(context.instance, one.asset_check_key, run.run_id))
        ]
        held = held_in_run(workspace, run.run_id)
        if not news and not held:
            return dg.SkipReason(f"no check turned red in run {run.run_id}, and no guard held an export")
        text = message(run, news, held, settings.ui_url)
        error = send_text(send, settings, text)
        return (
            dg.SkipReason(f"checks turned red in run {run.run_id}, and no message was sent: {error}") if error else None
        )

    return check_alerts


def is_red(evaluation: Evaluation | None) -> bool:
    """Returns whether a check failed with an error, which somebody has to act on."""
    return evaluation is not None and not evaluation.passed and evaluation.severity == dg.AssetCheckSeverity.ERROR


def message(run: dg.DagsterRun, red: Sequence[Evaluation], held: Sequence[LedgerFile], ui_url: str | None) -> str:
    """Returns the text of a message about checks that turned red, and exports that were held."""
    names = ", ".join(sorted({one.asset_key.to_user_string() for one in red} | {_rows_of(entry) for entry in held}))
    what = [f"{counted(len(held), 'export')} {is_or_are(len(held))} held"] if held else []
    what += [f"{counted(len(red), 'check')} {is_or_are(len(red))} red"] if red else []
    lines = [f"sync_pipelines: {names}: {', '.join(what)} (job {run.job_name})"]
    if held:
        lines.append("Nothing of these exports is loaded:")
        lines += listed(f"{slack_escaped(without_emails(entry.path))}: {short(entry.error)}" for entry in held)
        lines.append('What to do: correct them, or load one as it is with sync-pipelines release PATH --reason "..."')
    for one in sorted(red, key=lambda one: one.check_name):
        lines.append(f"- {one.check_name}: {short(one.description or _UNKNOWN)}")
        if todo := one.metadata.get("what_to_do"):
            lines.append(f"  What to do: {short(str(todo.value))}")
    if ui_url:
        lines.append(f"{ui_url.rstrip('/')}/runs/{run.run_id}")
    return "\n".join(lines)


def held_in_run(workspace: Workspace, run_id: str) -> list[LedgerFile]:
    """Returns the exports that a run tried to load and a guard holds."""
    with workspace.connection() as connection:
        return [entry for entry in ledger.held(connection) if entry.run_id == run_id]


def _rows_of(entry: LedgerFile) -> str:
    return f"{entry.partner}/{entry.stream}"
