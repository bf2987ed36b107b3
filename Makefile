# make demo | studies | test | test-slow | test-4.57 | test-browser | lint | format | bench | viewer | readme | clean | distclean
#
# Every target installs what it needs into .venv first (test-4.57, test-slow and bench also into .venv-4.57: an older
# transformers, and circuit-tracer to compare with). Another Python: make test PYTHON=python3.13
# Options for pip (a CPU build of torch, a mirror): make demo PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"

PYTHON ?= python3
PIP_FLAGS ?=
VENV := .venv
BIN := $(VENV)/bin
VENV_457 := .venv-4.57
OUT ?= out
PROMPT := the capital of the state containing Dallas is
STUDIES ?= $(OUT)
STUDY_FLAGS ?=
PYTEST_FLAGS ?= -n 2 --dist loadfile

.DEFAULT_GOAL := help
.PHONY: help demo studies test test-slow test-4.57 test-browser lint format bench viewer viewer-current readme graphviz chromium clean distclean

help:
	@sed -n '1,5s/^# \{0,1\}//p' $(firstword $(MAKEFILE_LIST))

$(BIN)/python $(VENV_457)/bin/python: %/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "$(PYTHON) is older than 3.11: name a newer one, make $(MAKECMDGOALS) PYTHON=python3.13" >&2; exit 1; }
	@$(PYTHON) -m venv $* || { echo "$(PYTHON) -m venv failed: on Debian and Ubuntu, apt install python3-venv" >&2; exit 1; }

$(VENV)/.runtime: pyproject.toml constraints.txt | $(BIN)/python
	@echo "Installing into $(VENV) (some minutes the first time: torch is large)"
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e .
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(VENV)/.runtime
	@echo "Installing the tools for tests and checks"
	@$(BIN)/python -m pip install --quiet --quiet --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	@touch $@

# Installed when this equals constraints-4.57.txt, which the benchmarks and the tests look at. torch is named so that no
# other build of it is chosen.
$(VENV_457)/constraints.txt: pyproject.toml constraints-4.57.txt | $(VENV_457)/bin/python
	@echo "Installing transformers 4.57 and circuit-tracer into $(VENV_457)"
	@$(VENV_457)/bin/python -m pip install --quiet --quiet --disable-pip-version-check $(PIP_FLAGS) \
		-c constraints-4.57.txt -e '.[test]' circuit-tracer torch
	@cp constraints-4.57.txt $@

# Graphviz draws the pictures; without it the graph, its JSON and the DOT text are still written.
graphviz:
	@command -v dot >/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "Installing Graphviz"; \
			{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends graphviz fonts-liberation; } \
				>/dev/null 2>&1 || echo "Graphviz could not be installed: pictures will be missing" >&2; \
		else \
			echo "Graphviz's dot is not installed: for pictures, run 'sudo apt install graphviz' or 'brew install graphviz'" >&2; \
		fi; }

# Chromium opens the viewer's page in the tests; they look for it on PATH, or where ORRERY_CHROMIUM says.
chromium:
	@command -v chromium >/dev/null || [ -n "$$ORRERY_CHROMIUM" ] || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "Installing Chromium"; \
			{ apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium; } \
				>/dev/null 2>&1 || echo "Chromium could not be installed: the browser tests will be skipped" >&2; \
		else \
			echo "Chromium is not installed: for the browser tests, run 'sudo apt install chromium'" >&2; \
		fi; }

demo: $(VENV)/.runtime graphviz
	@$(BIN)/orrery trace "$(PROMPT)" --output $(OUT)

# Both case studies on the pocket model, each in a folder with its report; interrupted, they go on. A look: STUDY_FLAGS=--quick
studies: $(VENV)/.runtime graphviz
	@$(BIN)/orrery study multi-step --output $(STUDIES)/multi-step $(STUDY_FLAGS)
	@$(BIN)/orrery study hallucination --output $(STUDIES)/hallucination $(STUDY_FLAGS)

test: $(VENV)/.dev graphviz
	$(BIN)/python -m pytest $(PYTEST_FLAGS)

test-slow: $(VENV)/.dev $(VENV_457)/constraints.txt graphviz
	$(BIN)/python -m pytest -m slow $(PYTEST_FLAGS)

# One after the other: some measure how quick the page is.
test-browser: $(VENV)/.dev chromium
	$(BIN)/python -m pytest -m browser -n 0

# Models and graphs once more, with transformers 4.57, and beside circuit-tracer.
test-4.57: $(VENV_457)/constraints.txt
	$(VENV_457)/bin/python -m pytest tests/replacement_model tests/circuits $(PYTEST_FLAGS)
	$(VENV_457)/bin/python -m pytest -m slow tests/peer $(PYTEST_FLAGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(VENV)/.dev $(VENV_457)/constraints.txt
	$(BIN)/python -m benchmarks

# The viewer's page: type check, lint, and one file from the sources in viz/viewer/web.
WEB := viz/viewer/web
$(WEB)/node_modules/.package-lock.json: $(WEB)/package.json $(WEB)/package-lock.json
	@command -v npm >/dev/null || { echo "npm is not installed: the viewer's page is built with Node.js 20 or later" >&2; exit 1; }
	cd $(WEB) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

viewer: $(WEB)/node_modules/.package-lock.json
	cd $(WEB) && npm run --silent check && npm run --silent build

# The committed page is what the sources give. NO_NPM is set where there is no npm to build with.
NO_NPM := $(shell command -v npm >/dev/null || echo yes)
viewer-current: $(if $(NO_NPM),,$(WEB)/node_modules/.package-lock.json)
ifdef NO_NPM
	@echo "Skipped: make viewer-current runs where npm is (Node.js 20 or later)"
else
	@cd $(WEB) && npm run --silent check && node build.mjs node_modules/.page.html
	@cmp $(WEB)/node_modules/.page.html viz/viewer/dist/page.html || \
		{ echo "viz/viewer/dist/page.html is not what its sources give: run make viewer and commit it" >&2; exit 1; }
endif

# The README's example with its output, the help text, the picture, and docs/figures.md's, all made by the program.
readme: $(VENV)/.runtime graphviz
	@$(BIN)/orrery trace "$(PROMPT)" --output docs/images/dallas.svg >/dev/null
	@$(BIN)/python docs/readme_blocks.py
	@$(BIN)/python docs/figure_images.py

clean:
	rm -rf $(OUT) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find replacement_model circuits viz tests benchmarks -name __pycache__ -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV) $(VENV_457) $(WEB)/node_modules
