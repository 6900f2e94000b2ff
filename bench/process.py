"""One process, measured from its start to its end.

Belongs here: time, processor time and peak memory of a child. Does not belong here: which children there are
(`lanes`), what the server did meanwhile (`database`).
"""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sync_pipelines

KILOBYTE = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss: bytes there, kilobytes elsewhere

LOOK_SECONDS: Final = 0.1
"""Between two looks at the memory of a process and its children: each takes it a millisecond or two."""


@dataclass(frozen=True)
class Ended:
    """A process that ended.

    Attributes:
        status: its exit status.
        seconds: from fork to reap.
        cpu: its own processor time, the server's aside.
        peak_mb: the largest memory of it and its children together, what they share counted once (on Linux; its
            largest resident memory elsewhere).
        output: what it printed on stdout.
        errors: what it printed on stderr.
    """

    status: int
    seconds: float
    cpu: float
    peak_mb: float
    output: str
    errors: str


def compile_program() -> None:
    """Makes bytecode of the program as it is now, as an installation has it.

    Where Python may write none, every process would compile edited modules anew.
    """
    compileall.compile_dir(str(Path(sync_pipelines.__file__).parent), quiet=1)


def run_process(
    command: Sequence[str], environment: Mapping[str, str], folder: Path, *, looks_at_memory: bool = True
) -> Ended:
    """Runs a command in a folder, with variables beside those that are set already, and waits for it.

    On Linux the peak of a child is never told below that of the process that forked it, so this one has to stay small.
    Looking at memory takes a sync of two seconds a fortieth of them; without, only the largest process's peak is told.
    """
    out, err = folder / "stdout", folder / "stderr"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        begun = time.perf_counter()
        child = subprocess.Popen(
            command, env={**os.environ, **environment}, cwd=folder, stdin=subprocess.DEVNULL, stdout=stdout,
            stderr=stderr,
        )  # fmt: skip
        memory = _Memory(child.pid) if looks_at_memory else None
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - begun
        peak = memory.end() if memory is not None else 0
    child.returncode = os.waitstatus_to_exitcode(status)
    return Ended(
        status=child.returncode,
        seconds=seconds,
        cpu=usage.ru_utime + usage.ru_stime,
        peak_mb=max(peak, usage.ru_maxrss * KILOBYTE) / 1e6,
        output=out.read_text(),
        errors=err.read_text(),
    )


class _Memory:
    """Looks at the memory of a process and its children, while it runs."""

    def __init__(self, process: int) -> None:
        self._peak = 0
        self._process = process
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def end(self) -> int:
        """Looks no more; tells the peak in bytes, 0 where the system does not tell."""
        self._is_over.set()
        self._thread.join()
        return self._peak

    def _look(self) -> None:
        while not self._is_over.wait(LOOK_SECONDS):
            self._peak = max(self._peak, sum(map(_share, _family(self._process))))


def _family(process: int) -> Iterator[int]:
    yield process
    with suppress(OSError):
        for children in Path(f"/proc/{process}/task").glob("*/children"):
            for child in children.read_text().split():
                yield from _family(int(child))


def _share(process: int) -> int:
    """A process's memory, of pages that several have its share."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0
