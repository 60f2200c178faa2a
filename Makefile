# `make help` lists the verbs. Everything is installed below this folder; nothing but Python >= 3.11 and make is expected.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
PYTEST := $(BIN)/pytest --quiet
WORKERS ?= 2

# Tests start hundreds of Python processes. Where the environment forbids bytecode, each would compile anew what it imports.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help
help: ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit("mlmesh needs Python 3.11 or newer; set PYTHON=") if sys.version_info < (3, 11) else 0'
	$(PYTHON) -m venv .venv
	$(PIP) --upgrade pip

.venv/.demo: .venv/bin/python pyproject.toml
	$(PIP) --editable '.[demo]'
	@touch $@

.venv/.demo-full: .venv/bin/python pyproject.toml
	$(PIP) --editable '.[demo-full]'
	@touch $@ .venv/.demo

.venv/.dev: .venv/bin/python pyproject.toml
	$(PIP) --editable '.[dev]'
	@touch $@ .venv/.demo .venv/.demo-full

.PHONY: venv
venv: .venv/.dev ## Install everything for development into .venv

.PHONY: venvs
venvs: .venv-engines/.ready .venv-triton/.ready .venv-great-expectations/.ready .venv-feast/.ready .venv-airflow/.ready ## Install what test-engines and test-compat need into venvs of their own

.PHONY: demo
demo: .venv/.demo ## Take in real flights, make features of them, train, register and serve a model, call it over REST and gRPC, and leave nothing running
	$(BIN)/mlmesh demo

.PHONY: demo-full
demo-full: .venv/.demo-full ## The demo, and once more on PostgreSQL, S3, Redis and Kafka, with the same metrics
	$(BIN)/mlmesh demo --full

.PHONY: up
up: .venv/.demo ## Start the whole mesh and keep it running until Ctrl-C
	$(BIN)/mlmesh up

.PHONY: test
test: .venv/.dev ## Every test that needs only what pip brings, but for those of test-data and test-chaos
	$(PYTEST) --numprocesses $(WORKERS) --dist loadfile -m 'not system_package' \
		tests/unit tests/contract tests/integration tests/e2e --ignore tests/integration/ingestion --ignore tests/integration/processing \
		--ignore tests/integration/features --ignore tests/e2e/test_openapi.py

.PHONY: test-fast
test-fast: .venv/.dev ## Unit and contract tests
	$(PYTEST) --numprocesses $(WORKERS) --dist loadfile tests/unit tests/contract

.PHONY: test-data
test-data: .venv/.dev ## Data ingestion, processing and features on real databases, S3, Kafka and processes
	$(PYTEST) --numprocesses $(WORKERS) --dist loadfile -m 'not system_package' tests/integration/ingestion tests/integration/processing tests/integration/features

.PHONY: test-chaos
test-chaos: .venv/.dev ## Killed servers and writers, under load; and whatever requests Schemathesis can think of
	$(PYTEST) --numprocesses $(WORKERS) --dist loadfile tests/chaos tests/e2e/test_openapi.py

.PHONY: test-system
test-system: .venv/.dev ## Tests that need a server from the system's packages (MariaDB)
	$(PYTEST) -m system_package tests/integration

.venv-engines/.ready: pyproject.toml
	$(PYTHON) -m venv .venv-engines
	.venv-engines/bin/python -m pip --disable-pip-version-check install --quiet --upgrade pip
	.venv-engines/bin/python -m pip --disable-pip-version-check install --quiet --editable \
		'.[torch,demo,processing-ray,processing-dask,processing-spark]' pytest pytest-timeout hypothesis
	.venv-engines/bin/python -m pip --disable-pip-version-check install --quiet --editable '.[tensorflow]'
	@touch $@

.PHONY: test-engines
test-engines: .venv-engines/.ready ## Tests with PyTorch, TensorFlow, Ray, Dask and Spark (Java 17), in a venv of their own
	.venv-engines/bin/pytest --quiet tests/engines

.venv-triton/.ready:
	$(PYTHON) -m venv .venv-triton
	.venv-triton/bin/python -m pip --disable-pip-version-check install --quiet --upgrade pip
	.venv-triton/bin/python -m pip --disable-pip-version-check install --quiet 'tritonclient[all]==2.73.*' pytest
	@touch $@

.venv-great-expectations/.ready:
	$(PYTHON) -m venv .venv-great-expectations
	.venv-great-expectations/bin/python -m pip --disable-pip-version-check install --quiet --upgrade pip
	.venv-great-expectations/bin/python -m pip --disable-pip-version-check install --quiet 'great_expectations==1.24.*'
	@touch $@

.venv-feast/.ready:
	$(PYTHON) -m venv .venv-feast
	.venv-feast/bin/python -m pip --disable-pip-version-check install --quiet --upgrade pip
	.venv-feast/bin/python -m pip --disable-pip-version-check install --quiet 'feast[duckdb,redis,grpcio]==0.67.*'
	@touch $@

.venv-airflow/.ready: pyproject.toml clients/airflow/pyproject.toml
	$(PYTHON) -m venv .venv-airflow
	.venv-airflow/bin/python -m pip --disable-pip-version-check install --quiet --upgrade pip
	.venv-airflow/bin/python -m pip --disable-pip-version-check install --quiet \
		'apache-airflow-core==3.3.2' 'psycopg2-binary==2.9.*' 'asyncpg==0.32.*' pytest --editable . --editable clients/airflow
	@touch $@

.PHONY: test-compat
test-compat: .venv/.dev .venv-triton/.ready .venv-great-expectations/.ready .venv-feast/.ready .venv-airflow/.ready ## Tests with clients of other languages and makers
	$(PYTEST) tests/compat

.PHONY: test-bazel
test-bazel: ## The Bazel build of contracts, servers and tests, offline
	bazel/test

.PHONY: generate
generate: .venv/.dev ## Make gen/ anew from proto/
	$(BIN)/python -m tools.contracts.generate

.PHONY: contracts
contracts: .venv/.dev ## Lint the contracts, look for breaking changes, and check that gen/ is what proto/ makes
	$(BIN)/python -m tools.contracts.lint
	$(BIN)/python -m tools.contracts.generate --check

.PHONY: lint
lint: .venv/.dev ## Style and import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

.PHONY: format
format: .venv/.dev ## Put the style right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

.PHONY: types
types: .venv/.dev ## Check the types
	$(BIN)/mypy

.PHONY: bench
bench: .venv/.dev .venv-great-expectations/.ready .venv-feast/.ready ## Benchmarks beside the peers (installs those into a venv of their own)
	$(BIN)/python -m benchmarks.registry
	$(BIN)/python -m benchmarks.serving
	$(BIN)/python -m benchmarks.ingest
	$(BIN)/python -m benchmarks.validation
	$(BIN)/python -m benchmarks.features offline
	$(BIN)/python -m benchmarks.features online

.PHONY: clean
clean: ## Remove what the verbs made
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .cache/benchmarks-serving build dist
