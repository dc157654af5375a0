# SPDX-License-Identifier: Apache-2.0
# What one types here. `make` alone lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.requirements.stamp
FUZZ_SECONDS ?= 60
EVENTS ?= 1000000 10000000
LOCK_FLAGS := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet
LOCK := uv pip compile pyproject.toml $(LOCK_FLAGS)
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help setup demo test test-unit test-cluster control-plane e2e node lint format generate manifests site verify fuzz bench bench-usage image lock clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## Make .venv with everything locked by hash; leaves the command at .venv/bin/watchword

$(STAMP): requirements/dev.txt pyproject.toml
	@echo "setting up $(VENV) (about half a minute the first time)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --require-hashes -r requirements/dev.txt
	@$(BIN)/python -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $(STAMP)

demo: setup ## Watch the main job at work on this machine; no cluster needed (KEEP=1 leaves it running)
	@$(BIN)/python demo/run.py

test: setup control-plane ## Run everything: lint, units, attacks, a real API server, a node, real proxies, fuzzing
	@$(MAKE) --no-print-directory lint verify
	@$(BIN)/python -m tests.lanes --seconds $(FUZZ_SECONDS)

test-unit: setup ## Run what needs neither an API server, a node nor a proxy; the quick one
	@$(BIN)/python -m pytest -q -m "not cluster and not node and not proxies"

test-cluster: setup control-plane ## Run what needs the real kube-apiserver
	@$(BIN)/python -m pytest tests/cluster tests/controlplane

control-plane: setup ## Build kube-apiserver and etcd with Go, once (4 minutes), into the user's cache folder
	@$(BIN)/python -m tests.controlplane build > /dev/null

e2e: setup ## Run what needs a node that runs pods (root, Linux): kubelet, containerd, real pods
	@$(BIN)/python -m pytest -m node

node: setup ## Keep such a node up to look around, until Ctrl-C; prints its KUBECONFIG
	@$(BIN)/python -m tests.node run

lint: setup ## Check format, lint, types, import contracts and spelling
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache | tail -n 3
	@$(BIN)/codespell src tests docs demo benchmarks README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md

format: setup ## Format the code and mend what the linter can
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

generate: setup ## Write the generated reference pages anew
	@$(BIN)/python -m docs.generate write

site: setup ## Build the documentation as a site into site/; fails on a link that leads nowhere
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir site

manifests: setup ## Render manifests/install from the chart (the first time builds Helm with Go)
	@$(BIN)/python -m tests.charts write

verify: setup ## Fail when a generated page differs from its source
	@$(BIN)/python -m docs.generate check

fuzz: setup ## Fuzz the parsers of tokens, keys, bundles, events and API answers (FUZZ_SECONDS=60 in all)
	@$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS)

bench: setup ## Run the benchmarks; prints ratios between things measured in one run
	@$(BIN)/python -m benchmarks

image: setup ## Build the images as OCI archives in dist/images, each with its SBOM (Debian 12, root)
	@$(BIN)/python -m image

bench-usage: setup ## Measure the usage stores and write docs/performance-usage.md (EVENTS="1000000 10000000")
	@$(BIN)/python -m benchmarks.usage --events $(EVENTS) --batch 1000 10000 --write

lock: ## Resolve the dependencies anew (needs uv)
	$(LOCK) --all-extras --group dev --output-file requirements/dev.txt > /dev/null
	$(LOCK) --constraint requirements/dev.txt --extra proxy --extra postgresql --extra clickhouse --output-file requirements/gate.txt > /dev/null
	uv pip compile --group image $(LOCK_FLAGS) --constraint requirements/dev.txt --output-file requirements/image.txt > /dev/null
	$(LOCK) --constraint requirements/dev.txt --extra proxy --extra postgresql --extra clickhouse --extra operator --output-file requirements/operator.txt > /dev/null
	$(LOCK) --constraint requirements/dev.txt --extra proxy --extra postgresql --extra clickhouse --extra client --output-file requirements/demo.txt > /dev/null

clean: ## Remove what was built in this folder
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
