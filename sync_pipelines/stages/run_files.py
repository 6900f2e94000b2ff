"""Files of the active runs of this state folder: `SYNC_HOME/runs/<run id>`.

A process holds a lock on the file of its run; the kernel releases it however the process ends. The file names the
export that the process is loading. So a file that nobody holds belongs to a run that was killed. If each step of a run
is a process, each has a file of its own, `<run id>.<random>`.

Belongs here: the files, their locks, the id of the state folder. Does not belong here: the status of an export whose
run was killed (`killed_runs`), Dagster's runs (`orchestration.activity`).
"""

from __future__ import annotations

import fcntl
import json
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.exports.disk import storage_error
from sync_pipelines.privacy.private_files import private_folder

_LONGEST_NOTE: Final = 1 << 16
_WAIT_SECONDS: Final = 2.0
_PAUSE_SECONDS: Final = 0.02
_HELD_UNTIL_EXIT: Final[dict[Path, tuple[Path, int]]] = {}
"""File of a run -> the file that this process holds, and its descriptor."""


class DeadRun(NamedTuple):
    """A run whose process died.

    Attributes:
        entry_id: the ledger entry that it was loading, or None.
        path: that entry's path; distinguishes entries with one id in two databases.
    """

    run_id: str
    entry_id: int | None
    path: str


def installation_id(home: Path) -> str:
    """Returns the random id of a state folder. Creates it on first use.

    Raises:
        ExportError: `storage_unwritable` or `storage_full`.
    """
    path = home / "installation"
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            # Released when the descriptor is closed.
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if not (found := _read(descriptor)):
                found = uuid.uuid4().hex
                os.pwrite(descriptor, found.encode(), 0)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise storage_error(error, home) from error
    return found


def known_installation_id(home: Path) -> str | None:
    """Returns the id of a state folder, or None if it has none: then no run ever used it."""
    try:
        return (home / "installation").read_text(errors="replace").strip() or None
    except OSError:
        return None


@contextmanager
def held(home: Path, run_id: str) -> Iterator[None]:
    """Holds the file of a run while the block runs, then removes it.

    Raises:
        ExportError: `storage_unwritable` or `storage_full` if the file cannot be created.
    """
    path = _path_of(home, run_id)
    descriptor = None if path is None else _lock_new(path)
    try:
        yield
    finally:
        if path is not None and descriptor is not None:
            with suppress(OSError):
                path.unlink()
            os.close(descriptor)


def hold_until_exit(home: Path, run_id: str) -> None:
    """Holds the file of a run until this process ends. The search for dead runs removes it.

    For a run whose end this process cannot see: Dagster records the end after releasing the run's last resource.

    Raises:
        ExportError: as `held`.
    """
    path = _path_of(home, run_id)
    if path is None or path in _HELD_UNTIL_EXIT:
        return
    own = path.with_name(f"{path.name}.{uuid.uuid4().hex}")
    if (descriptor := _lock_new(own)) is not None:
        _HELD_UNTIL_EXIT[path] = own, descriptor


@contextmanager
def at_work(home: Path, run_id: str | None, entry: LedgerFile) -> Iterator[None]:
    """Notes in a run's file, if it has one, that the run is loading an export."""
    path = None if run_id is None else _path_of(home, run_id)
    if path is None:
        yield
        return
    path = _HELD_UNTIL_EXIT[path][0] if path in _HELD_UNTIL_EXIT else path
    before = _note(path, json.dumps([entry.id, entry.path]))
    try:
        yield
    finally:
        _note(path, before)


def is_held(home: Path, run_id: str) -> bool:
    """Returns whether a process holds a file of a run; one that cannot be opened counts as held."""
    path = _path_of(home, run_id)
    return path is None or any(map(_is_locked, [path, *path.parent.glob(f"{path.name}.*")]))


def _is_locked(path: Path) -> bool:
    try:
        descriptor = _lock(path)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    os.close(descriptor)
    return False


def dead_runs(home: Path) -> Iterator[DeadRun]:
    """Yields the runs whose file nobody holds. Each file is removed when the next one is requested."""
    try:
        paths = sorted((home / "runs").iterdir())
    except OSError:
        return
    for path in paths:
        try:
            descriptor = _lock(path)
        except OSError:
            # Another process holds it, or has removed it.
            continue
        try:
            yield DeadRun(path.name.partition(".")[0], *_noted(descriptor))
            with suppress(OSError):
                path.unlink()
        finally:
            os.close(descriptor)


def _path_of(home: Path, run_id: str) -> Path | None:
    """Returns the file of a run; None for an id that Dagster did not create, which may be an unsafe file name."""
    try:
        return home / "runs" / str(uuid.UUID(run_id))
    except ValueError:
        return None


def _lock_new(path: Path) -> int | None:
    """Creates and locks a file. Returns None if another process of the same run holds it."""
    deadline = time.monotonic() + _WAIT_SECONDS
    try:
        private_folder(path.parent)
        while True:
            # Before it is locked, the file may look like that of a dead run and be removed.
            with suppress(BlockingIOError, FileNotFoundError):
                return _lock(path, os.O_CREAT)
            if time.monotonic() > deadline:
                return None
            time.sleep(_PAUSE_SECONDS)
    except OSError as error:
        raise storage_error(error, path.parent) from error


def _lock(path: Path, flags: int = 0) -> int:
    """Opens and locks a file. Child processes do not inherit it.

    Raises:
        BlockingIOError: another process holds it.
        FileNotFoundError: it does not exist, or was removed meanwhile.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW | flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(descriptor), os.stat(path)):
            raise FileNotFoundError(path)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _note(path: Path, text: str) -> str:
    """Replaces a file's content and returns the old one. A kill between the two steps leaves it empty."""
    # A full disk must not fail an export that is already written.
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        try:
            before = _read(descriptor)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, text.encode(), 0)
            return before
        finally:
            os.close(descriptor)
    return ""


def _noted(descriptor: int) -> tuple[int | None, str]:
    try:
        entry_id, path = json.loads(_read(descriptor))
    except (OSError, TypeError, ValueError):
        return None, ""
    return (entry_id, path) if isinstance(entry_id, int) and isinstance(path, str) else (None, "")


def _read(descriptor: int) -> str:
    return os.pread(descriptor, _LONGEST_NOTE, 0).decode("ascii", errors="replace")
