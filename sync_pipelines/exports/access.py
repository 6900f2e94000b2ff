"""How a landing on a server is reached, beside its URL.

Belongs here: time limits, and what proves who is who. Does not belong here: connections (`connection`), where the
values come from (`configuration.settings`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

_CONNECT_SECONDS: Final = 10.0


@dataclass(frozen=True)
class Access:
    """Time limits and credentials; those of buckets are found by their own libraries.

    Attributes:
        timeout: seconds that a server may take for an answer.
        variables: of the `.env` file, which the libraries of buckets look for in the environment.
        sftp_password: of the user in the URL, or of the key file; a password in the URL comes first.
        sftp_key_file: private key of that user; by default the SSH agent's keys and those in `~/.ssh`.
        sftp_known_hosts: keys of servers, as OpenSSH writes them; by default the user's and the system's.
    """

    timeout: float = 60.0
    variables: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    sftp_password: str | None = field(default=None, repr=False)
    sftp_key_file: Path | None = None
    sftp_known_hosts: Path | None = None

    @property
    def connect_timeout(self) -> float:
        """Seconds that a server may take to accept a connection."""
        return min(_CONNECT_SECONDS, self.timeout)

    @property
    def known_hosts(self) -> list[Path]:
        """Files with keys of servers, the first is the one to add to."""
        if self.sftp_known_hosts is not None:
            return [self.sftp_known_hosts]
        return [Path("~/.ssh/known_hosts").expanduser(), Path("/etc/ssh/ssh_known_hosts")]
