"""The environment of the web server, the daemon and their runs: the variables that they need, and no other secrets.

Belongs here: which variables. Does not belong here: starting processes (`services`).
"""

from __future__ import annotations

import os
import re
from typing import Final

from sync_pipelines.configuration.settings import Settings
from sync_pipelines.configuration.sources import load_sources
from sync_pipelines.errors import ConfigurationError

_NEEDED: Final = re.compile(
    r"(PATH|HOME|USER|LOGNAME|SHELL|LANG|LANGUAGE|LC_\w+|TZ|TMPDIR|TERM|LD_LIBRARY_PATH|DYLD_\w+|VIRTUAL_ENV|PYTHON\w*"
    r"|XDG_\w+|(HTTP|HTTPS|ALL|NO)_PROXY|SSL_CERT_(FILE|DIR)|(REQUESTS|CURL)_CA_BUNDLE|OPENBLAS_\w+|OMP_\w+|MALLOC_\w+"
    r"|SYNC_\w+|DAGSTER_\w+|PG[A-Z]+|PGSERVER_\w+"
    # Credentials of landings, as their libraries look for them.
    r"|AWS_\w+|BOTO\w*|S3\w*|GOOGLE_\w+|GCLOUD_\w+|GCS_\w+|CLOUDSDK_\w+|GCE_\w+|AZURE_\w+|IDENTITY_\w+|MSI_\w+"
    r"|FSSPEC_\w+|SSH_AUTH_SOCK|KRB5\w*|KUBERNETES_\w+)",
    re.IGNORECASE,
)


def services_environment(settings: Settings) -> dict[str, str]:
    """Returns the variables that services and runs need: settings, landing credentials, secrets of `sources.yaml`."""
    named = _secrets(settings)
    return {name: value for name, value in os.environ.items() if name in named or _NEEDED.fullmatch(name)}


def _secrets(settings: Settings) -> set[str]:
    try:
        streams = load_sources(settings.sources).streams.values()
    except ConfigurationError:
        # They make other programs load code.
        return set()
    return {secret.env for stream in streams if stream.pull is not None for secret in stream.pull.secrets}
