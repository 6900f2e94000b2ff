"""The command `python -m sync_pipelines.testing`.

Belongs here: its arguments. Does not belong here: the tests.
"""

from __future__ import annotations

import argparse
import sys

import pytest


def main() -> int:
    """Runs the tests of a partner; arguments it does not know go to pytest. Returns pytest's exit status."""
    parser = argparse.ArgumentParser(prog="python -m sync_pipelines.testing", description="Test a partner's package.")
    parser.add_argument("partner", help="the partner, as the entry point names it")
    parser.add_argument("--cases", metavar="FOLDER", help="a folder of *.case.yaml files")
    known, others = parser.parse_known_args()
    cases = ["--cases", known.cases] if known.cases else []
    tests = ["-p", "sync_pipelines.testing.plugin", "--pyargs", "sync_pipelines.testing.test_partner"]
    return int(pytest.main([*tests, "--partner", known.partner, *cases, *others]))


if __name__ == "__main__":
    sys.exit(main())
