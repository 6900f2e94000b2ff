"""Where the UI listens: on this machine only, unless the user allows more.

Belongs here: the rule on addresses. Does not belong here: ports in use (`services`), requests (`web_door`).
"""

from __future__ import annotations

from sync_pipelines.errors import ConfigurationError
from sync_pipelines.orchestration.web_door import parse_authority


def is_loopback(host: str) -> bool:
    """Returns whether only programs on this machine can connect to the address."""
    authority = parse_authority(f"[{host}]" if ":" in host else host)
    return authority is not None and authority.is_loopback


def check_listening(host: str, *, allow_remote: bool) -> None:
    """Checks that other machines cannot connect, unless that is allowed.

    Raises:
        ConfigurationError: `remote_refused`.
    """
    if allow_remote or is_loopback(host):
        return
    raise ConfigurationError(
        "remote_refused",
        f"--host {host} opens the UI to other machines, and Dagster's UI has no login: "
        "whoever reaches it can launch runs and read the data",
        "put a proxy with a login before 127.0.0.1, see docs/security.md; or add --allow-remote if you want that",
    )
