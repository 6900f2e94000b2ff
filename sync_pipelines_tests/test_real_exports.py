"""Exports as people find them: what becomes of each, file by file, record by record, row by row.

The inputs lie beside the project, `../shared/cases/real_exports.json`; without them these tests are skipped. What
becomes of each is in `cases/real_exports.yaml`, by the case's id. `UPDATE_CASES=1` writes what is seen there, to be
read before it is kept.
"""

from __future__ import annotations

import base64
import json
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from sync_pipelines.commands.progress import line_of
from sync_pipelines_tests.loading import CASES, Site

SHARED = Path(__file__).parents[1].parent / "shared" / "cases" / "real_exports.json"
FOUND = {case["id"]: case for case in (json.loads(SHARED.read_text()) if SHARED.exists() else [])}
OUTCOMES = CASES / "real_exports.yaml"
_ROWS = {
    "orders": ("external_id", "total_revenue", "ordered_at", "is_cancelled"),
    "commerces": ("external_id", "name"),
    "stores": ("external_id", "credit_limit"),
    "customers": ("external_id", "email", "name", "phone", "discount_percentage"),
}

pytestmark = pytest.mark.skipif(not FOUND, reason=f"no {SHARED.name}")


@pytest.mark.parametrize("case", FOUND.values(), ids=FOUND.keys())
def test_what_becomes_of_a_real_export(case: dict[str, Any], site: Site) -> None:
    seen = outcome_of(case, site)
    known = yaml.safe_load(OUTCOMES.read_text()) if OUTCOMES.exists() else {}
    if os.environ.get("UPDATE_CASES"):
        known[case["id"]] = seen
        OUTCOMES.write_text(yaml.safe_dump(known, allow_unicode=True, sort_keys=True, width=1000))
        print(f"\n# {case['id']}, wanted: {case['expected']}")
        print(yaml.safe_dump(seen, allow_unicode=True, sort_keys=False, width=1000))
    assert seen == known.get(case["id"])


def test_every_outcome_is_of_a_case() -> None:
    assert yaml.safe_load(OUTCOMES.read_text()).keys() == FOUND.keys()


def outcome_of(case: dict[str, Any], site: Site) -> dict[str, Any]:
    """Loads a case step by step; what is said of its files and records, and the rows there are then."""
    (site.folder / "sources.yaml").write_text(case["sources_yaml"] or "")
    prefix = f"{case['partner']}/{_tenant(case)}/{case['stream']}/"
    told: dict[str, str] = {}
    for step in sorted({file["step"] for file in case["files"]}):
        for file in case["files"]:
            if file["step"] == step:
                site.put_at(file["path"], _content(file), _modified(file))
        told |= {entry.path.removeprefix(prefix): line_of(entry).split(": ", 1)[1] for entry in site.sync()}
    rejects = [
        f"{row['path'].removeprefix(prefix)} {row['position']}: {row['code']} {row['field_path'] or ''}".rstrip()
        for row in site.rejects()
    ]
    leniencies = {
        entry.path.removeprefix(prefix): dict(entry.leniencies) for entry in site.ledger() if entry.leniencies
    }
    found = {"files": told, "rejects": rejects, "leniencies": leniencies, "rows": _rows(site)}
    return {name: value for name, value in found.items() if value}


def _rows(site: Site) -> list[str]:
    """The rows as lines of text; items of an order as product, sku, quantity and price."""
    found = []
    for table, columns in _ROWS.items():
        for row in site.tables()[table].values():
            values = [f"{name}={_shown(row[name])}" for name in columns if row.get(name) is not None]
            items = [
                "x".join(_shown(item[name]) for name in ("product_id", "sku", "quantity", "price"))
                for item in row.get("order_items", ())
            ]
            shown = items if len(items) < 10 else [*items[:2], f"... {len(items)}"]
            found.append(" ".join([table, *values, *(["[" + ", ".join(shown) + "]"] if shown else [])]))
    return sorted(found)


def _shown(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _tenant(case: dict[str, Any]) -> str:
    return str(case["files"][0]["path"].split("/")[1])


def _content(file: dict[str, Any]) -> bytes:
    if file.get("content_base64") is not None:
        return base64.b64decode(file["content_base64"])
    return str(file["content"]).encode()


def _modified(file: dict[str, Any]) -> datetime:
    return datetime.fromtimestamp(time.time() - (file.get("mtime_age_s") or 3600), UTC)
