# Two commands: `make demo` tells the story, `make test` runs all tests. Both need Python 3.10+ and git.
PYTHON ?= python3
VENV ?= .venv
# What to run of the tests; all of them unless named.
TESTS ?=
BIN := $(VENV)/bin

.PHONY: demo test lint clean

demo: $(VENV)/.sandbox
	$(BIN)/invoke demo

test: $(VENV)/.dev
	$(BIN)/pytest --numprocesses auto $(TESTS)

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

clean:
	rm -rf $(VENV)

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10) and "Python 3.10 or newer is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.sandbox: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --editable '.[sandbox]'
	@touch $@

$(VENV)/.dev: $(VENV)/bin/python pyproject.toml
	$(BIN)/pip install --quiet --editable '.[dev]'
	@touch $@ $(VENV)/.sandbox
