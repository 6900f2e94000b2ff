"""`sync-pipelines housekeeping`: what the nightly job does, at once.

Belongs here: layout. Does not belong here: what is removed (`stages.file_cleanup`, `orchestration.storage_cleanup`).
"""

from __future__ import annotations

from sync_pipelines.commands.screen import json_of, print_table, say
from sync_pipelines.configuration.settings import load_settings
from sync_pipelines.partners import STREAMS
from sync_pipelines.stages.export_stages import open_workspace

_MEANINGS = {
    "runs": "old runs that materialized nothing",
    "events": "events of steps of other old runs",
    "ticks": "old ticks of sensors and schedules",
    "unfinished": "left by killed processes",
    "merged": "small objects of kept records, merged into larger ones",
    "objects": "kept records that no ledger entry has named for a day",
    "raw": "raw bytes of loaded exports (SYNC_KEEP_RAW_DAYS)",
    "logs": "old traces and log files",
    "run_logs": "what old runs printed",
}


def run(*, as_json: bool, is_masking: bool = False) -> int:
    """Removes what is old, merges what is small, masks personal data if asked to, and prints how much; returns 0."""
    from sync_pipelines.orchestration.instance import open_instance
    from sync_pipelines.orchestration.masked_events import mask_stored
    from sync_pipelines.orchestration.storage_cleanup import tidy

    settings = load_settings()
    workspace = open_workspace(settings)
    with open_instance(settings) as instance:
        done = tidy(workspace, instance, STREAMS)
        masked = mask_stored(workspace, instance, STREAMS) if is_masking else {}
    if as_json:
        print(json_of(done.counts | done.bytes | masked))
        return 0
    rows = [(name, number, done.bytes.get(f"{name}_bytes"), _MEANINGS[name]) for name, number in done.counts.items()]
    print_table(("what", "number", "bytes", "which is"), rows)
    for name, number in masked.items():
        say(f"{name.replace('_', ' ')}: {number:,}")
    return 0
