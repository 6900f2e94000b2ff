"""One process, measured from its start to its end.

Belongs here: time, processor time and peak memory of a child. Does not belong here: which children there are
(`lanes`), what the server did meanwhile (`database`).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

KILOBYTE = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss: bytes there, kilobytes elsewhere


@dataclass(frozen=True)
class Ended:
    """A process that ended.

    Attributes:
        status: its exit status.
        seconds: from fork to reap.
        cpu: its own processor time, the server's aside.
        peak_mb: its largest resident memory.
        output: what it printed on stdout.
        errors: what it printed on stderr.
    """

    status: int
    seconds: float
    cpu: float
    peak_mb: float
    output: str
    errors: str


def run_process(command: Sequence[str], environment: Mapping[str, str], folder: Path) -> Ended:
    """Runs a command in a folder, with variables beside those that are set already, and waits for it.

    On Linux the peak of a child is never told below that of the process that forked it, so this one has to stay small.
    """
    out, err = folder / "stdout", folder / "stderr"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        begun = time.perf_counter()
        child = subprocess.Popen(
            command, env={**os.environ, **environment}, cwd=folder, stdin=subprocess.DEVNULL, stdout=stdout,
            stderr=stderr,
        )  # fmt: skip
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - begun
    child.returncode = os.waitstatus_to_exitcode(status)
    return Ended(
        status=child.returncode,
        seconds=seconds,
        cpu=usage.ru_utime + usage.ru_stime,
        peak_mb=usage.ru_maxrss * KILOBYTE / 1e6,
        output=out.read_text(),
        errors=err.read_text(),
    )
