"""Child processes of `up`: started again, stopped for certain, never left behind twice."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from sync_pipelines.errors import SyncError
from sync_pipelines.orchestration.services import (
    Service,
    check_port,
    end_leftovers,
    is_answering,
    note_children,
    reachable,
    stop_all,
)

STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"


def service(tmp_path: Path, code: str) -> Service:
    return Service("thing", [sys.executable, "-c", code], {}, tmp_path / "thing.log", pause=0.1)


def until(question: Callable[[], object], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_process_that_ends_is_started_again_after_longer_pauses(tmp_path: Path) -> None:
    ending = service(tmp_path, "print('here'); raise SystemExit(3)")
    said: list[str] = []
    ending.start()

    def watched_twice() -> bool:
        ending.watch(said.append)
        return len(said) == 2

    until(watched_twice)
    stop_all([ending])
    assert ending.pause == pytest.approx(0.4)
    assert "the thing ended (3)" in said[0]
    assert (tmp_path / "thing.log").read_text().startswith("here\nhere\n")


def test_a_process_that_runs_is_left_alone(tmp_path: Path) -> None:
    running = service(tmp_path, "import time; time.sleep(60)")
    running.start()
    process = running.process
    running.watch(pytest.fail)
    assert running.process is process
    stop_all([running])
    assert process is not None
    assert process.returncode is not None


def test_a_process_that_does_not_want_to_stop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sync_pipelines.orchestration.services._STOP_SECONDS", 0.3)
    stubborn = service(tmp_path, STUBBORN)
    stubborn.start()
    until(lambda: "up" in (tmp_path / "thing.log").read_text())
    stop_all([stubborn])
    assert stubborn.process is not None
    assert stubborn.process.returncode == -9


def test_what_a_killed_child_left_at_work_ends_with_the_stop(tmp_path: Path) -> None:
    leaving = service(
        tmp_path,
        "import subprocess, sys, time\n"
        "print(subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)']).pid, flush=True)\n"
        "time.sleep(60)",
    )
    leaving.start()
    until(lambda: (tmp_path / "thing.log").read_text().strip())
    grandchild = psutil.Process(int((tmp_path / "thing.log").read_text().split()[0]))
    assert leaving.process is not None
    leaving.process.kill()
    leaving.process.wait()
    leaving.watch(lambda _: None)
    assert [process.pid for process in leaving.left] == [grandchild.pid]
    assert grandchild.is_running()
    stop_all([leaving])
    assert not grandchild.is_running() or grandchild.status() == psutil.STATUS_ZOMBIE


def test_children_of_a_killed_up_are_ended_by_the_next(tmp_path: Path) -> None:
    left = service(tmp_path, "import time; time.sleep(60)")
    left.start()
    note_children(tmp_path / "children", [left])
    assert end_leftovers(tmp_path / "children") == 1
    assert left.process is not None
    assert left.process.poll() is not None
    assert end_leftovers(tmp_path / "children") == 0


def test_another_process_of_the_same_number_is_not_ended(tmp_path: Path) -> None:
    other = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    started = psutil.Process(other.pid).create_time()
    (tmp_path / "children").write_text(json.dumps([[other.pid, started - 100], [999_999_999, 1.0]]))
    assert end_leftovers(tmp_path / "children") == 0
    assert other.poll() is None
    other.kill()
    other.wait()


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_damaged_note_of_children(tmp_path: Path, content: str) -> None:
    (tmp_path / "children").write_text(content)
    assert end_leftovers(tmp_path / "children") == 0


def test_a_port_in_use_is_said_in_a_sentence() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        with pytest.raises(SyncError, match=f"port {port} on 127.0.0.1 cannot be used") as caught:
            check_port("127.0.0.1", port)
        assert "--port" in caught.value.hint
        assert not is_answering("127.0.0.1", 1)
    check_port("127.0.0.1", port)


def test_a_host_that_is_not_here() -> None:
    with pytest.raises(SyncError, match=r"nowhere\.invalid"):
        check_port("nowhere.invalid", 3000)


def test_an_address_to_open() -> None:
    assert reachable("0.0.0.0") == "127.0.0.1"
    assert reachable("10.0.0.7") == "10.0.0.7"
