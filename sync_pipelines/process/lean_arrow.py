"""Arrow without pandas.

pyarrow imports pandas, where it is installed, with the first array it makes of Python values: a quarter of a second and
forty megabytes of every sync, for types that no value here has.

Belongs here: keeping it from that. Does not belong here: anything made with Arrow.
"""

from __future__ import annotations

from sync_pipelines.process.lean_imports import without


def leave_pandas_out() -> None:
    """Has pyarrow take pandas for not installed; whoever asks it for a frame later gets one all the same."""
    import pyarrow

    with without("pandas"):
        pyarrow.array(())
