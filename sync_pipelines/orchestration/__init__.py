"""Everything that imports Dagster, one small file per Dagster concept.

Definitions:

    build, code_location    all definitions, and the code location that Dagster loads
    component       the component of a `dg` project
    dagster_names   names of assets, jobs, schedules, sensors and pools
    partitions      the daily partitions that all assets share
    assets, days    three assets for each stream, and the files that a run of them takes
    table_assets    one asset for each table
    jobs, schedules, sensors    one of each for each stream
    looks, due      looks at the landing, and which pending files a sensor may hand to a run
    checks, check_steps, check_runs    asset checks, the steps that run them, and runs of checks alone
    alerts, check_alerts, misplaced_alerts, webhook    messages to a webhook, and sending them
    storage_cleanup, masked_events    nightly housekeeping, and masking of stored events
    resources, tables_resource    resources of runs and ticks, and of other projects

What the UI shows:

    metadata, metadata_tables, plurals    metadata of materializations
    descriptions    descriptions of assets, jobs and schedules
    table_schemas   columns of the tables
    run_config      the options of the launchpad

Runs and processes:

    runs            runs of the command line, in its own process
    activity, failed_runs    which days runs are busy with, and the streams of a failed run
    outages         steps while the database or the landing is down
    instance        the Dagster instance of the command line
    storage, storage_engine, storage_schema    Dagster's storage in the project's database
    services, daemon, environment, prepare    the web server and daemon that `up` runs
    web_server, web_door, listening    Dagster's web server, the requests it accepts and the addresses it listens on
    private_dagster    every use of undocumented parts of Dagster

Belongs here: what Dagster runs, and when. Does not belong here: how it is done (`stages.export_stages`).
"""
