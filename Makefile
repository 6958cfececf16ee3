# Targets for a fresh clone; `make help` lists them. PYTHON=... uses an existing environment instead of .venv,
# for example one that has torch already: make demo PYTHON=python3
VENV := .venv
PYTHON ?= $(VENV)/bin/python
SAMPLES := out/samples
STAMP := $(if $(filter $(VENV)/bin/python,$(PYTHON)),$(VENV)/.ready,out/.ready)

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast check format bench clean

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

$(VENV)/bin/python:
	python3 -m venv $(VENV)

# The package itself, for the demo.
$(STAMP): pyproject.toml | $(filter $(VENV)/bin/python,$(PYTHON))
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -e .
	@mkdir -p $(@D) && touch $@

# The package with what tests and checks need.
$(STAMP)-dev: pyproject.toml | $(filter $(VENV)/bin/python,$(PYTHON))
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@mkdir -p $(@D) && touch $@ $(STAMP)

demo: $(STAMP) ## look inside a real network: two real photos -> out/report.html
	@test -d $(SAMPLES) || $(PYTHON) -m convscope samples $(SAMPLES)
	$(PYTHON) -m convscope report $(SAMPLES)/photos/cat.png $(SAMPLES)/photos/coffee.png \
	    --collection $(SAMPLES)/crops --output out/report.html

test: $(STAMP)-dev ## run the whole test suite
	$(PYTHON) -m pytest

test-fast: $(STAMP)-dev ## run the tests that take a few seconds at most
	$(PYTHON) -m pytest -m "not slow"

check: $(STAMP)-dev ## ruff, mypy and the import contracts
	$(PYTHON) -m ruff check .
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m mypy
	$(PYTHON) -c 'from importlinter.cli import lint_imports_command; lint_imports_command()'

format: $(STAMP)-dev ## format the code
	$(PYTHON) -m ruff check --fix .
	$(PYTHON) -m ruff format .

bench: $(STAMP)-dev ## compare with the peers; prints tables
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	for script in benchmarks/*.py; do $(PYTHON) $$script || exit 1; done

clean: ## remove everything that was made, except .venv
	rm -rf out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
