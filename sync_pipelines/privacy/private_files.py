"""Files and folders of this project are private to their owner: 0600 and 0700, whatever the umask.

Belongs here: the modes. Does not belong here: the list of folders (`configuration.settings`).
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from typing import Final

UMASK: Final = 0o077
_OTHERS: Final = 0o077


def keep_files_private() -> None:
    """Makes every new file and folder of this process and its children readable only by their owner."""
    os.umask(UMASK)


def private_folder(path: Path) -> Path:
    """Creates a folder with mode 0700. Corrects the mode of an existing one.

    Never pass a folder that users may have created, such as `SYNC_HOME`: its mode is theirs.

    Raises:
        OSError: it cannot be created.
    """
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = path.lstat()
    if stat.S_ISDIR(found.st_mode) and found.st_mode & _OTHERS and found.st_uid == os.geteuid():
        path.chmod(0o700)
    return path


def write_private(path: Path, text: str, owner: tuple[int, int] | None = None) -> None:
    """Replaces a file atomically by one with mode 0600. A link in its place is replaced, not followed.

    Args:
        path: in a folder that another user may write to.
        text: the content.
        owner: user and group id of the new owner.

    Raises:
        OSError: it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            if owner is not None:
                os.fchown(file.fileno(), *owner)
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
