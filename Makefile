# make demo | test | check | bench | docs        needs Python 3.11 to 3.13 and nothing else
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test check bench docs

demo: ## from an empty machine to a trained policy and its report
	$(PYTHON) -m venv $(VENV) && $(BIN)/pip install -e . && $(BIN)/sinew train tabletop

test: $(VENV)/.dev ## the whole test suite
	$(BIN)/pytest -n auto

check: $(VENV)/.dev ## everything that reads the code without running it
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell src tests docs benchmarks *.md
	$(BIN)/vulture
	$(BIN)/interrogate -q src
	$(BIN)/python benchmarks/tables.py --check
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(VENV)/.dev ## measure what the README claims; hours
	$(BIN)/python benchmarks/first_run.py --json benchmarks/results/first_run.json

docs: $(VENV)/.dev ## put measured figures into README and docs
	$(BIN)/python benchmarks/tables.py

$(VENV)/.dev: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -e '.[dev]'
	touch $@
