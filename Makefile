# All that a newcomer needs: `make quickstart` and `make test`. Both set up .venv first; the second time that does nothing.
# Needs Python 3.11 or newer and make. Another Python than `python3`: make quickstart PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip --quiet
LOCK := UV_CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/uv pip compile --quiet --upgrade \
        --universal --python-version 3.11 --generate-hashes pyproject.toml --group build

.PHONY: quickstart test setup setup-dev lint docs bench lock clean

quickstart: setup
	@$(BIN)/brokerbench run quickstart

test: setup-dev
	$(BIN)/python -m pytest --numprocesses 3 --dist loadgroup $(TESTS)

setup: $(VENV)/.installed

setup-dev: $(VENV)/.installed-dev

$(VENV)/.installed: requirements.lock pyproject.toml tools/redis_server.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "brokerbench needs Python 3.11 or newer; '$(PYTHON)' is: $$($(PYTHON) --version 2>&1)."; \
	  echo "  remedy: install one and name it, e.g. make $(or $(MAKECMDGOALS),quickstart) PYTHON=python3.12"; exit 2; } >&2
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "'$(PYTHON)' comes without venv or ensurepip, which make the environment $(VENV)."; \
	  echo "  remedy: apt install python3-venv   (Debian, Ubuntu)"; exit 2; } >&2
	@echo "setting up $(VENV) (once, under a minute) ..." >&2
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --no-index --editable .
	@$(BIN)/python tools/redis_server.py
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed requirements-dev.lock
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

lint: setup-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

docs: setup-dev
	$(BIN)/python tools/docs.py --quickstart

bench: setup-dev
	$(BIN)/python -m benchmarks $(ONLY)

lock: setup-dev
	$(LOCK) --output-file requirements.lock
	$(LOCK) --group dev --constraint requirements.lock --output-file requirements-dev.lock

clean:
	rm -rf $(VENV) dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
