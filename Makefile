# Two commands: `make demo` tells the story, `make test` runs all tests. Both need Python 3.10+ and git.
# For those who work on it: `make lint`, `make package` (the sdist and the wheel, in dist/), `make clean`.
PYTHON ?= python3
VENV ?= .venv
# What to run of the tests; all of them unless named.
TESTS ?=
# What pip holds the versions to, such as `python tests/lowest.py` prints; the newest ones unless named.
CONSTRAINTS ?=
BIN := $(VENV)/bin
INSTALL = $(BIN)/pip install --quiet $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS)) --editable

.PHONY: demo test lint package clean

demo: $(VENV)/.sandbox
	$(BIN)/invoke demo

test: $(VENV)/.dev
	$(BIN)/pytest --numprocesses auto $(TESTS)

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

package: $(VENV)/.dev
	rm -rf dist
	$(BIN)/python -m build

clean:
	rm -rf $(VENV) dist

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.sandbox: $(VENV)/bin/python pyproject.toml
	$(INSTALL) '.[sandbox]'
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml
	$(INSTALL) '.[dev]'
	@touch $@ $(VENV)/.sandbox
