# Everything that a user or a developer runs. `make demo` and `make test` do their own set-up on a
# fresh Debian 12 or 13 machine, as root, and may be run again at any time.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# The Debian interpreter, if there is one: it is the one whose venv module apt installs.
PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
VENV := .venv
BIN := $(CURDIR)/$(VENV)/bin
export PATH := $(BIN):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg

HOSTS ?= 3
RELEASE ?= trixie
FLEET ?= lab
SUBNET ?= 10.79.0.0/24
MINUTES ?= 5
export WITHOUT_MANAGERS ?= 40
SEEDS ?= 500
START ?= 1

.PHONY: help setup apt generate lock lint types contracts unit simulation modules sanity molecule \
        test bench simulate simulate-rollouts chaos demo demo-down fleet fleet-down drill traffic \
        rollouts bundle format clean

help: ## This list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: apt $(VENV)/.ready ## Install what the checkout needs (apt, virtual environment)

apt:
	@tools/apt-install requirements/apt.txt tests/fleet/apt-packages.txt tests/contract/apt-packages.txt

$(VENV)/.ready: requirements/dev.txt agent/pinned.txt agent/pyproject.toml
	@echo "setup: virtual environment in $(VENV)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check setuptools wheel
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --no-build-isolation --require-hashes -r agent/pinned.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps \
	  --no-build-isolation -e agent
	@touch $@

demo: setup ## Three hosts, a cluster, a service that answers; run again any time
	@tools/demo up

demo-down: ## Remove every trace of the demo
	@tools/demo down

test: setup ## Everything: linters, types, unit, simulation, contract, modules, sanity, molecule
	@tools/run-tests

bench: setup ## Print the figures of docs/benchmark.md, measured on the local fleet
	@tools/bench.py

simulate: setup ## Live through SEEDS=500 simulated clusters from START=1, on all cores
	@python -m warren.testing.raft_simulation --seeds $(SEEDS) --start $(START)

simulate-rollouts: setup ## Live through SEEDS=500 clusters whose services roll out all the time, from START=1
	@python -m warren.testing.rollout_simulation --seeds $(SEEDS) --start $(START)

chaos: setup ## Hurt a real cluster for MINUTES=5 or by PLAN=counted, and check every answer
	@tools/chaos.py $(if $(PLAN),--plan $(PLAN),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED))

calm: setup ## Leave a real cluster alone for MINUTES=60 on busy processors, and count elections
	@tools/chaos.py --calm $(MINUTES)

lint: setup ## ruff, yamllint, ansible-lint, shellcheck, changelog
	@tools/run-tests lint

types: setup ## mypy --strict and the import contracts
	@tools/run-tests types contracts

unit: setup ## Unit, simulation and contract tests
	@tools/run-tests unit contract+simulation alone

modules: setup ## The Ansible modules against a manager in memory
	@tools/run-tests modules

sanity: setup ## ansible-test sanity on the plugins
	@tools/run-tests sanity

molecule: setup ## The whole path on real hosts
	@tools/run-tests molecule

traffic: setup ## Count lost requests on real hosts while all kinds of things stop; WITHOUT_MANAGERS=40 seconds
	@molecule converge -s cluster
	@molecule verify -s traffic
	@molecule destroy -s default

rollouts: setup ## Count lost requests on real hosts while good and bad revisions come (minutes)
	@molecule converge -s cluster
	@molecule verify -s rollouts
	@molecule destroy -s default

drill: setup ## Upgrade, remove, replace, recover and restore managers on real hosts (half an hour)
	@pytest -q -s -p no:cacheprovider molecule/recovery/tests

bundle: setup ## Build the offline bundle
	@ansible-playbook bundle.yml

fleet: apt ## Bare hosts for experiments: make fleet HOSTS=5 RELEASE=bookworm
	@python3 -m tests.fleet up --name $(FLEET) --hosts $(HOSTS) --release $(RELEASE) --subnet $(SUBNET)

fleet-down: ## Remove them
	@python3 -m tests.fleet down --name $(FLEET)

generate: setup ## Regenerate the code of the wire schemas
	@tools/generate

lock: ## Pin the newest versions of requirements/dev.in
	@tools/lock

format: setup ## Format the Python code
	@ruff check --fix -q . || true
	@ruff format -q .

clean: ## Remove what builds leave in the checkout (not the fleet, not caches)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis dist bundle
