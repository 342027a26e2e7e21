# make demo   SimCLR on scikit-learn's digits: trains, prints a table, writes a report
# make test   the tests, but for what is marked slow   make test PYTHON=python3.12 LATEST=1: on the newest releases
# make soak   the slow tests, thousands of hostile inputs to every public function, damaged image files, runs killed and resumed
# make check  lint, format and types       make bench: every benchmark, each beside its rival
PYTHON ?= python3
ifeq ($(LATEST),1)
VENV ?= .venv-latest
else
VENV ?= .venv
endif
BIN := $(VENV)/bin

# A CUDA build of jax where the machine answers for a GPU.
GPU := $(shell nvidia-smi >/dev/null 2>&1 && echo 1)
comma := ,
EXTRAS := dev$(if $(GPU),$(comma)cuda)
# The versions that the tests ran with; LATEST=1 and GPUs take the newest that pyproject.toml allows.
PINS := $(if $(LATEST)$(GPU),,-r requirements.txt)

.PHONY: demo test soak check bench
demo: $(VENV)/installed
	$(BIN)/sslax pretrain

test: $(VENV)/installed
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

soak: $(VENV)/installed
	$(BIN)/python -m pytest tests/hostile --hypothesis-profile soak
	$(BIN)/python -m pytest -m slow
	$(BIN)/python -m experiments.soak --runs 50 --out "$$(mktemp -d)"

check: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/installed
	$(BIN)/python -m experiments.benchmarks.losses
	$(BIN)/python -m experiments.benchmarks.augmentation
	$(BIN)/python -m experiments.benchmarks.knn
	$(BIN)/python -m experiments.benchmarks.step
	$(BIN)/python -m experiments.benchmarks.growth
	$(BIN)/python -m experiments.benchmarks.collectives
	$(if $(DATA),$(BIN)/python -m experiments.benchmarks.feed --data $(DATA))

$(VENV)/installed: pyproject.toml requirements.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet $(PINS) --editable ".[$(EXTRAS)]"
	touch $@
