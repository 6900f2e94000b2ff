"""A message to the webhook about files and folders of the landing that belong to no stream.

The cursor has the paths of the last tick, and those that a message named. A message names a path once, after two ticks
found it: a user has time to move a file after copying it.

Belongs here: when a message is sent, and its text. Does not belong here: looking (`stages.misplaced`), sending
(`alerts`, `webhook`).
"""

import json
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import dagster as dg

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.errors import ConfigurationError, LandingUnavailable
from sync_pipelines.orchestration.alerts import Send, listed, send_text
from sync_pipelines.orchestration.looks import PATIENCE
from sync_pipelines.privacy.masking import without_emails
from sync_pipelines.privacy.untrusted_text import on_one_line, slack_escaped
from sync_pipelines.stages.export_stages import Workspace
from sync_pipelines.stages.misplaced import Misplaced, find_misplaced

SECONDS_BETWEEN_TICKS: Final = 300
_REMEMBERED: Final = 1_000
"""The number of paths in a cursor; of more, only the first get a message."""


@dataclass
class _Look:
    """A look at the landing that a tick waits for no longer than `PATIENCE`."""

    ended: threading.Event = field(default_factory=threading.Event)
    found: list[Misplaced] = field(default_factory=list)
    error: Exception | None = None

    def run(self, workspace: Workspace) -> None:
        try:
            self.found = find_misplaced(workspace.landing, workspace.sources)
        except Exception as error:
            self.error = error
        finally:
            self.ended.set()


_on_their_way: dict[Settings, _Look] = {}


def build_misplaced_sensor(send: Send | None = None) -> dg.SensorDefinition:
    """Returns the sensor, on by default. It requests no runs.

    Args:
        send: takes URL and text; by default `webhook.send`.
    """

    @dg.sensor(
        name="sync_misplaced_files",
        minimum_interval_seconds=SECONDS_BETWEEN_TICKS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Sends a message to a webhook (SYNC_ALERT_WEBHOOK) about files that belong to no stream.",
    )
    def misplaced_files(
        context: dg.SensorEvaluationContext, sync_pipelines_workspace: dg.ResourceParam[Any]
    ) -> dg.SensorResult:
        workspace: Workspace = sync_pipelines_workspace
        try:
            found = _look(workspace)
        except (LandingUnavailable, ConfigurationError) as error:
            return dg.SensorResult(skip_reason=on_one_line(str(error)), cursor=context.cursor)
        if found is None:
            reason = "still looking at the landing; a later tick continues"
            return dg.SensorResult(skip_reason=reason, cursor=context.cursor)
        seen, named = _remembered(context.cursor)
        news = [one for one in found if one.path in seen and one.path not in named]
        reason = _summary(found)
        if news and workspace.settings.alert_webhook is not None:
            failure = send_text(send, workspace.settings, message(news, workspace.settings.ui_url))
            if failure:
                return dg.SensorResult(skip_reason=f"{reason}; no message was sent: {failure}", cursor=context.cursor)
            named |= {one.path for one in news}
        there = [one.path for one in found[:_REMEMBERED]]
        cursor = json.dumps({"seen": there, "told": [path for path in there if path in named]})
        return dg.SensorResult(skip_reason=reason, cursor=cursor)

    return misplaced_files


def message(news: Sequence[Misplaced], ui_url: str | None) -> str:
    """Returns the text of a message about misplaced files and folders."""
    parts = [f"sync_pipelines: {len(news):,} files and folders belong to no stream; nothing in them is loaded:"]
    parts += listed(
        f"{slack_escaped(without_emails(one.path))}: {slack_escaped(one.why)}; {slack_escaped(one.hint)}"
        for one in news
    )
    parts.append("What to do: move or rename them as described. The next look loads them.")
    return "\n".join([*parts, ui_url.rstrip("/")] if ui_url else parts)


def _look(workspace: Workspace) -> list[Misplaced] | None:
    """Returns what is misplaced, or None while the look is running."""
    key = workspace.settings
    look = _on_their_way.get(key)
    if look is None:
        look = _on_their_way[key] = _Look()
        threading.Thread(target=look.run, args=(workspace,), name="look for misplaced files", daemon=True).start()
    if not look.ended.wait(PATIENCE):
        return None
    del _on_their_way[key]
    if look.error is not None:
        raise look.error
    return look.found


def _summary(found: Sequence[Misplaced]) -> str:
    if not found:
        return "every file and folder belongs to a stream"
    first = on_one_line(without_emails(f"{found[0].path} {found[0].why}; {found[0].hint}"))
    return first + (f"; and {len(found) - 1:,} more" if len(found) > 1 else "")


def _remembered(cursor: str | None) -> tuple[set[str], set[str]]:
    try:
        found = json.loads(cursor or "{}")
        return set(found.get("seen", ())), set(found.get("told", ()))
    except (ValueError, AttributeError, TypeError):
        return set(), set()
