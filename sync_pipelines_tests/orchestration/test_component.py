"""A `dg` project adds the streams with a `defs.yaml`, and mistakes in it are named with their line."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

DEFINED = "type: sync_pipelines.SyncPipelinesComponent\nattributes:\n  "


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A project of one component, which has no attributes yet."""
    (tmp_path / "pyproject.toml").write_text(
        "[tool.dg]\ndirectory_type = 'project'\n[tool.dg.project]\nroot_module = 'shop'\n"
    )
    (tmp_path / "shop/defs/sync").mkdir(parents=True)
    (tmp_path / "shop/__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SYNC_HOME", str(tmp_path / "home"))
    yield tmp_path
    for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
        del sys.modules[name]


def defined(project: Path, attributes: str) -> dg.Definitions:
    (project / "shop/defs/sync/defs.yaml").write_text(DEFINED + attributes)
    with warnings.catch_warnings():
        # Dagster calls its own parameters beta.
        warnings.simplefilter("ignore", dg.BetaWarning)
        found = dg.load_from_defs_folder(path_within_project=project / "shop")
        dg.Definitions.validate_loadable(found)
    return found


@pytest.mark.parametrize(
    ("attributes", "jobs"),
    [
        ("partners: [replenit, pocketflows]\n  streams: [replenit/orders, pocketflows/customers]",
         {"replenit_orders", "pocketflows_customers"}),
        ("partners: \"{{ env.SHOP_PARTNER }}\"", {"nilo_stores"}),
    ],
)  # fmt: skip
def test_the_named_streams_are_loaded(
    project: Path, attributes: str, jobs: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_PARTNER", "nilo")
    found = {job.name for job in defined(project, attributes).get_repository_def().get_all_jobs()}
    ours = {"__ASSET_JOB", "sync_check_tables", "explain_row", "sync_housekeeping"}
    ours |= {"undo_export", "sync_verify"}
    assert found == ours | {f"sync_{name}" for name in jobs}


@pytest.mark.parametrize(
    ("attributes", "error"),
    [
        ("partners: [replenitt]", "unknown partner 'replenitt'; did you mean replenit?"),
        ("streams: [replenit/order]", "unknown stream 'replenit/order'; did you mean replenit/orders?"),
        ("stream: [replenit/orders]", "Extra inputs are not permitted"),
    ],
)
def test_a_mistake_is_named_with_its_line(project: Path, attributes: str, error: str) -> None:
    with pytest.raises(Exception, match="Error while loading component") as caught:
        defined(project, attributes)
    cause = str(caught.value.__cause__)
    assert error in cause and "shop/defs/sync/defs.yaml:3" in cause
