"""Compares the tables with the archive. It corrects a row only for `verify --repair`.

    verified_columns.py  rows whose records decide them a column at a time
    verified_rows.py     all others, by the fold
    placeholders.py      rows that records only refer to, with what records say of them (referrers.py)
    orphans.py           rows of child tables without their main row

Does not belong here: the order of the steps, slices, and what a person reads (`stages`).
"""
