# Everything runs in .venv, which is made from requirements.txt when a target needs it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help venv demo test check lock clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /\1 /p' $(MAKEFILE_LIST) | while read -r target what; do \
	    printf '  make %-6s %s\n' "$$target" "$$what"; done
	@echo "  PYTHON=python3.12 chooses the interpreter of .venv, ARGS=... goes to pytest"

venv: $(READY) ## Make .venv with the locked requirements and this checkout

# --no-deps: the lock names all that is needed, and leaves out what neural-tangents asks for and does
# not need. pip check then has those two complaints and no other.
# --no-build-isolation: setuptools comes from the lock too, not from a second environment.
$(READY): requirements.txt setup.cfg pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    found=$$($(PYTHON) --version 2>&1) || found="no Python"; \
	    echo "jaxntk needs Python 3.11 or newer; $(PYTHON) is $$found." \
	        "Name another one: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; exit 1; }
	@echo "Setting up $(VENV) with $$($(PYTHON) --version); this takes a few minutes the first time."
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --no-deps --requirement requirements.txt
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@! $(BIN)/python -m pip --disable-pip-version-check check | \
	    grep -vE '^neural-tangents .* requires (tensorflow|tf2jax), which is not installed\.$$'
	@touch $@

demo: venv ## Score and rank NAS-Bench-201 cells on handwritten digits
	$(BIN)/jaxntk run experiments/quickstart_digits.py --out runs/quickstart_digits

# worksteal: tests of one file mostly stay on one worker, which so compiles each network once.
test: venv ## Run the tests (ARGS=--slow for all of them)
	$(BIN)/python -m pytest -n 2 --dist worksteal $(ARGS)

check: venv ## Run the linter, the formatter's check, the type checker and the tests
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(MAKE) test

# neural-tangents imports TensorFlow and tf2jax for an experimental part only, and jaxntk not at all.
lock: venv ## Resolve requirements.txt anew for every supported Python
	$(PIP) install uv
	printf '%s\n' tensorflow tf2jax | $(BIN)/uv pip compile --quiet setup.cfg --all-extras --excludes - \
	    --upgrade --universal --python-version 3.11 \
	    --no-emit-index-url --no-emit-find-links --annotation-style line \
	    --custom-compile-command "make lock" --output-file requirements.txt

clean: ## Remove .venv, builds and caches (not runs/)
	rm -rf $(VENV) build dist *.egg-info .hypothesis .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
