"""PostgreSQL, given or embedded, and queries on its tables: ledger, reports, quality.

Belongs here: connections, the embedded server, access to it, read-only queries, the ledger. Does not belong here:
writing rows of exports (`upsert`), the schema (`tables`).
"""
