"""The archive: raw bytes of exports, their normalized records, checksums, and code to read and write them.

Belongs here: files under the archive's folder. Does not belong here: normalizing records (`normalize`), which exports a
load needs (`upsert`).
"""
