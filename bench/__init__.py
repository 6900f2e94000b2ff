"""Measuring `sync-pipelines sync` beside the least work a database can do for the same result.

    budgets     all that is promised                   make bench, python -m bench.budgets --help
    figures     one figure, the table of them
    run         options, the order of things           python -m bench --help
    data        the files of the three scenarios
    server      one scratch PostgreSQL for all
    lanes       what is measured: the floor, the sync
    floor       the floor, a program of its own
    process     one measured process: time, peak memory
    database    what a database holds, wrote and left behind
    report      the table
    stages      where the seconds of a sync go (noted: its marks)     python -m bench.stages
    streams     the other five streams (flat, floor_streams: theirs)  python -m bench.streams
    daemon      a run of the daemon beside one of sync                python -m bench.daemon
    late        a year of files newest first                          python -m bench.late
    lists       full lists in any order                               python -m bench.lists
    in_process  the loop of these two: files in an order, in one process
    ways        what each way of a record buys (switches: theirs)     python -m bench.ways
    flatness    a small export beside many loaded ones                python -m bench.flatness
    idle        nothing to do                                         python -m bench.idle
    backfill    five years beside live syncs (history, up: theirs)    python -m bench.backfill

Belongs here: measuring whole processes on one server in turns. Does not belong here: tests, and any way of the data.
"""
