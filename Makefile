# make demo    install into .venv and walk the whole road on synthetic anatomy
# make test    install and run the default tests
# make check   format, lint, types, layers, spelling
# make coverage   the default tests with branch coverage
# make clean   remove .venv and what the above wrote
#
# Everything is installed once; later runs need no network. Python 3.11 to 3.13, no GPU.

PYTHON ?= $(shell for p in python3.11 python3 python3.12 python3.13; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	2>/dev/null && echo $$p && break; done)
BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --constraint constraints.txt
# Both cores of a laptop; a big machine gains nothing from more copies of torch.
PYTEST_ARGS ?= -n auto --maxprocesses 4

.PHONY: demo test check coverage clean
.DEFAULT_GOAL := demo

demo: .venv/.core
	$(BIN)/medssl demo --out demo --overwrite
	@echo "Open the report: file://$(CURDIR)/demo/report.html"

test: .venv/.dev
	$(BIN)/python -m pytest $(PYTEST_ARGS)

coverage: .venv/.dev
	$(BIN)/python -m pytest $(PYTEST_ARGS) --cov --cov-report=term

check: .venv/.dev
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/codespell

# The stamps hold what was installed; pip looks at the network only for what is missing.
.venv/.core: .venv/.made pyproject.toml constraints.txt
	@echo "Installing medssl into .venv (about 2 GB, a few minutes) ..."
	$(PIP) --no-build-isolation --editable .
	@touch $@

.venv/.dev: .venv/.core pyproject.toml constraints.txt
	@echo "Installing the tools for development ..."
	$(PIP) --no-build-isolation --editable '.[dev,dicom]'
	@touch $@

.venv/.made:
	@test -n "$(PYTHON)" || { echo "medssl needs Python 3.11, 3.12 or 3.13 with its venv module (Debian, Ubuntu: sudo apt install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(PIP) hatchling editables
	@touch $@

clean:
	rm -rf .venv demo .mypy_cache .ruff_cache .pytest_cache .import_linter_cache htmlcov .coverage*
