# Two commands: `make run` sets everything up and runs the pipeline, `make test` sets everything up and tests it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check

# The locks leave torch out and the Makefile names it: the same version has a build for CPU and one for each CUDA, and
# which one is right depends on the machine. An exact version takes a CPU build that pip already knows of; a range would
# take the newest build, on Linux with gigabytes of CUDA packages. Where pip knows of none, name the index:
# make TORCH_INDEX=https://download.pytorch.org/whl/cpu run
TORCH := torch==2.13.0
TORCH_INDEX ?=

.PHONY: run test docs crashes fuzz lock install dev clean
run: $(VENV)/.run
	$(BIN)/lvm run

test: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest -n 2 --dist loadfile # two at a time: the tests wait as much as they compute

docs: $(VENV)/.dev # the documentation site, into site/; --quiet would hide warnings from --strict too
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

crashes: $(VENV)/.dev # every kind of harm at every stage, then at random: about half an hour
	$(BIN)/python -m tests.flows.crashes --points 40

fuzz: $(VENV)/.dev # 1,000 hostile files, requests, settings, URLs, checkpoints, arguments and calls: about ten minutes
	$(BIN)/python -m tests.field.fuzz --cases 1000 --seed $(or $(SEED),0)

install: $(VENV)/.run

dev: $(VENV)/.dev

# Everything comes from a lock, checked by its hash. torch follows, then this project itself without dependencies.
$(VENV)/.run: pyproject.toml locks/run.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --no-deps --require-hashes -r locks/run.txt
	$(PIP) $(TORCH) $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
	$(PIP) --no-deps -e .
	touch $@

$(VENV)/.dev: $(VENV)/.run locks/dev.txt
	$(PIP) --no-deps --require-hashes -r locks/dev.txt
	touch $@

# Renews the locks after a change of pyproject.toml. Versions that still fit stay; `make lock UPGRADE=--upgrade` takes
# the newest. The largest lock comes first, the others are parts of it: one version of a package everywhere.
# fewest: one version for all of Python 3.11 to 3.13. No file, index or path of the machine gets into a lock.
UV_COMPILE = echo '$(TORCH)' | $(BIN)/uv --quiet --config-file locks/uv.toml pip compile pyproject.toml - \
	--universal --python-version 3.11 --fork-strategy fewest --generate-hashes --no-emit-package torch \
	--no-emit-index-url --no-emit-find-links --no-annotate --custom-compile-command 'make lock' $(UPGRADE)
lock: $(VENV)/.dev
	$(UV_COMPILE) --extra dev --no-emit-package lvm --output-file locks/dev.txt
	$(UV_COMPILE) --extra ray --constraint locks/dev.txt --output-file locks/ray.txt
	$(UV_COMPILE) --constraint locks/dev.txt --output-file locks/run.txt
	! grep -nE '^(torch|triton|nvidia|cuda)|://|file:' locks/*.txt

clean:
	rm -rf $(VENV) dist build site .mypy_cache .ruff_cache .pytest_cache .hypothesis
