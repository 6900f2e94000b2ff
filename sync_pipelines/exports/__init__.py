"""Exports: from a folder, bucket or server to raw records, whatever the format.

    landing      lists the exports of a landing and opens them; landing_storage: local folders, fsspec
    naming       the date in a path, and which names are exports at all
    archive      keeps the bytes of every export, by content hash
    compression  .gz .zst .bz2 .zip
    formats      chooses the reader: json_stream (over json_window), lines, csv_cells, sheets, columnar,
                 the last two in a process of their own (isolated)
    limits       how much an export may have
    text         bytes to text in chunks, with the position of a byte that does not belong
    json_values  JSON text to values without losing what the text said
    raw          what every reader yields; cells: what flat formats share
    disk         faults of writing, temporary copies

Belongs here: everything up to "this export holds these raw values at these positions", in memory that does not grow
with the file. Does not belong here: what a field means, partners, rejects, the ledger, the database.
"""
