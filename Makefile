# Everything here works from a fresh clone with Python 3.11 to 3.13, Node 20 or later, make and git.
# `make` alone lists the targets. Nothing is installed outside this folder.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

UV_VERSION := 0.13.8
IN_RANGE := import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))
PYTHON ?= $(firstword $(foreach each,python3 python3.13 python3.12 python3.11 python,\
	$(shell $(each) -c '$(IN_RANGE)' >/dev/null 2>&1 && echo $(each))))

VENV := .venv
BIN := $(VENV)/bin
# npm writes this file last.
AZURITE := tools/azurite/node_modules/.package-lock.json
# PostgreSQL's drivers, which only `make chaos` needs here.
POSTGRES := $(VENV)/.postgres

BENCH ?=
CASE ?= arrivals
SEED ?=
TESTS ?=

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: demo
demo: install ## Start all, score four files, retrain three times, show and check what became of it, end all
	@$(BIN)/python -m demo

.PHONY: up
up: install ## Start all and leave it running; the addresses are printed and kept in .run/up
	@$(BIN)/python -m demo up

.PHONY: down
down: ## End what `make up` started
	@if [ -x $(BIN)/python ]; then $(BIN)/python -m demo down; else echo "Nothing is installed, so nothing runs."; fi

.PHONY: test
test: install ## Run every test in two processes, or in one those of TESTS="tests/unit -k name"
	@$(BIN)/python -m pytest $(or $(TESTS),--numprocesses 2)

.PHONY: lint
lint: environment ## Run ruff, mypy and import-linter
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: bench
bench: install ## Measure us against the peer, one JSON line each; BENCH=name for one alone
	@$(BIN)/python -m benchmarks $(BENCH)

.PHONY: chaos
chaos: install $(POSTGRES) ## Kill everything at random moments while 1,000 blobs arrive; CASE=jobs, promotion or emulator instead; SEED=n repeats it
	@$(BIN)/python -m demo.chaos --case $(CASE) $(SEED)

.PHONY: install
install: environment azurite ## Install everything into this folder
	@:

.PHONY: environment
environment: $(VENV)/.ready ## Install the Python half of it
	@:

.PHONY: azurite
azurite: $(AZURITE) ## Install Azurite
	@:

.PHONY: constraints
constraints: $(BIN)/uv ## Choose all versions anew: rewrites constraints.txt
	$(BIN)/uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 --generate-hashes \
		--no-emit-index-url --no-annotate --no-emit-package azureml-emulator \
		--no-emit-package airflow-provider-azureml --upgrade -o constraints.txt

.PHONY: clean
clean: down ## End what runs and remove all that was installed or made
	rm -rf $(VENV) .run tools/azurite/node_modules .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	rm -f .coverage .coverage.*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "No Python 3.11, 3.12 or 3.13 was found; install one, or name it: make PYTHON=/path/to/python3.11"; exit 1; fi
	@$(PYTHON) -c '$(IN_RANGE)' || { \
		echo "$(PYTHON) is $$($(PYTHON) --version 2>&1 | head -n 1); this needs Python 3.11 to 3.13."; exit 1; }
	$(PYTHON) -m venv $(VENV)

$(BIN)/uv: | $(BIN)/python
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(BIN)/python -m ensurepip
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		'uv==$(UV_VERSION)'

$(VENV)/.ready: constraints.txt pyproject.toml emulator/pyproject.toml | $(BIN)/uv
	$(BIN)/uv pip install --python $(BIN)/python --quiet --compile-bytecode --require-hashes -r constraints.txt
	$(BIN)/uv pip install --python $(BIN)/python --quiet --no-deps -e . -e emulator
	@touch $@

$(POSTGRES): tools/docker/postgres.txt $(VENV)/.ready
	$(BIN)/uv pip install --python $(BIN)/python --quiet --compile-bytecode --require-hashes -r tools/docker/postgres.txt
	@touch $@

$(AZURITE): tools/azurite/package.json tools/azurite/package-lock.json
	@node -e 'process.exit(process.versions.node.split(".")[0] >= 20 ? 0 : 1)' 2>/dev/null || { \
		echo "Node.js 20 or later is needed for Azurite; found: $$(node --version 2>/dev/null || echo none)."; exit 1; }
	cd tools/azurite && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@
