"""Inspects an unknown file: its content, the result of loading it, and a block of `sources.yaml` for it.

Nothing is loaded or stored, and no database is used. Does not belong here: printing (`commands.inspect`), reading
(`exports`, `stages.normalize_export`), writing `sources.yaml` (`configuration.sources_writer`).
"""
