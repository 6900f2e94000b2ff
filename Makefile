# The first target creates the environment in .venv; it needs only Python 3.11 or later. Later calls need no network.

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
	command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null \
	&& echo $$p && break; done)
BIN := .venv/bin
STAMP := .venv/.installed
PORT ?= 3000

.PHONY: sync up test thorough check docs bench bench-late bench-backfill screenshots lock clean

sync: $(STAMP)
	@$(BIN)/sync-pipelines sample --if-empty
	@$(BIN)/sync-pipelines sync || [ $$? -eq 3 ]

up: $(STAMP)
	@$(BIN)/sync-pipelines up --port $(PORT)

test: $(STAMP)
	@$(BIN)/python -m pytest -q -n auto --dist worksteal

# Takes hours: all property tests, with ten times the examples of `make test`.
thorough: $(STAMP)
	@HYPOTHESIS_PROFILE=thorough $(BIN)/python -m pytest -q -n auto --dist worksteal -m hypothesis

check: $(STAMP)
	@$(BIN)/ruff format --check --quiet . || { echo "run: $(BIN)/ruff format ."; exit 1; }
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/dg check defs >/dev/null || { echo "run: $(BIN)/dg check defs"; exit 1; }
	@$(MAKE) --no-print-directory docs
	@$(MAKE) --no-print-directory test

# Builds the documentation in site/. It fails on a broken link or anchor, and on a page that is not in the navigation.
docs: .venv/.docs
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# Installed separately, so that `make sync` does not wait for it.
.venv/.docs: $(STAMP) locks/docs.txt
	@$(INSTALL) --require-hashes --only-binary :all: -r locks/docs.txt
	@touch $@

# The benchmarks that take a few minutes. For others: BENCH=all, or names from docs/performance.md.
BENCH ?=
bench: $(STAMP)
	@$(BIN)/python -m bench.budgets $(BENCH)

screenshots: $(STAMP)
	@SCREENSHOTS=docs/images $(BIN)/python -m pytest -q sync_pipelines_tests/test_browser.py

bench-late: $(STAMP)
	@$(BIN)/python -m bench.late

bench-backfill: $(STAMP)
	@$(BIN)/python -m bench.backfill

clean:
	@rm -rf .venv site .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Writes the locks: packages for every platform, with hashes, in the versions of constraints.txt.
LOCK := .lock/bin/uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
	--no-config --no-emit-index-url -c constraints.txt

lock:
	@$(PYTHON) -m venv --clear .lock && .lock/bin/python -m pip install -qq --disable-pip-version-check uv
	@echo pip | $(LOCK) - -o locks/pip.txt >/dev/null
	@printf 'hatchling\neditables\n' | $(LOCK) pyproject.toml - -o locks/run.txt >/dev/null
	@printf 'hatchling\neditables\n' | $(LOCK) pyproject.toml - --extra dev -o locks/dev.txt >/dev/null
	@printf 'hatchling\neditables\n' | $(LOCK) pyproject.toml - --extra dev --extra docs -o locks/docs.txt >/dev/null
	@rm -rf .lock

# Installs exactly the locked files: pip itself first, then the other packages, then this folder.
INSTALL := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-deps

$(STAMP): pyproject.toml $(wildcard locks/*.txt)
	@[ -n "$(PYTHON)" ] || { echo "Python 3.11, 3.12 or 3.13 is needed; name one with make PYTHON=/path/to/python"; exit 1; }
	@echo "creating .venv (once, a minute or two) ..."
	@$(PYTHON) -m venv --clear .venv
	@$(INSTALL) --require-hashes -r locks/pip.txt
	@$(INSTALL) --require-hashes --only-binary :all: -r locks/dev.txt
	@$(INSTALL) --no-build-isolation -e .
	@$(BIN)/python -m compileall -q -j 0 .venv/lib sync_pipelines >/dev/null 2>&1 || true
	@touch $@
