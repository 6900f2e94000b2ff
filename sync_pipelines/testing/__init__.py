"""Tests that every partner's package gets, and runs with one command.

    python -m sync_pipelines.testing mercadia --cases cases

It needs the extra `testing`. Belongs here: tests of any partner's declarations and cases. Does not belong here: tests
of this project (`sync_pipelines_tests`).
"""
