"""`python -m sync_pipelines` is `sync-pipelines`."""

from __future__ import annotations

from sync_pipelines.cli import main

if __name__ == "__main__":
    main()
