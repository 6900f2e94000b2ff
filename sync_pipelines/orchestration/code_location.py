"""The definitions that Dagster loads if the project is a code location of its own.

Belongs here: what applies to the whole location, such as the executor. Does not belong here: definitions that another
deployment may merge with its own (`sync_pipelines.definitions`).
"""

from __future__ import annotations

import dagster as dg

from sync_pipelines.orchestration.build import build_definitions
from sync_pipelines.orchestration.jobs import EXECUTOR

defs = dg.Definitions.merge(build_definitions(), dg.Definitions(executor=EXECUTOR))
