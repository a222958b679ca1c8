# make demo: a small audit from start to report.  make test: everything CI checks.
# Both set up what is missing on a fresh Debian 12 or 13, and skip what is done.

.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:

BIN := .venv/bin
DONE := .setup
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
PACKAGES := chromium fonts-dejavu-core tshark iproute2 espeak-ng python3-venv webext-ublock-origin-chromium

.PHONY: help demo test lint docs setup clean

help:
	@echo "make demo   a small audit in the lab, start to report"
	@echo "make test   all checks and tests"
	@echo "make lint   ruff, mypy, import-linter"
	@echo "make docs   regenerate docs/cli.md and docs/tables.md"
	@echo "make clean  remove what setup installed into this folder"

demo: setup
	$(BIN)/earwitness demo

test: lint
	$(BIN)/python -m pytest

lint: setup
	$(BIN)/ruff format --check src tests bench
	$(BIN)/ruff check src tests bench
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: setup
	$(BIN)/python -m earwitness.cli.reference docs

setup: $(DONE)/system $(DONE)/python $(DONE)/node $(DONE)/kernels

# dumpcap comes with tshark. Node and npm are left alone where they are installed already, from wherever.
$(DONE)/system: Makefile
	@mkdir -p $(DONE)
	@missing=""; for p in $(PACKAGES); do dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	command -v node >/dev/null || missing="$$missing nodejs"; \
	command -v npm >/dev/null || missing="$$missing npm"; \
	if [ -n "$$missing" ]; then \
	  echo "installing$$missing"; \
	  $(SUDO) apt-get update -qq; \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing \
	    >$(DONE)/apt.log 2>&1 || { tail -n 20 $(DONE)/apt.log; exit 1; }; \
	fi
	@touch $@

$(DONE)/python: $(DONE)/system requirements.lock pyproject.toml
	python3 -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	$(BIN)/python -m compileall -q .venv/lib src
	@touch $@

$(DONE)/node: $(DONE)/system package.json package-lock.json
	npm ci --ignore-scripts --no-audit --no-fund --silent
	@touch $@

$(DONE)/kernels: $(DONE)/python $(wildcard src/earwitness/capture/kernel*.py)
	$(BIN)/python -c "from earwitness.capture import compile_kernels; compile_kernels()"
	@touch $@

clean:
	rm -rf $(DONE) .venv node_modules
