"""Everything that imports Dagster, one small file per Dagster concept.

    names         what assets, jobs, schedules, sensors and pools are called
    partitions    the daily partitions every asset shares
    assets        exports -> normalized -> table, three a stream
    days          which files of its days an asset's part of a run takes
    configuration what the launchpad offers, and what is refused of it
    metadata      what a materialization tells
    descriptions  what assets, jobs and schedules say of themselves
    columns       the tables' columns, described by the contracts
    jobs, schedules, sensors, checks    one each a stream
    check_runs    runs of checks alone
    alerts        failed runs told to a webhook
    masked_events  personal data masked in what is stored already
    failed_runs   which streams a failed run was about
    housekeeping  what is removed every night
    tables        rows as metadata shows them
    due           which pending files a sensor may hand to a run
    resources     what runs and ticks are given
    code_location what Dagster loads where the project is a location of its own
    private_dagster  every use of what Dagster does not document
    storage       Dagster's own storage, in the project's database
    storage_engine, storage_schema    its connections, and where its tables are
    instance      the Dagster instance of the command line
    runs          runs of the command line, in its own process
    services      the web server and daemon that `up` keeps running
    web_server    Dagster's web server behind its door
    web_door      which requests reach it
    listening     addresses that only this machine reaches

Belongs here: telling Dagster what there is and when to do it. Does not belong here: how it is done
(`stages.export_stages`).
"""
