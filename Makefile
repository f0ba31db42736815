# Every target sets itself up: `make test` on a fresh clone first makes .venv, later calls reuse it.

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed

# The first interpreter that is new enough and can make virtual environments; `make PYTHON=... install` overrides it.
SUITABLE := import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	"$$p" -c '$(SUITABLE)' >/dev/null 2>&1 && { echo "$$p"; break; }; done)

.DEFAULT_GOAL := help
.PHONY: help install demo test test-all lint format docs bench clean

help:
	@echo 'make install   .venv with the package and everything to test, lint and document it'
	@echo 'make demo      fit, compare and forecast the yearly sunspot numbers; writes demo/sunspots.png'
	@echo 'make test      the tests, without the slow ones (make test-all runs those too)'
	@echo 'make lint      ruff and mypy (make format rewrites the files in the house style)'
	@echo 'make docs      the documentation, into site/'
	@echo 'make bench     side by side with other libraries, which it installs'
	@echo 'make clean     remove what the other targets made'

NEEDS_PYTHON = "$(PYTHON)" -c '$(SUITABLE)' >/dev/null 2>&1 || { \
		echo "statespace needs Python 3.11 or newer with the venv module, and found none$(if $(PYTHON), in '$(PYTHON)')." \
			"Install one (on Debian and Ubuntu: python3 and python3-venv), or name it: make PYTHON=/path/to/python3.11 install" >&2; \
		exit 1; }

install: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@$(NEEDS_PYTHON)
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --constraint constraints.txt --editable '.[test,lint,docs]'
	@touch $@

demo: $(STAMP)
	$(BIN)/python examples/demo.py

# Two workers with one thread each: the tests' matrices are small, and more threads would only wait for each other.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test: $(STAMP)
	$(PYTEST) -m 'not slow' $(ARGS)

test-all: $(STAMP)
	$(PYTEST) $(ARGS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# An environment of its own: the peers decide on versions too. One that does not install is left out, by name.
PEERS := .venv-bench
PIP_INTO_PEERS := $(PEERS)/bin/python -m pip install --constraint tests/benchmarks/constraints.txt

$(PEERS)/.installed: pyproject.toml tests/benchmarks/constraints.txt
	@$(NEEDS_PYTHON)
	"$(PYTHON)" -m venv $(PEERS)
	$(PIP_INTO_PEERS) --editable . scipy mpmath
	for peer in statsmodels pykalman filterpy dynamax pyro-ppl; do \
		$(PIP_INTO_PEERS) $$peer || echo "$$peer does not install, and is left out" >&2; \
	done
	@# particles asks for a numpy below 2, and runs with later ones
	$(PIP_INTO_PEERS) joblib scikit-learn && $(PIP_INTO_PEERS) --no-deps particles \
		|| echo "particles does not install, and is left out" >&2
	@touch $@

bench: $(PEERS)/.installed
	JAX_COMPILATION_CACHE_DIR=$(PEERS)/jax $(PEERS)/bin/python -m tests.benchmarks $(ARGS)

clean:
	rm -rf $(VENV) $(PEERS) site demo build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
