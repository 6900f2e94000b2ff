"""Small exports of orders for tests that need a landing, with modification times they choose."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from pathlib import Path

TENANT = "7d444840-9dc0-11d1-b245-5ffdce74fad2"
OTHER = "9b2f6c1e-3a55-4b0e-8d57-1c2f4ae0d7b9"


def order(key: str, **fields: object) -> dict[str, object]:
    """A sound order."""
    return {"OrderId": key, "Currency": "EUR", "Email": "ana@example.com", "TotalRevenue": 10, **fields}


def put(
    landing: str | Path, name: str, records: Iterable[object] | str | bytes, *, tenant: str = TENANT, age: float = 3600
) -> str:
    """Writes an export of orders that was last changed `age` seconds ago; returns its path in the landing."""
    path = f"replenit/{tenant}/orders/{name}"
    content = records if isinstance(records, str | bytes) else json.dumps(list(records))
    file = Path(landing) / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    os.utime(file, (time.time() - age, time.time() - age))
    return path
