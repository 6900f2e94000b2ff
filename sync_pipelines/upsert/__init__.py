"""Changes become rows: one transaction a file. Every way leaves what it is not certain of to the next.

    load.py             the transaction: which record goes which way, counts, ledger
    history.py          which loaded exports speak of a key (key_index.py), and what they say of it
    stale.py            late records that newer ones overrule
    unchanged.py        records that say again what the newest of their key says
    new_rows.py         records of keys without a row, copied in
    changed_rows.py     records of one row each, a column at a time
    folding.py          all others, one record at a time
    fold.py, lists.py   what one record makes of one row: pure, the definition of every write rule
    record_outcomes.py  what each record came to

Does not belong here: any partner, reading, Dagster.
"""
