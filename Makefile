# Each goal sets up what it needs: system packages (as root on Debian or Ubuntu, otherwise they are
# named), a virtual environment in .venv, and the packages in it.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
INTEROP := .venv-interop
ORACLE := .venv-oracle
# Tests side by side, each file in one process; a thread of torch for each.
JOBS ?= 2

.PHONY: setup demo test interop oracle lint bench docs clean

setup: $(STAMP)-test $(STAMP)-lint

demo: $(STAMP)-app
	$(BIN)/napari-nucleus demo --out demo_output

test: $(STAMP)-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

# Opens our files in programs that clash with our environment, in one of their own.
interop: $(STAMP)-test $(INTEROP)/.stamp
	rm -rf $(INTEROP)/files
	$(BIN)/python -m tests.interop.write_files $(INTEROP)/files
	$(INTEROP)/bin/python tests/interop/read_files.py $(INTEROP)/files

# Runs the original SAM and SAM2 beside ours, on packages that are kept out of our environment.
oracle: $(STAMP)-test $(ORACLE)/.stamp
	$(BIN)/python -m pytest tests/models/test_models_sam_oracle.py

lint: $(STAMP)-lint
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright

bench: $(STAMP)-test
	scripts/with_screen.sh $(BIN)/python -m benchmarks

docs: $(STAMP)-test
	$(BIN)/python -m docs.formats_table
	scripts/with_screen.sh $(BIN)/python -m docs.screenshots

clean:
	rm -rf $(VENV) $(INTEROP) demo_output

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

# What SAM2 itself asks for brings another torch along.
$(ORACLE)/.stamp: tests/models/sam_oracle_requirements.txt | $(STAMP)-test
	rm -rf $(ORACLE)
	SAM2_BUILD_CUDA=0 $(BIN)/python -m pip install --quiet --no-deps --no-build-isolation \
		--target $(ORACLE) --requirement $<
	touch $@

# What TIAToolbox and large_image themselves ask for brings torch and a server along.
$(INTEROP)/.stamp: tests/interop/requirements.txt | $(STAMP)-venv
	$(PYTHON) -m venv $(INTEROP)
	$(INTEROP)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'
	$(INTEROP)/bin/python -m pip install --quiet --requirement tests/interop/requirements.txt
	$(INTEROP)/bin/python -m pip install --quiet --no-deps tiatoolbox girder-large-image-annotation
	touch $@
