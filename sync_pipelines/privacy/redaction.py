"""Hides secrets in everything that leaves the process: messages, logs, tracebacks, screens.

A password may hold characters that should have been escaped (`@`, `/`, `:`, spaces). So more than the password is
hidden, rather than a part of it shown.

Belongs here: passwords, tokens and signatures in texts. Does not belong here: personal data (`personal_data`),
characters that a terminal or Markdown would interpret (`untrusted_text`).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from sqlalchemy import Engine

HIDDEN: Final = "***"
_USER_INFO: Final = re.compile(r"(?<=://)(?P<user>[^/@:?#\s]*):(?!\*\*\*@).*@")
"""Up to the last `@` of the line: the end of a password with an unescaped `@` must not be shown."""
_QUOTED: Final = r"'(?:[^'\\]|\\.)*(?:'|$)|\"(?:[^\"\\]|\\.)*(?:\"|$)"
_PASSWORD: Final = re.compile(rf"(?i)([\w.-]*(?:password|passwd|passphrase|pwd))(\s*=\s*)(?:{_QUOTED}|\S+)")
_PARAMETER: Final = re.compile(
    r"(?i)([\w.-]*(?:secret|token|signature|credential|accesskeyid|sig|sas|key|auth|code))(\s*=\s*)"
    rf"(?:{_QUOTED}|[^&\s'\"<>)]+)"
)
_FIELD: Final = re.compile(
    r"(?i)([\"']?[\w.-]*(?:password|passwd|passphrase|pwd|secret|token|signature|api[_-]?key|account[_-]?key)[\"']?)"
    rf"(\s*:\s*)(?:{_QUOTED})"
)
_BEARER: Final = re.compile(r"(?i)\b(bearer|basic|sharedkey|sharedaccesssignature)(\s+)[^\s'\",]+")


def redacted(text: str) -> str:
    """Returns a URL, a conninfo string or any message without passwords, tokens and signatures."""
    if not ("=" in text or ":" in text or " " in text):
        return text
    shown = _USER_INFO.sub(rf"\g<user>:{HIDDEN}@", text)
    for secret in (_PASSWORD, _FIELD, _PARAMETER, _BEARER):
        shown = secret.sub(rf"\1\2{HIDDEN}", shown)
    return shown


def without_statements(engine: Engine) -> Engine:
    """Removes statements and parameters from an engine's errors. Returns the engine."""
    from sqlalchemy import event

    def forget(context: Any) -> None:
        error = context.sqlalchemy_exception
        if error is not None:
            error.statement = error.params = None
            error.hide_parameters = True

    event.listen(engine, "handle_error", forget)
    return engine
