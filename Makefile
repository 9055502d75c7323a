# `make` alone lists the targets. Everything runs from .venv, which the first target that needs it
# makes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
ARGS ?=
TORCH_INDEX ?=
# Files of tests run side by side, in their order: most of those at the start wait for a real Kafka.
PROCESSES ?= 3
SIDE_BY_SIDE = $(if $(filter 1,$(PROCESSES)),,-n $(PROCESSES) --dist loadfile --no-loadscope-reorder)
LOCKED := --universal --python-version 3.11 --generate-hashes --no-annotate --no-header --quiet

# Python compiles every module anew in each process where an image forbids it to keep the result.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo test test-fast check fmt lock demo-model bench results-quick registry-test compose-test connect-test faults faults-long docs clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(INSTALLED) ## make .venv with the locked dependencies; TORCH_INDEX=URL of a package index with smaller builds of torch

demo: $(INSTALLED) ## a real Kafka, a worker and simulated users on this machine, live; ARGS="--for 60" to end by itself
	@$(BIN)/interest-stream demo $(ARGS)

test: $(INSTALLED) ## the whole test suite, with a real Kafka; PROCESSES=1 runs one file after the other
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS)

test-fast: $(INSTALLED) ## the tests that need no Kafka and little time
	$(BIN)/python -m pytest $(SIDE_BY_SIDE) -m "not kafka and not slow" $(ARGS)

check: $(INSTALLED) ## formatting, lint, types and import rules; changes nothing
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: $(INSTALLED) ## format, and mend what the linter can
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

lock: ## write the locked dependencies anew from pyproject.toml (needs uv)
	@command -v uv >/dev/null || { echo "make lock needs uv: pip install uv" >&2; exit 1; }
	uv pip compile pyproject.toml --group dev --extra llm --extra serve --extra registry --extra index $(LOCKED) --upgrade -o requirements.lock
	uv pip compile pyproject.toml --group build --extra serve --extra registry --extra parquet --extra index $(LOCKED) -c requirements.lock -o deploy/requirements.lock
	uv pip compile --group docs $(LOCKED) -c requirements.lock -o docs/requirements.lock

demo-model: $(INSTALLED) ## train again the small model that the package ships
	$(BIN)/interest-stream train --simulate 2000 --seed 7 --hide-ids 0.1 --name demo --protocol time-split --restart --out models/demo_model $(ARGS)

faults: $(INSTALLED) ## the fault campaign, each scenario once or twice, under an hour; resumes; ARGS="--scenario W1 --seed 7" for one
	$(BIN)/python -m tests.faults.campaign $(ARGS)

faults-long: $(INSTALLED) ## the same for hours: more seeds of everything
	$(BIN)/python -m tests.faults.campaign --tier long $(ARGS)

bench: $(INSTALLED) ## interest-stream beside its peers, a table and a chart; ARGS="--quick" for the short form
	@$(BIN)/interest-stream bench compare --out docs/measured/speed.json $(ARGS)

results-quick: $(INSTALLED) ## measure the small rows of docs/measured again, beside their baselines; DATA=FOLDER of the data sets
	@$(BIN)/python -m tests.benchmarks.measured accuracy "$(DATA)" --at-once 2 --set retail --set beauty --set movietweetings
	@$(BIN)/python -m tests.benchmarks.measured drift
	@$(BIN)/python -m tests.benchmarks.measured pages

registry-test: $(INSTALLED) ## the tests of the schema registry against a real one, Apicurio Registry (158 MB, fetched once)
	@$(BIN)/python -m tests.support.real_registry $(ARGS)

compose-test: $(INSTALLED) ## build the image, run docker-compose.yml for real, scale, tear down (says where it cannot)
	@$(BIN)/python deploy/compose_test.py $(ARGS)

connect-test: $(INSTALLED) ## run deploy/connect for real: Kafka Connect from its jars, PostgreSQL (needs Debian's postgresql), Parquet on object storage
	@$(BIN)/python -m deploy.connect_test

docs: $(VENV)/.docs ## write the reference pages anew, and build the site of docs/ into build/site; strict about links
	@$(BIN)/python -m docs.generate
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo "The site is in build/site; begin with build/site/index.html"

clean: ## remove .venv and what tools left; not the local broker's data
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache *.egg-info
	find interest_stream stream models tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null || \
		{ echo "$(PYTHON) is no Python 3.11 to 3.13, or missing; name one with: make $(MAKECMDGOALS) PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing the locked dependencies into $(VENV), once:"
ifneq ($(TORCH_INDEX),)
	@echo "PyTorch from $(TORCH_INDEX); the rest takes about 0.9 GB on disk."
else ifeq ($(shell uname -s),Linux)
	@echo "about 2 GB to fetch, 5.8 GB on disk. Over 4 GB of that serve PyTorch's build for NVIDIA GPUs;"
	@echo "without a GPU: make install TORCH_INDEX=URL, a package index with builds of torch for CPUs."
else
	@echo "far less than the 2 GB to fetch and 5.8 GB on disk that Linux takes for PyTorch's GPU build."
endif
	@PATH="$(abspath $(BIN)):$$PATH" PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1 \
		sh deploy/install_locked.sh requirements.lock "$(TORCH_INDEX)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.docs: docs/requirements.lock $(INSTALLED)
	@echo "Installing MkDocs and its theme into $(VENV) (once) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r docs/requirements.lock
	@touch $@
