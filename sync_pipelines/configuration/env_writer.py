"""Writes settings to `.env` and keeps everything else in the file.

Belongs here: replacing a line or adding one, and the file's mode. Does not belong here: what the settings mean
(`settings`), reading them (`setting_origins`).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from dotenv import set_key

from sync_pipelines.configuration.settings import ENV_FILE
from sync_pipelines.errors import ConfigurationError


def write_env(values: Mapping[str, str]) -> None:
    """Sets variables (name -> value) in `.env`, or in the file that it links to.

    Creates a missing file; its mode becomes 0600.

    Raises:
        ConfigurationError: `setting_invalid`: `.env` cannot represent a value, or the file cannot be written.
    """
    for name, value in values.items():
        if "${" in value:
            hint = "write %24 for $ in a URL, or set the variable in the environment"
            raise ConfigurationError("setting_invalid", f"{name} contains ${{, which .env files replace", hint)
    real = Path(os.path.realpath(ENV_FILE))
    try:
        os.close(os.open(real, os.O_WRONLY | os.O_CREAT, 0o600))
        # Before it contains a password.
        real.chmod(0o600)
        for name, value in values.items():
            set_key(real, name, value, quote_mode="auto")
        real.chmod(0o600)
    except OSError as error:
        message = f"{ENV_FILE.absolute()} cannot be written: {error.strerror}"
        raise ConfigurationError("setting_invalid", message, "correct its permissions, or remove it") from None
