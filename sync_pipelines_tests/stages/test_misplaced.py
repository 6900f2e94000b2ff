"""What lies in the landing where no stream takes it: which things, and the nearest right name."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sync_pipelines.configuration.sources import Sources, load_sources
from sync_pipelines.exports.landing import Landing
from sync_pipelines.stages.misplaced import find_misplaced
from sync_pipelines_tests.loading import TENANT

PARTNERS = (
    "known partners are reten, pocketflows, nilo, replenit, traede; exports go to <partner>/<tenant>/<stream>/<file>"
)


def put(landing: Path, *paths: str) -> None:
    for path in paths:
        file = landing / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("[]")


def told(landing: Path, sources: Sources | None = None) -> dict[str, tuple[str, str]]:
    found = find_misplaced(Landing(str(landing)), sources or Sources())
    return {one.path: (one.why, one.hint) for one in found}


@pytest.mark.parametrize(
    ("put_at", "path", "why", "hint"),
    [
        ("replenit/T/order/a.csv", "replenit/T/order", "is not a stream of replenit", "did you mean orders?"),
        ("replenit/T/Orders/a.csv", "replenit/T/Orders", "is not a stream of replenit", "did you mean orders?"),
        ("Replenit/T/orders/a.csv", "Replenit", "is not a known partner", "did you mean replenit?"),
        ("pocket-flows/T/orders/a.csv", "pocket-flows", "is not a known partner", "did you mean pocketflows?"),
        ("shopify/T/x/a.csv", "shopify", "is not a known partner", PARTNERS),
        ("orders/a.csv", "orders", "is not a known partner", "move it to replenit/<tenant>/orders/"),
        ("orders_2024.csv", "orders_2024.csv", "is not in a stream's folder",
         "move it to replenit/<tenant>/orders/orders_2024.csv"),
        ("a.csv", "a.csv", "is not in a stream's folder", "move it to <partner>/<tenant>/<stream>/a.csv"),
        ("nilo/a.csv", "nilo/a.csv", "is not in a stream's folder", "move it to nilo/<tenant>/stores/a.csv"),
        ("nilo/T/a.csv", "nilo/T/a.csv", "is not in a stream's folder", "move it to nilo/T/stores/a.csv"),
        ("nilo/stores/a.csv", "nilo/stores", "is where a tenant's folder is expected",
         "move it to nilo/<tenant>/stores/"),
        ("nilo/Stores/2024/a.csv", "nilo/Stores", "is where a tenant's folder is expected",
         "move it to nilo/<tenant>/stores/"),
        ("nilo/T/orders/a.csv", "nilo/T/orders", "is not a stream of nilo", "move it to replenit/<tenant>/"),
        ("nilo/T/whatever/a.csv", "nilo/T/whatever", "is not a stream of nilo", "the streams of nilo are stores"),
    ],
)  # fmt: skip
def test_it_is_told_with_the_nearest_right_name(tmp_path: Path, put_at: str, path: str, why: str, hint: str) -> None:
    put(tmp_path, put_at)
    assert told(tmp_path) == {path: (why, hint)}


def test_what_streams_take_and_what_is_hidden_is_not_told(tmp_path: Path) -> None:
    put(tmp_path, "replenit/T/orders/2024/a.csv", "nilo/T/stores/a.nope", "_README", ".git/x", "_old/x/y/z", "a.part")
    put(tmp_path, "reten/_old/x/z.json", "reten/T/.cache/z.json", "reten/T/_notes.md")
    assert told(tmp_path) == {}


def test_a_folder_is_told_once_whatever_is_in_it(tmp_path: Path) -> None:
    put(tmp_path, *(f"nilo/stores/2024-01-{day:02}/{n}.csv" for day in range(1, 9) for n in range(3)))
    assert len(told(tmp_path)) == 1


def test_a_path_that_takes_no_file_is_told_and_one_that_leaves_some_out_is_not(tmp_path: Path) -> None:
    put(tmp_path, f"replenit/{TENANT}/orders/a.CSV", f"replenit/{TENANT}/orders/2024/b.CSV")
    source = f"partner: replenit, tenant: {TENANT}, streams: {{orders: {{path: '*.csv'}}}}"
    (tmp_path / "sources.yaml").write_text(f"sources: [{{{source}}}]")
    sources = load_sources(tmp_path / "sources.yaml")
    landing = tmp_path / "replenit" / TENANT
    ((path, (why, hint)),) = [one for one in told(tmp_path, sources).items() if one[0].startswith("replenit")]
    assert path == f"replenit/{TENANT}/orders"
    assert why in {f"has no file that matches `path: *.csv`, of 2, such as {name}" for name in ("a.CSV", "2024/b.CSV")}
    assert hint == "correct `path` in sources.yaml"
    put(tmp_path, f"replenit/{TENANT}/orders/c.csv")
    assert landing.is_dir()
    assert not [one for one in told(tmp_path, sources) if one.startswith("replenit")]


def test_a_large_landing_is_looked_at_fast(tmp_path: Path) -> None:
    """Files within the folders of streams are not listed for it."""
    folder = tmp_path / "replenit" / TENANT / "orders"
    folder.mkdir(parents=True)
    for number in range(20_000):
        (folder / f"{number}.json").touch()
    started = time.monotonic()
    assert told(tmp_path) == {}
    assert time.monotonic() - started < 0.2
