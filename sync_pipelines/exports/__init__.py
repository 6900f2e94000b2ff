"""Exports: from a folder, bucket or server to raw records, whatever the format.

    landing      lists the exports of a landing and opens them; remote_storage: local folders, fsspec
    naming       which file names are exports, and their order; file_dates: the date in a path
    parts        several files that are one export
    compression  .gz .zst .bz2 .zip
    formats      chooses the reader: json_stream (over json_window), lines, csv_cells, sheets, columnar,
                 the last two in a separate process (isolated)
    text         bytes to text in chunks, with the position of invalid bytes
    json_values  JSON text to values without loss
    cells        what flat formats share
    disk         write errors, temporary copies

Belongs here: everything up to "this export has these raw values at these positions", in bounded memory. Does not
belong here: what a field means, partners, rejects, the ledger, the database.
"""
