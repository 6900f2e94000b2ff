"""Turns records into changes, or into rejects with a field path. Counts leniencies.

Belongs here: shapes of exports (X12), field names (X3), applying contracts, grouping lines of flat files (O12). Does
not belong here: reading bytes (`exports`), what a field means (`partners`), tables (`upsert`).
"""
