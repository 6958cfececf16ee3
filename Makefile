# Targets for a fresh clone; `make help` lists them. PYTHON=... uses an existing environment instead of .venv,
# for example one that has torch already: make demo PYTHON=python3
VENV := .venv
PYTHON ?= $(VENV)/bin/python
SAMPLES := out/samples
STAMP := $(if $(filter $(VENV)/bin/python,$(PYTHON)),$(VENV)/.ready,out/.ready)

.DEFAULT_GOAL := help
.PHONY: help demo test test-other-machine test-slow test-all check format bench clean

# As many tests at once as there are processors. PASSIVE: threads that spin while they wait would keep the processor
# from the other tests, which then take ten times as long.
PYTEST := OMP_WAIT_POLICY=PASSIVE $(PYTHON) -m pytest -n auto --dist worksteal

# The nearest to another machine that this one offers: one thread, and the kernels for processors without AVX in
# PyTorch, oneDNN, MKL, and the OpenBLAS of NumPy and SciPy. All of these round differently.
OTHER_MACHINE := OMP_NUM_THREADS=1 ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 \
    MKL_ENABLE_INSTRUCTIONS=SSE4_2 OPENBLAS_CORETYPE=Nehalem

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 20

$(VENV)/bin/python:
	python3 -m venv $(VENV)

# The package itself, for the demo.
$(STAMP): pyproject.toml | $(filter $(VENV)/bin/python,$(PYTHON))
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -e .
	@mkdir -p $(@D) && touch $@

# The package with what tests and checks need.
$(STAMP)-dev: pyproject.toml | $(filter $(VENV)/bin/python,$(PYTHON))
	$(PYTHON) -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	$(PYTHON) -m pip install --quiet --disable-pip-version-check --no-deps facenet-pytorch  # pins an old torch, runs with any
	@mkdir -p $(@D) && touch $@ $(STAMP)

demo: $(STAMP) ## look inside a real network: two real photos -> out/report.html
	@test -d $(SAMPLES) || $(PYTHON) -m convscope samples $(SAMPLES)
	$(PYTHON) -m convscope report $(SAMPLES)/photos/cat.png $(SAMPLES)/photos/coffee.png \
	    --collection $(SAMPLES)/crops --output out/report.html

test: $(STAMP)-dev ## run the fast tests, of at most a few seconds each
	$(PYTEST) -m "not slow"

test-other-machine: $(STAMP)-dev ## run the fast tests in one thread without AVX, which rounds differently
	$(OTHER_MACHINE) $(PYTEST) -m "not slow and not same_everywhere"

test-slow: $(STAMP)-dev ## run the tests that take longer
	$(PYTEST) -m slow

test-all: $(STAMP)-dev ## run the whole test suite; all is imported once only
	$(PYTEST)

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

clean: ## remove everything these targets made, except .venv
	rm -rf out build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
