"""A file that nobody has seen before: what is in it, what would become of it, and a block of `sources.yaml` for it.

Nothing is loaded, kept or asked of a database. Does not belong here: printing (`commands.inspect`), reading (`exports`,
`stages.normalize_export`), writing `sources.yaml` (`configuration.sources_writer`).
"""
