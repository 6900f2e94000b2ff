"""Timeouts and credentials of a landing on a server.

Belongs here: everything a connection needs beside its URL. Does not belong here: connections (`connection`), where the
values come from (`configuration.settings`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_CONNECT_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Access:
    """Timeouts and credentials. Bucket libraries find their own credentials.

    Attributes:
        timeout: seconds to wait for an answer from the server.
        variables: variables of the `.env` file, for bucket libraries that read the environment.
        sftp_password: password of the user in the URL, or of the key file. A password in the URL takes precedence.
        sftp_key_file: private key of that user. Default: the SSH agent's keys and those in `~/.ssh`.
        sftp_known_hosts: host keys in OpenSSH format. Default: the user's and the system's files.
    """

    timeout: float = 60.0
    variables: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    sftp_password: str | None = field(default=None, repr=False)
    sftp_key_file: Path | None = None
    sftp_known_hosts: Path | None = None

    @property
    def connect_timeout(self) -> float:
        """Seconds to wait until the server accepts a connection."""
        return min(_CONNECT_SECONDS, self.timeout)

    @property
    def known_hosts(self) -> list[Path]:
        """Files with host keys. New keys are added to the first one."""
        if self.sftp_known_hosts is not None:
            return [self.sftp_known_hosts]
        return [Path("~/.ssh/known_hosts").expanduser(), Path("/etc/ssh/ssh_known_hosts")]
