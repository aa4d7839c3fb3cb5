# make quickstart | test | docs | docs-test | lint: each installs what it needs into .venv first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
FITS := import sys, torch; sys.exit(tuple(map(int, torch.__version__.split('+')[0].split('.')[:2])) < (2, 11))

.PHONY: quickstart wscr test docs docs-test lint install clean

install: $(VENV)/installed

# A torch that is in .venv already and fits is kept, whatever version constraints.txt pins.
$(VENV)/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@if $(BIN)/python -c "$(FITS)" 2>/dev/null; \
	then grep -v '^torch==' constraints.txt > $(VENV)/constraints.txt; \
	else cp constraints.txt $(VENV)/constraints.txt; fi
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(VENV)/constraints.txt -e ".[cpu,dev]"
	touch $@

quickstart: install
	$(BIN)/r4t quickstart

# The same stages on the queries with reference sets: about 10 minutes on 2 cores.
wscr: install
	$(BIN)/r4t quickstart --task wscr

test: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

# The site, in build/site: a broken link or reference, or a page that cannot be generated, fails.
docs: $(VENV)/docs
	$(BIN)/python docs/site/stage.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet -f build/mkdocs.yml
	@echo "the site is at build/site/index.html"

# Every command, code block and notebook of the docs, and the spelling.
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
