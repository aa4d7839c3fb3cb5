# Targets: quickstart, wscr, real, test, docs, docs-test, lint. Each first installs what it needs into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FITS := import sys, torch; sys.exit(tuple(map(int, torch.__version__.split('+')[0].split('.')[:2])) < (2, 11))

.PHONY: quickstart wscr real test docs docs-test lint install clean

install: $(VENV)/installed

# Keeps a suitable torch that is already in .venv, whatever version constraints.txt pins.
$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@if $(BIN)/python -c "$(FITS)" 2>/dev/null; \
	then grep -v '^torch==' constraints.txt > $(VENV)/constraints.txt; \
	else cp constraints.txt $(VENV)/constraints.txt; fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(VENV)/constraints.txt -e ".[cpu,dev]"
	touch $@

quickstart: install
	$(BIN)/r4t quickstart

# Runs the same stages on the queries with reference sets, in about 10 minutes on 2 cores.
wscr: install
	$(BIN)/r4t quickstart --task wscr

# Takes a real language model (SmolLM2-135M, from a package) through the stages on recipes, and shows three
# of the student's sets. The sets are read in DATA.
DATA ?= ../shared/data
real: install
	$(BIN)/python -m benchmarks.models
	HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.real_models --sets recipes --folds 0 \
		--stages baselines warm-start tuned student --rollouts 20 --written 1500 --data $(DATA) \
		--runs runs/real-small --results runs/real-small/results --show "pad thai" tiramisu ramen

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# Build the site in build/site. Fails on a broken link or reference, or if a page cannot be generated.
docs: $(VENV)/docs
	$(BIN)/python docs/site/stage.py
	$(BIN)/python docs/site/site_build.py

# Run every command, code block and notebook of the docs, and check the spelling.
docs-test: $(VENV)/docs
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m docs -n 2 --dist worksteal

$(VENV)/docs: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(VENV)/constraints.txt -e ".[cpu,dev,docs]"
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist .pytest_cache .mypy_cache .ruff_cache
