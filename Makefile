# Targets for people; the work is done in tests/nodes. `make` alone lists them.

.DEFAULT_GOAL := help
.PHONY: help test check demo deb bench fuzz campaign node host clean clean-cache

PYTHON ?= python3
VENV := build/venv
VENV_PYTHON := $(VENV)/bin/python

# What decides, and touches nothing: no branch of it goes untested.
CORE := alerts notify output rules slack slots tracker verdicts wording
COVERAGE := --cov-branch --cov-fail-under=100 --cov-report=term-missing:skip-covered \
	$(CORE:%=--cov=outcomed.%)

# Nothing of ours leaves .pyc files in the checkout: nodes see it read-only.
export PYTHONDONTWRITEBYTECODE := 1

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

demo: host ## see it: a job that lies about its backup, and what outcomed says (root)
	@$(PYTHON) -m tests.demo

test: $(VENV)/.ready ## linters and unit tests on this host; needs no root
	@$(VENV_PYTHON) -m pytest -n auto $(COVERAGE) tests/unit

check: host $(VENV)/.ready ## everything: unit, adapters, scenarios on booted nodes, the package (root)
	@$(VENV_PYTHON) -m tests.nodes check

deb: host ## the Debian packages, into build/ (root)
	@$(PYTHON) -m tests.nodes deb

bench: host ## figures: time, memory, start-up (root)
	@$(PYTHON) -m tests.bench

FUZZ_INPUTS ?= 1000000
FUZZ_SEED ?= 0

fuzz: host $(VENV)/.ready ## a million odd inputs for all that is parsed; FUZZ_INPUTS=, FUZZ_SEED= (root)
	@$(VENV_PYTHON) -m tests.fuzz --on-node --inputs=$(FUZZ_INPUTS) --seed=$(FUZZ_SEED)

CAMPAIGN ?=

campaign: host $(VENV)/.ready ## 330 kills and 30 power cuts, and then all is counted; CAMPAIGN="--seed=" (root)
	@$(VENV_PYTHON) -m tests.campaign $(CAMPAIGN)

node: host ## a shell on a fresh node with the package installed (root)
	@$(PYTHON) -m tests.nodes shell

host: # what the nodes are made with
	@tests/nodes/host-tools.sh

clean: ## remove build/
	rm -rf build

clean-cache: ## remove the cached roots and packages too: the next run makes them again (a minute)
	rm -rf "$${OUTCOMED_CACHE:-$${TMPDIR:-/tmp}/outcomed-cache-$$(id -u)}"

$(VENV)/.ready: pyproject.toml
	@echo "making $(VENV)"
	@$(PYTHON) -m venv --clear $(VENV) || { echo "python3-venv is missing: apt install python3-venv" >&2; exit 1; }
	@$(VENV_PYTHON) -m pip install --quiet --upgrade pip
	@$(VENV_PYTHON) -m pip install --quiet --group dev
	@touch $@
