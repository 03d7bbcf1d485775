# Two commands do everything on a fresh clone: `make demo` and `make test`.
# A machine needs python3 (3.11 or newer), make and git; all else goes into .venv, once.

VENV   ?= .venv
BIN    := $(VENV)/bin
PEERS  ?= .venv-peers
PYTEST_ARGS ?=
# Compiling is most of the work, and uses one core: a process for each, all tests of a file in one of them.
PARALLEL    := -n auto --maxprocesses 4 --dist loadfile
DEMO_ARGS   ?=
MUTANTS_ARGS ?=

.PHONY: demo test test-slow test-peers mutants lint docs format bench clean help
.DEFAULT_GOAL := help

help:
	@echo "make demo    transplant a pretrained pair, adapt it to 100 images, measure, report (DEMO_ARGS='--target emoji')"
	@echo "make test    lint, documentation, then every test (PYTEST_ARGS='tests/cli -x' for a part)"
	@echo "make test-slow  the long tests: kills, parities, the demo"
	@echo "make test-peers  parity with pytorch-fid, torch-fidelity, clean-fid, lpips, torchvision, mimicry, mergekit, in $(PEERS)"
	@echo "make mutants small faults put into a copy: does a test fail? (MUTANTS_ARGS='--only losses')"
	@echo "make docs    the documentation as pages, in build/docs; a link that leads nowhere fails"
	@echo "make lint    ruff (rules and format) and the type checker"
	@echo "make format  let ruff rewrite the files"
	@echo "make bench   timings side by side with peers (benchmarks/)"
	@echo "make clean   remove the environments and caches"

demo: $(VENV)/.installed
	$(BIN)/gan-jax demo $(DEMO_ARGS)

test: lint docs
	$(BIN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

# Small faults, one at a time in a copy, and whether a test fails.
mutants: $(VENV)/.installed-dev
	$(BIN)/python tools/mutants.py $(MUTANTS_ARGS)

test-slow: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

# Packages of PyTorch to compare with, in an environment of their own.
test-peers: $(PEERS)/.installed
	$(PEERS)/bin/python -m pytest -m peers $(PYTEST_ARGS) tests/peers

$(PEERS)/.installed: pyproject.toml constraints.txt tests/peers/requirements.txt tools/venv.sh
	@sh tools/venv.sh $(PEERS)
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check -e '.[dev]' -c constraints.txt -r tests/peers/requirements.txt
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps torch-mimicry==0.1.16  # whose metrics want TensorFlow
	$(PEERS)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps mergekit==0.1.5  # whose loaders want transformers
	@touch $@

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/basedpyright --level error --pythonpath $(BIN)/python

docs: $(VENV)/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

format: $(VENV)/.installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.installed-dev
	$(BIN)/python -m benchmarks

# Installed once, and again when the lists of packages change.
$(VENV)/.installed: pyproject.toml constraints.txt tools/venv.sh
	@sh tools/venv.sh $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[data,report]' -c constraints.txt
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[data,report,dev]' -c constraints.txt
	@touch $@

clean:
	rm -rf $(VENV) $(PEERS) .pytest_cache .ruff_cache .hypothesis
