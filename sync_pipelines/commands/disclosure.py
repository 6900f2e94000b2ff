"""A note of who was shown personal values: `logs/unmasked.log` below `SYNC_HOME`, a line each time.

Belongs here: that note. Does not belong here: what is shown (`commands`), masking (`privacy.personal_data`).
"""

from __future__ import annotations

import getpass
import json
import os
from datetime import UTC, datetime
from typing import Final

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.errors import ConfigurationError
from sync_pipelines.privacy.private_files import private_folder

NAME: Final = "unmasked.log"


def log_unmasked(settings: Settings, command: str, *ids: str) -> None:
    """Notes that a command is about to show personal values; nothing is shown without the note.

    Raises:
        ConfigurationError: the note cannot be written.
    """
    line = {"at": datetime.now(UTC).isoformat(timespec="seconds"), "user": _user(), "command": command, "ids": ids}
    try:
        target = os.open(private_folder(settings.logs) / NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(target, "a") as log:
            log.write(json.dumps(line) + "\n")
    except OSError as error:
        message = f"--unmasked is noted in {settings.logs / NAME}, which cannot be written: {error.strerror}"
        raise ConfigurationError("setting_invalid", message, "correct SYNC_HOME") from None


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())
