# Two commands: `make run` sets everything up and runs the pipeline, `make test` sets everything up and tests it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: run test crashes install clean
run: $(VENV)/.run
	$(BIN)/lvm run

test: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist loadfile # two at a time: the tests wait as much as they compute

crashes: $(VENV)/.dev # every kind of harm at every stage, then at random: about half an hour
	$(BIN)/python -m tests.flows.crashes --points 40

install: $(VENV)/.run

# torch is named exactly and first: an installer left to choose may fetch gigabytes of CUDA packages.
$(VENV)/.run: pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check torch==2.13.0
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	touch $@

$(VENV)/.dev: $(VENV)/.run pyproject.toml
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	touch $@

clean:
	rm -rf $(VENV) dist build .mypy_cache .ruff_cache .pytest_cache .hypothesis
