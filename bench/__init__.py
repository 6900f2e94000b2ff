"""Measuring `sync-pipelines sync` beside the least work a database can do for the same result.

    run         options, the order of things           python -m bench --help
    data        the files of the three scenarios
    server      one scratch PostgreSQL for all
    lanes       what is measured: the floor, the sync
    floor       the floor, a program of its own
    process     one measured process: time, peak memory
    database    what a database holds, wrote and left behind
    report      the table

Belongs here: measuring whole processes on one server in turns. Does not belong here: tests, and any way of the data.
"""
