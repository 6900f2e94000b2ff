"""How a user types `sync-pipelines` from where they are, for messages that name a command to run.

Belongs here: the way to the program. Does not belong here: what its commands do (`commands`).
"""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path
from typing import Final

PROGRAM: Final = "sync-pipelines"


def typed(arguments: str) -> str:
    """Returns a command line that works as typed in the working directory, such as `./sync-pipelines status`.

    Args:
        arguments: the command and its options, quoted for a shell where they need it.
    """
    return f"{program()} {arguments}"


def program() -> str:
    """Returns the shortest way to this environment's program that works in the working directory."""
    installed = Path(sys.prefix) / "bin" / PROGRAM
    found = shutil.which(PROGRAM)
    if not installed.exists() or (found is not None and Path(found).resolve() == installed.resolve()):
        return PROGRAM
    here = Path.cwd()
    if (here / PROGRAM).is_file() and installed.is_relative_to(here):
        return f"./{PROGRAM}"
    return shlex.quote(str(installed.relative_to(here) if installed.is_relative_to(here) else installed))
