"""The archive: raw bytes of exports, their normalized records, checksums, and what reads and writes them.

Belongs here: files under the archive's folder. Does not belong here: what a record becomes (`normalize`), which
exports a load needs (`upsert`).
"""
