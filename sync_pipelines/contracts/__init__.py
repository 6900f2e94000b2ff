"""The words partners' declarations are made of: field types, contracts, routes, streams, codes.

Belongs here: vocabulary that knows no partner. Does not belong here: how it is carried out (`normalize`, `upsert`).
"""
