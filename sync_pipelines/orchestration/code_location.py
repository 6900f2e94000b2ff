"""What Dagster loads where the project is a code location of its own.

Belongs here: what holds for the whole location. Does not belong here: what another deployment may merge with its own
definitions (`sync_pipelines.definitions`), which cannot have an executor.
"""

from __future__ import annotations

import dagster as dg

from sync_pipelines import definitions
from sync_pipelines.orchestration.jobs import EXECUTOR

defs = dg.Definitions.merge(definitions.defs, dg.Definitions(executor=EXECUTOR))
