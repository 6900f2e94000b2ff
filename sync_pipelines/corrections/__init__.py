"""Folds that no new export starts: exports withdrawn or read again, and one row explained.

    withdrawn_exports.py  keys of withdrawn exports, folded without them
    named_rows.py         placeholders that only withdrawn exports named
    blocked_deletes.py    deletes that a withdrawal decides again
    refold.py             a loaded export that is read differently
    row_steps.py          the fold of one key, record by record, for people

Does not belong here: the fold itself (`upsert`), who may correct, and why (`stages`).
"""
