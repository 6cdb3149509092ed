# Two commands to know: `make demo` and `make test`. `make help` lists the rest.
SHELL := /bin/bash
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SEED ?= 0
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup demo cifar test test-all check audit format bench weights ui dag clean

help: ## list what there is
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## install everything into .venv

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Hounsfield needs Python >= 3.11: make PYTHON=python3.11 …"; exit 2; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "Python has no venv here: apt install python3-venv"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install -q --upgrade pip
	$(BIN)/python -m pip install -qq -c constraints.txt -e '.[dev]'
	@touch $(READY)

demo: setup ## make a phantom chest CT, screen it, compare with its truth (SEED=n for another)
	$(BIN)/hounsfield demo --seed $(SEED)

cifar: setup ## train a classifier of images and report on it (DATA=zip, folder, npz or cifar10; NETWORK=convnet)
	$(BIN)/hounsfield cifar $(if $(DATA),--data $(DATA)) $(if $(NETWORK),--network $(NETWORK))

test: setup ## the tests, real scans included where HOUNSFIELD_DATA (default ../shared/data) has them
	$(BIN)/python -m pytest -q -m "not slow" -n auto --maxprocesses 4 --dist loadfile

test-all: setup ## the tests, slow ones too
	$(BIN)/python -m pytest -q

check: setup ## ruff, mypy, import-linter, and that the DAG picture is fresh
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m flows.dag --check

audit: setup ## known vulnerabilities among the pinned dependencies (needs the network)
	test -x $(VENV)/audit/bin/pip-audit || { $(PYTHON) -m venv $(VENV)/audit && $(VENV)/audit/bin/pip install -q pip-audit; }
	$(BIN)/python .ci/audit.py $(VENV)/audit/bin/pip-audit constraints.txt

format: setup ## let ruff write the code its way
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup ## measure against the peers side by side; prints the table of the README
	$(BIN)/python -m benchmarks

weights: setup ## train three networks on phantoms, into weights/phantom (about an hour on 2 cores)
	$(BIN)/python -m flows.make_weights --phantoms 48 --minutes 24 --out weights/phantom

ui: setup ## Prefect server, worker and deployments at http://127.0.0.1:4200
	$(BIN)/hounsfield ui

dag: setup ## draw docs/dag.svg from the stages
	$(BIN)/python -m flows.dag

clean: ## remove the environment and the demo's runs
	rm -rf $(VENV) runs
