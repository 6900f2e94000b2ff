"""The stages of an export, for Dagster and the command line alike: pull, discover, archive, normalize, load.

Belongs here: the stages, what repeats or undoes them, and what they share (workspace, files of runs). Does not
belong here: Dagster (`orchestration`), output of the command line (`commands`).
"""
