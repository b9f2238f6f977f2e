# `make run` and `make test` do everything on a fresh machine with Python 3.11.
VENV ?= .venv
PYTHON ?= python3.11
BIN := $(VENV)/bin

.PHONY: setup run test check docs lock test-cluster cluster-install bench-serving bench-compression bench-rollout bench-before

setup: $(VENV)/installed

$(VENV)/installed: pyproject.toml requirements.lock
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0 # first, by itself: the CPU build where an index has it
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --editable '.[dev,docs]'
	touch $@

# After a change of pyproject.toml; ARGS=--upgrade takes the newest versions that fit.
lock: setup
	$(BIN)/pip install --quiet --disable-pip-version-check uv==0.13.9
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python docker/lock.py $(ARGS)

run: setup
	$(BIN)/slipway run

check: setup docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/actionlint

# The site, in build/site; a broken link or a page that is in no menu fails.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

test: check
	$(BIN)/pytest -m 'not cluster'

# On the cluster of KUBECONFIG, or on the kit beside this folder.
test-cluster: setup
	$(BIN)/pytest -v --durations=10 -m cluster tests/cluster

cluster-install:
	manifests/install.sh

# Each prints tables and writes results.json beside its code; ARGS="--help" lists what can be chosen.
bench-serving bench-compression bench-rollout: setup
	$(BIN)/python -m benchmarks.$(@:bench-%=%) $(ARGS)

# The model server beside that of another commit: make bench-before ARGS=../CHECKOUT
bench-before: setup
	$(BIN)/python -m benchmarks.serving.before $(ARGS)
