"""Records become changes, or rejects with a field path; leniencies are counted; accepted records are kept.

Belongs here: shapes of exports (X12), names of fields (X3), contracts applied, flat files folded (O12), kept
records. Does not belong here: reading bytes (`exports`), what a field means (`partners`), tables (`upsert`).
"""
