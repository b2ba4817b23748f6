# Two commands do all the set-up on a fresh machine: `make run` and `make test`. Each needs python3 and pip alone.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
READY_DEV := .venv/.ready-dev

SCHEMA := suite/spec/task.schema.json

.PHONY: run test test-whole test-all bench reliability lint schema audit clean

run: $(READY)
	$(BIN)/suite run --cost gradient
	@printf '\n%s\n' "Yours is $${SUITE_HOME:-.suite}/reports/leaderboard.md. The published one, made again from reports/results:"
	@$(BIN)/suite leaderboard

# the quick benchmarks last, once each and without timing; those that take minutes are collected only
test: $(READY_DEV) schema lint
	$(BIN)/python -m pytest -n 3 --dist worksteal --ignore=tests/bench --durations=20 -m "not slow and not whole"
	$(BIN)/python -m pytest tests/bench --benchmark-disable -k "not loop" -q

# whole runs from outside, which `.ci/run` has too
test-whole: $(READY_DEV)
	$(BIN)/python -m pytest -n 3 --dist worksteal --ignore=tests/bench --durations=20 -m "whole and not slow"

# with the tests marked slow, and with Ray and submitit
test-all: $(READY_DEV) schema lint
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[dev,ray,slurm]'
	$(BIN)/python -m pytest -n 2 --dist worksteal --ignore=tests/bench --durations=40

# PEERS=1 installs and measures the other libraries too; torchvision, which one of them names and none imports, cannot be
# imported beside a CPU build of torch and would break transformers
bench: $(READY_DEV)
ifdef PEERS
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[dev,peers]'
	$(BIN)/python -c 'import torchvision' 2>/dev/null || $(BIN)/python -m pip uninstall -q -y torchvision
endif
	mkdir -p .benchmarks
	$(BIN)/python -m pytest tests/bench --benchmark-only -q --benchmark-json=.benchmarks/bench.json
	$(BIN)/python -m tests.bench.report .benchmarks/bench.json --out .benchmarks

# reports/reliability.md: kills, faults, fuzzing, engines, scale; hours. One section: python -m tests.reliability SECTION
reliability: $(READY_DEV)
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[dev,ray,slurm]'
	$(BIN)/python -m tests.reliability

lint: $(READY_DEV)
	$(BIN)/ruff format --check suite tests
	$(BIN)/ruff check suite tests
	$(BIN)/mypy
	$(BIN)/lint-imports

# known vulnerabilities of every package in constraints.txt, as PyPI tells them (one that it does not know is an error),
# and what bandit finds in our own code; not part of `make test`: it needs a network, and ends otherwise on another day
audit: $(READY)
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[audit]'
	$(BIN)/bandit -q -c pyproject.toml -r suite
	$(BIN)/pip-audit --strict --no-deps --disable-pip -r constraints.txt

# generated: a new data source, model or metric is in them without an edit
schema: $(READY)
	$(BIN)/suite schema --write $(SCHEMA)
	$(BIN)/suite metrics --write docs/metrics.md

clean:
	rm -rf .venv .suite reports/site build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .benchmarks

.venv/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(None if (3, 11) <= sys.version_info < (3, 14) else "Python 3.11 to 3.13 is needed, this is " + sys.version)'
	$(PYTHON) -m venv .venv

# the build backend first, from the same constraints: nothing is then fetched for an isolated build
$(READY): .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install -q -c constraints.txt hatchling editables
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e .
	touch $@

$(READY_DEV): $(READY)
	$(BIN)/python -m pip install -q -c constraints.txt --no-build-isolation -e '.[dev]'
	touch $@
