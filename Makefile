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

.PHONY: help setup demo kind test test-unit test-cluster control-plane e2e node lint format generate manifests site verify fuzz floods bench bench-usage image release lock clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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

kind: setup ## Make a kind cluster with the images and the chart of this checkout (kind, kubectl, Helm, a container engine)
	@PYTHON=$(BIN)/python demo/kind.sh

test: setup control-plane ## Run everything: lint, units, attacks, a real API server, a node, real proxies, fuzzing
	@$(MAKE) --no-print-directory lint verify
	@$(BIN)/python -m testing.lanes --seconds $(FUZZ_SECONDS)

test-unit: setup ## Run what needs neither an API server, a node nor a proxy; the quick one
	@$(BIN)/python -m pytest -q -m "not browser and not cluster and not node and not proxies and not floods"

test-cluster: setup control-plane ## Run what needs the real kube-apiserver
	@$(BIN)/python -m pytest tests/cluster tests/controlplane

control-plane: setup ## Build kube-apiserver and etcd with Go, once (4 minutes), into the user's cache folder
	@$(BIN)/python -m testing.controlplane build > /dev/null

e2e: setup ## Run what needs a node that runs pods (root, Linux): kubelet, containerd, real pods
	@$(BIN)/python -m pytest -m node

node: setup ## Keep such a node up to look around, until Ctrl-C; prints its KUBECONFIG
	@$(BIN)/python -m testing.node run

lint: setup ## Check format, lint, types, import contracts and spelling
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache | tail -n 3
	@$(BIN)/codespell src testing tests docs demo benchmarks README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md

format: setup ## Format the code and fix what the linter can
	@$(BIN)/ruff format --quiet .
	@$(BIN)/ruff check --quiet --fix .

generate: setup ## Write the generated reference pages again
	@$(BIN)/python -m docs.generate write

site: setup ## Build the documentation as a site into site/; fails on a link that leads nowhere
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet --site-dir site

manifests: setup ## Render manifests/install from the chart (the first time builds Helm with Go)
	@$(BIN)/python -m testing.charts write

verify: setup ## Fail when a generated page differs from its source
	@$(BIN)/python -m docs.generate check

fuzz: setup ## Fuzz the parsers of strangers' bytes, then the framing of requests (FUZZ_SECONDS=60 each)
	@$(BIN)/python -m testing.fuzz --seconds $(FUZZ_SECONDS)
	@$(BIN)/python -m testing.framing --seconds $(FUZZ_SECONDS)

floods: setup control-plane ## Flood real processes and judge their memory (15 minutes, nothing next to it); prints a table
	@$(BIN)/python -m pytest -q -m floods

bench: setup ## Run the benchmarks; prints ratios between things measured in one run
	@$(BIN)/python -m benchmarks

image: setup ## Build the images as OCI archives in dist/images, each with its SBOM (Debian 12, root)
	@$(BIN)/python -m image

release: setup ## Build all that a release has into dist/release, checksums and provenance included (Debian 12, root)
	@$(BIN)/python -m image.release

bench-usage: setup ## Measure the usage stores and write docs/performance-usage.md (EVENTS="1000000 10000000")
	@$(BIN)/python -m benchmarks.usage --events $(EVENTS) --batch 1000 10000 --write

lock: ## Resolve the dependencies again (needs uv)
	$(LOCK) --all-extras --group dev --output-file requirements/dev.txt > /dev/null
	$(LOCK) --constraint requirements/dev.txt --extra postgresql --extra clickhouse --extra otel --output-file requirements/gate.txt > /dev/null
	uv pip compile --group image $(LOCK_FLAGS) --constraint requirements/dev.txt --output-file requirements/image.txt > /dev/null
	$(LOCK) --constraint requirements/dev.txt --extra postgresql --extra clickhouse --extra otel --extra operator --output-file requirements/operator.txt > /dev/null
	$(LOCK) --constraint requirements/dev.txt --extra postgresql --extra clickhouse --extra otel --extra client --output-file requirements/demo.txt > /dev/null

clean: ## Remove what was built in this folder
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis dist
