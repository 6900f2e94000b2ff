"""Loads commerce partners' exports into four PostgreSQL tables, as a Dagster project."""

import os

# Arrow's own allocator keeps what it has freed: a hundred megabytes in a sync. Read when Arrow is imported.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
