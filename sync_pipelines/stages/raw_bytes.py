"""Raw bytes that the archive lacks, from the landing.

Belongs here: whether the landing still has the same content. Does not belong here: storing it (`kept.archive`).
"""

from __future__ import annotations

import hashlib
import logging
from typing import BinaryIO

from sync_pipelines.database.ledger import LedgerFile
from sync_pipelines.errors import ArchiveIncomplete, ConfigurationError, ExportError, LandingUnavailable
from sync_pipelines.exports.disk import COPY_SIZE
from sync_pipelines.privacy.untrusted_text import on_one_line
from sync_pipelines.stages.workspace import Workspace

log = logging.getLogger(__name__)


def fetch_raw(workspace: Workspace, entry: LedgerFile) -> bool:
    """Archives an export's bytes again if they are missing or damaged and the landing has the same content.

    Returns:
        Whether the archive has them, undamaged.
    """
    sha256 = entry.raw_sha256 or entry.sha256
    if sha256 is None:
        return False
    try:
        workspace.archive.read(sha256).verify()
        return True
    except ArchiveIncomplete:
        is_erased = workspace.archive.removals().days.get(sha256, "").endswith("-erased")
        if entry.raw_sha256 is not None or is_erased:
            # The landing may still have the person.
            return False
    try:
        with workspace.landing.open(entry.path) as content:
            if _sha256(content) != sha256:
                return False
        with workspace.landing.open(entry.path) as content:
            return workspace.archive.store(content, entry.path).sha256 == sha256
    except (ExportError, LandingUnavailable, ConfigurationError) as error:
        log.info("%s", on_one_line(f"the landing does not have {entry.path}: {error}"))
        return False


def _sha256(content: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := content.read(COPY_SIZE):
        digest.update(block)
    return digest.hexdigest()
