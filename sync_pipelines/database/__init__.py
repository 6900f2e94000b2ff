"""PostgreSQL, given or embedded, and the questions asked of its tables: ledger, reports, quality.

Belongs here: connections, the embedded server, who gets in, tables that are only read, the ledger. Does not belong
here: rows of exports written (`upsert`), their schema (`tables`).
"""
