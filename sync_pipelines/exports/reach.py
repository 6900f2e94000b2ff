"""Whether a remote landing exists, and which server and user answer.

Belongs here: the requests that each kind of storage needs for that. Does not belong here: connections (`connection`),
exports (`remote_storage`).
"""

from __future__ import annotations

from typing import Any, Final

from fsspec.asyn import AsyncFileSystem, sync
from fsspec.spec import AbstractFileSystem

from sync_pipelines.exports.storage_interface import Reached

_DENIALS: Final = frozenset(
    {
        # botocore
        "NoCredentialsError",
        "PartialCredentialsError",
        "CredentialRetrievalError",
        "ProfileNotFound",
        "TokenRetrievalError",
        # google.auth
        "DefaultCredentialsError",
        "RefreshError",
        # azure.core
        "ClientAuthenticationError",
    }
)
_SHOWN_OF_KEY: Final = 4


def is_denial(error: BaseException) -> bool:
    """Whether a server denies access, or no credentials were found."""
    is_translated = isinstance(error, PermissionError) and type(error.__cause__).__name__ == "ClientError"
    return is_translated or any(kind.__name__ in _DENIALS for kind in type(error).__mro__)


def reached(filesystem: AbstractFileSystem, root: str) -> Reached:
    """Returns what is known about a landing's root.

    Raises:
        FileNotFoundError: it does not exist. Also raises what the storage's library raises.
    """
    if hasattr(filesystem, "call_s3"):
        return _s3(filesystem, root)
    if isinstance(filesystem, AsyncFileSystem):
        return _bucket(filesystem, root)
    if type(filesystem).find is not AbstractFileSystem.find:
        return Reached(is_empty=not filesystem.exists(root), has_folders=False)
    if filesystem.info(root or "/")["type"] != "directory":
        raise FileNotFoundError("it is not a folder")
    server, port, user = (getattr(filesystem, name, "") for name in ("host", "port", "username"))
    return Reached(f"{server}:{port}" if port else str(server), str(user), not filesystem.ls(root or "/", detail=False))


def _s3(filesystem: Any, root: str) -> Reached:
    bucket, _, prefix = root.partition("/")
    try:
        page = filesystem.call_s3("list_objects_v2", Bucket=bucket, Prefix=f"{prefix}/" if prefix else "", MaxKeys=1)
    except FileNotFoundError:
        raise FileNotFoundError(f"bucket {bucket} does not exist") from None
    credentials = sync(filesystem.loop, filesystem.session.get_credentials)
    user = "nobody"
    if credentials is not None:
        user = f"access key {credentials.access_key[:_SHOWN_OF_KEY]}... ({credentials.method})"
    return Reached(filesystem.s3.meta.endpoint_url, user, not page.get("KeyCount"), has_folders=False)


def _bucket(filesystem: Any, root: str) -> Reached:
    bucket = root.partition("/")[0]
    if not filesystem.exists(bucket):
        raise FileNotFoundError(f"bucket {bucket} does not exist")
    filesystem.invalidate_cache(root)
    try:
        is_empty = not filesystem.ls(root, detail=False)
    except FileNotFoundError:
        is_empty = True
    user = getattr(filesystem, "account_name", None) or getattr(filesystem, "project", None) or ""
    return Reached(user=str(user), is_empty=is_empty, has_folders=False)
