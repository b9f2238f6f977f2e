# `make run` and `make test` do everything on a fresh machine with Python 3.11.
VENV ?= .venv
PYTHON ?= python3.11
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check
# On a machine with a GPU: make setup TORCH_INDEX=https://pypi.org/simple
TORCH_INDEX ?= https://download.pytorch.org/whl/cpu
JOBS ?= 3
SIDE_BY_SIDE = -n $(JOBS) --dist loadfile --no-loadscope-reorder
# Many containers set it. Then each of the hundreds of processes of a run or of the tests would compile all packages anew.
unexport PYTHONDONTWRITEBYTECODE

# Threads of OpenMP that wait for work in a loop take the processor from the tests beside them: four times the time of a training.
test-fast test-together: export OMP_WAIT_POLICY = passive

.PHONY: setup run test test-fast test-together test-alone check docs lock test-cluster cluster-install bench-serving bench-compression bench-rollout bench-before

setup: $(VENV)/installed

# PyTorch comes first, by itself: its CPU build where that index can be reached, PyPI's, which is for CUDA, where not. uv installs the
# rest in seconds: first the lock, by digests, then what PyTorch's CUDA build needs besides, and the tools for tests.
$(VENV)/installed: pyproject.toml requirements.lock docker/uv.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes --requirement docker/uv.txt
	$(PIP) --no-deps --retries 1 --extra-index-url $(TORCH_INDEX) torch==2.13.0
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --require-hashes --requirement requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable '.[dev,docs]'
	touch $@

# After a change of pyproject.toml; ARGS=--upgrade takes the newest versions that fit.
lock: setup
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python docker/lock.py $(ARGS)

run: setup
	$(BIN)/slipway run

check: setup docs
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/actionlint

# The site, in build/site; a broken link or a page that is in no menu fails.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

test: check test-together test-alone

# The files of tests that take less than two seconds: for the loop of a developer.
test-fast: setup
	$(BIN)/pytest $(SIDE_BY_SIDE) -q -m 'not local and not alone' $$($(BIN)/python -m tests.slow_files)

# JOBS files of tests side by side.
test-together: setup
	$(BIN)/pytest $(SIDE_BY_SIDE) --durations=40 -m 'not cluster and not alone'

# Those that measure memory or time.
test-alone: setup
	$(BIN)/pytest -m 'alone and not cluster'

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
