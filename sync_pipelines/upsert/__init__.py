"""Applies changes to the tables: one transaction per file. Each path passes records that it is not sure of to the next.

    load.py             the transaction: which record takes which path, counts, ledger
    history.py          which loaded exports know a key (key_index.py), and their records of it
    stale.py            late records that newer ones supersede
    late_patches.py     late records without what newer ones set
    unchanged.py        records that repeat the newest record of their key
    new_rows.py         records of keys without a row, copied in
    changed_rows.py     records of one row each, a column at a time
    repeated_keys.py    several records of a key, collapsed into one (collapse.py)
    folding.py          all others, one record at a time
    fold.py, lists.py   what one record does to one row: pure, the definition of every write rule
    record_outcomes.py  the outcome of each record

Does not belong here: any partner, reading, Dagster.
"""
