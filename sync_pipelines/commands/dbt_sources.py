"""`sync-pipelines dbt-sources`: the tables and views as a source of dbt.

Belongs here: printing. Does not belong here: the content (`database.dbt_sources`).
"""

from __future__ import annotations

import yaml

from sync_pipelines.database.dbt_sources import build_sources


def run() -> int:
    """Prints a `sources.yml`; no database is asked."""
    print(yaml.safe_dump(build_sources(), sort_keys=False, allow_unicode=True, width=120), end="")
    return 0
