"""Arrow without pandas.

pyarrow imports pandas, where it is installed, with the first array it makes of Python values: a quarter of a second and
forty megabytes of every sync, for types that no value here has.

Belongs here: keeping it from that. Does not belong here: anything made with Arrow.
"""

from __future__ import annotations

import sys
from importlib.abc import MetaPathFinder
from typing import Any


class _WithoutPandas(MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError(name=name)


def leave_pandas_out() -> None:
    """Has pyarrow take pandas for not installed; whoever asks it for a frame later gets one all the same."""
    import pyarrow

    finder = _WithoutPandas()
    sys.meta_path.insert(0, finder)
    try:
        pyarrow.array(())
    finally:
        sys.meta_path.remove(finder)
