"""The vocabulary of partners' declarations: field types, contracts, routes, streams, codes.

Belongs here: vocabulary without any partner. Does not belong here: carrying it out (`normalize`, `upsert`).
"""
