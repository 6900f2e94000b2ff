"""Changes become rows: one transaction a file, and one operation behind everything - fold these keys.

    fold.py        what one change makes of one row: pure, the definition of every write rule
    history.py     which loaded exports know a key, and what they said of it
    stored_rows.py  rows as stored, in the fold's words
    load.py        the transaction: stage, classify, write differences, count, ledger
    prefetched_load.py  the same of a first export, begun while it is read

The everyday export is the newest word on all its keys and is applied set-based; the other keys are folded and their
final rows take the same way into the tables. Does not belong here: any partner, reading, Dagster.
"""
