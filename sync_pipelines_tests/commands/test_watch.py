"""`sync --watch`: what it loads and when, what it prints, and how it ends; the waiting between looks is the test's."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sync_pipelines.configuration.settings import Settings
from sync_pipelines_tests.commands.calling import Call
from sync_pipelines_tests.exports_in import TENANT, order, put

Script = Callable[..., None]


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    """Runs one step each time the watch waits, and interrupts it after the last."""

    def run(*steps: Callable[[], object]) -> None:
        left = iter(steps)

        def pause(_: float) -> None:
            step = next(left, None)
            if step is None:
                raise KeyboardInterrupt
            step()

        monkeypatch.setattr("sync_pipelines.commands.watch._pause", pause)

    return run


def test_what_rests_is_loaded_and_what_failed_waits(call: Call, landing: str, script: Script) -> None:
    growing = Path(landing) / put(landing, "2010-12-01.json", [order("A")])

    def grow() -> None:
        # Its time is old, as a copy that keeps times has it; only its size tells that it is being written.
        times = growing.stat()
        growing.write_text(json.dumps([order("A"), order("B")]))
        os.utime(growing, ns=(times.st_atime_ns, times.st_mtime_ns))

    script(
        lambda: put(landing, "2010-12-02.json", [order("C"), order("")], age=0),
        lambda: put(landing, "2010-12-02.json", [order("C"), order("")]),
        lambda: put(landing, "2010-12-03.json", "not json"),
        grow,
        lambda: None,
        lambda: put(landing, "2010-12-04.json", [order("D")], tenant="acme"),
        lambda: None,
    )
    done = call("sync", "--watch")
    lines = [line.partition(" ")[2].replace(f"replenit/{TENANT}/orders/", "") for line in done.out.splitlines()]
    assert [" ".join(line.split()[:2]) for line in lines] == [
        "loaded 2010-12-01.json:",
        "loaded 2010-12-02.json:",
        "failed 2010-12-03.json:",
        "loaded 2010-12-01.json:",
        "failed replenit/acme/orders/2010-12-04.json:",
    ]
    assert "; next attempt at " in lines[2]
    assert done.status == 4
    assert done.err.splitlines()[-1] == "stopped"


def test_a_line_of_json_for_each_round(call: Call, landing: str, script: Script, settings: Settings) -> None:
    put(landing, "2010-12-01.json", [order("A")])

    def mistake() -> None:
        settings.sources.write_text("sources: 7\n")

    def correct() -> None:
        settings.sources.write_text("sources: []\n")
        put(landing, "2010-12-02.json", [order("B"), order("")])

    script(mistake, lambda: None, correct, lambda: None)
    done = call("sync", "--watch", "--json")
    rounds = [json.loads(line) for line in done.out.splitlines()]
    assert [one["totals"]["created"] for one in rounds] == [1, 1]
    assert done.status == 3
    assert done.err.count("error: sources.yaml line 1") == 1
    assert call("sync", "--watch", "--preview").status == 2


def test_an_interrupt_while_a_file_is_loaded_is_130(
    call: Call, landing: str, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    put(landing, "2010-12-01.json", [order("A")])
    monkeypatch.setattr("sync_pipelines.orchestration.runs.run_pending", interrupted)
    script()
    assert call("sync", "--watch").status == 130
