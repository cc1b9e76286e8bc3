# `make` alone lists what can be done. Needs Python 3.11, make and git; `make setup` installs everything else.
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.ready
SOURCES := registry providers training statemachine
CHECKED := $(SOURCES) tests benchmarks examples
export TENURE_HOME ?= $(HOME)/.tenure

.DEFAULT_GOAL := help

.PHONY: help
help: ## list what can be done
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 18

.PHONY: setup
setup: $(STAMP) chromium ## make .venv with everything in it; safe to repeat

# torch is asked for by its exact version, first: any other way may bring several GB of CUDA packages.
$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch==2.13.0
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[all]' -r requirements-dev.txt
	@touch $(STAMP)

CHROMIUM := $(firstword $(foreach name,chromium chromium-browser google-chrome,$(shell command -v $(name))))
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo -n)

.PHONY: chromium
chromium: ## Debian's Chromium for the browser tests, where there is none; needs apt-get, and root or sudo
ifeq ($(CHROMIUM),)
	@$(AS_ROOT) apt-get update -qq && $(AS_ROOT) apt-get install -y -qq --no-install-recommends chromium >/dev/null \
	  || echo "No Chromium, and it cannot be installed from here: the browser tests are skipped. As root: apt-get install chromium"
else
	@:
endif

.PHONY: run
run: setup ## the whole life of a version on this machine, narrated (honours TENURE_HOME)
	$(BIN)/tenure demo

JOBS ?= 2
.PHONY: test
test: setup ## the whole test suite; no network beyond loopback, no accelerator
	COVERAGE_CORE=sysmon $(BIN)/coverage erase
	COVERAGE_CORE=ctrace $(BIN)/coverage run -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report
	$(BIN)/python -m tests.simulation --seeds 2000 --bugs

.PHONY: screenshots
screenshots: setup ## the pictures of the README, taken anew by the browser tests
	TENURE_SCREENSHOTS=docs/images $(BIN)/pytest -q -p no:randomly tests/web/test_web_pictures.py

.PHONY: check
check: setup lint types test ## everything that CI runs

.PHONY: lint
lint: setup ## ruff, layers, dependencies, dead code
	$(BIN)/ruff check $(CHECKED)
	$(BIN)/ruff format --check $(CHECKED)
	$(BIN)/lint-imports
	$(BIN)/deptry .
	$(BIN)/vulture

.PHONY: types
types: setup ## pyright strict over packages and tests
	$(BIN)/basedpyright

.PHONY: format
format: setup ## let ruff put everything in order
	$(BIN)/ruff format $(CHECKED)
	$(BIN)/ruff check --fix $(CHECKED)

.PHONY: serve
serve: setup ## API, web pages, gateway and scheduler on http://127.0.0.1:8321 (honours TENURE_HOME)
	$(BIN)/tenure serve

SEEDS ?= 10000
FIRST ?= 0
.PHONY: simulate
simulate: setup ## play SEEDS seeds of the registry under faults and kills; tells the first that breaks a rule
	$(BIN)/python -m tests.simulation --seeds $(SEEDS) --first $(FIRST)

.PHONY: bench
bench: setup ## the figures of docs/benchmarks.md, as a table
	$(BIN)/python -m benchmarks
