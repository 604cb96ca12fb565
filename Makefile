# Two commands are all a fresh machine needs: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SHELL := /bin/bash

.PHONY: demo test test-long simulate crash-states lint types audit fuzz bench chaos sanitize clean environment test-environment

$(VENV)/.run: pyproject.toml setup.py $(wildcard dbp/network/native/*)
	@echo "== making the environment in $(VENV) (about a minute, once)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[examples]'
	@touch $@

$(VENV)/.test: $(VENV)/.run
	@echo "== adding the test tools (torch is the largest)"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,lint]'
	@touch $@

environment: $(VENV)/.run
test-environment: $(VENV)/.test

demo: $(VENV)/.run
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash examples/demo.sh

# Two or more files of tests at a time. Whole clusters, builds and benchmarks take minutes each: they are test-long's.
PYTEST := $(BIN)/python -m pytest -n $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 4 ? n : 4))) --dist loadfile

test: $(VENV)/.test
	$(PYTEST) -m "not long" tests

test-long: $(VENV)/.test
	$(PYTEST) -m long tests

# 10,000 schedules of faults against the real coordinator, in virtual time; SEED=17 tells one of them step by step.
SEEDS ?= 10000
simulate: $(VENV)/.test
	PYTHONPATH=tests $(BIN)/python -m simulation $(if $(SEED),--seed $(SEED) --trace,--seeds $(SEEDS))

# What is on the disk after a loss of power: `make test` looks at some thousands of states, this at more than 100,000.
crash-states: $(VENV)/.test
	DBP_CRASH_STATES=all $(BIN)/python -m pytest -q -s --timeout 3600 tests/crash

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# mypy cannot follow the package-dir mapping, so it reads a copy of the tree laid out as it is installed.
types: $(VENV)/.test
	rm -rf build/types && mkdir -p build/types && cp -r dbp build/types/dbp && cp -r workers build/types/dbp/workers && cp -r cli build/types/dbp/cli
	cd build/types && $(CURDIR)/$(BIN)/mypy --config-file $(CURDIR)/pyproject.toml --cache-dir $(CURDIR)/.mypy_cache -p dbp

# Known holes in the versions that the image installs. Needs the network; fails, too, where a package could not be looked up.
# .ci/run asks as well, by .ci/audit.py, and goes on where the database cannot be reached.
AUDIT ?= --strict
audit:
	test -x build/audit/bin/python || $(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	build/audit/bin/pip-audit $(AUDIT) --no-deps --disable-pip --progress-spinner off -r deploy/constraints.txt

# Files that coverage leads to, against every reader of files from strangers: SECONDS_EACH of one core for each.
SECONDS_EACH ?= 60
fuzz: $(VENV)/.test
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[fuzz]'
	$(BIN)/python tests/fuzz/run.py --seconds $(SECONDS_EACH)

bench: $(VENV)/.test
	$(BIN)/python benchmarks/run.py

# More than 200 kills of real workers and runs; ends with an error where bits differ. A quarter of an hour.
chaos: $(VENV)/.test
	$(BIN)/python benchmarks/chaos.py

# The kernel's own tests with its memory accesses checked (gcc's address and undefined-behaviour sanitizers).
sanitize: $(VENV)/.test
	rm -rf build/sanitized && DBP_SANITIZE=1 $(BIN)/python setup.py -q build_ext --build-temp build/sanitized --build-lib build/sanitized/lib
	ASAN_OPTIONS=detect_leaks=0 DBP_KERNEL=$(CURDIR)/build/sanitized/lib/dbp/network/_kernel.so \
	  LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libubsan.so)" \
	  $(BIN)/python -m pytest -q tests/library/network -k "not environment_asks and not fresh_process and not processor"

clean:
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache
