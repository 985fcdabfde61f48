# Each goal sets up what it needs: system packages (as root on Debian or Ubuntu, otherwise they are
# named), a virtual environment in .venv, and the packages in it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp

.PHONY: setup demo test lint bench docs clean

setup: $(STAMP)-test $(STAMP)-lint

demo: $(STAMP)-app
	$(BIN)/napari-nucleus demo --out demo_output

test: $(STAMP)-test
	$(BIN)/python -m pytest

lint: $(STAMP)-lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright

bench: $(STAMP)-test
	scripts/with_screen.sh $(BIN)/python -m benchmarks

docs: $(STAMP)-test
	scripts/with_screen.sh $(BIN)/python -m docs.screenshots

clean:
	rm -rf $(VENV) demo_output

$(STAMP)-venv:
	scripts/system_packages.sh venv
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade 'pip>=25.1'
	touch $@

$(STAMP)-app: pyproject.toml | $(STAMP)-venv
	scripts/system_packages.sh window
	$(BIN)/python -m pip install --quiet --editable '.[app]'
	touch $@

$(STAMP)-test: pyproject.toml $(STAMP)-app
	scripts/system_packages.sh screen
	$(BIN)/python -m pip install --quiet --group test
	touch $@

$(STAMP)-lint: pyproject.toml $(STAMP)-test
	$(BIN)/python -m pip install --quiet --group lint
	touch $@
