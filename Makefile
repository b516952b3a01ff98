# make pretrain [RECIPE=...]   install what is needed and pretrain on a Ray head of its own
# make test                    lint, types, import contracts and tests
PYTHON ?= python3.11
RECIPE ?= configs/pretrain/demo.yaml
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
UNFINISHED := $(VENV)/.unfinished
export CRYOFOUND_HOME ?= $(CURDIR)/runs

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help pretrain test lint

help:
	@sed -n '1,2s/^# //p' Makefile

pretrain: $(VENV)/.core
	@$(BIN)/python jobs/local.py --recipe $(RECIPE)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses=2 tests/unit
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/jobs tests/pipeline tests/browser

# An install that was cut short may leave packages that pip takes for whole: the environment is then made afresh.
define install
	@if [ -e $(UNFINISHED) ] || ! $(BIN)/python -m pip --version >/dev/null 2>&1; then \
		echo "making $(VENV) with $(PYTHON)"; $(PYTHON) -m venv --clear $(VENV); fi
	@touch $(UNFINISHED)
	@echo "installing $(1) (some minutes the first time)"
	@$(PIP) install --quiet --quiet --progress-bar off -c requirements.lock -e '$(1)'
	@rm $(UNFINISHED) && touch $@
endef

$(VENV)/.core: pyproject.toml requirements.lock
	$(call install,.)

$(VENV)/.dev: $(VENV)/.core
	$(call install,.[dev])
