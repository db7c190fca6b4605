# make demo   the method on the embedded model: pictures and figures under out/demo/
# make test   lint, types and tests, on up to four processors
# make test-slow  the slow tests: real sweeps, simulations (minutes)
# make test-webui SD_WEBUI_DIR=…   the extension on an installed WebUI 1.10.1 (minutes)
# make test-browser SD_WEBUI_DIR=…  its page in headless Chromium (after npm ci)
# make train  make the embedded model, its judges and what watches it from nothing (hours)
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Several threads that wait for each other by spinning are slower than one on a busy machine.
export OMP_WAIT_POLICY ?= passive

.PHONY: demo test pytest test-slow test-webui test-browser lint types train clean

$(VENV)/demo: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -e '.[demo]'
	touch $@

$(VENV)/ready: $(VENV)/demo
	$(BIN)/pip install --quiet -e '.[demo,lab,scorers,cluster,dev,webui]'
	touch $@

demo: $(VENV)/demo
	$(BIN)/safegen demo --out out/demo

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@if ! command -v node >/dev/null; then echo "eslint is left out: node is missing"; \
	elif [ ! -x node_modules/.bin/eslint ]; then echo "eslint is left out: run npm ci"; \
	else node_modules/.bin/eslint .; fi

types: $(VENV)/ready
	$(BIN)/mypy

# Files stay whole, so that what a file's tests share is made once.
SIDE_BY_SIDE := -n auto --maxprocesses 4 --dist loadfile

# Types take one processor half a minute: they are checked beside the tests.
test: lint
	$(MAKE) --no-print-directory --jobs 2 types pytest

pytest: $(VENV)/ready
	$(BIN)/pytest $(SIDE_BY_SIDE)

# Real sweeps in other processes, and the intervals' simulation.
test-slow: $(VENV)/ready
	$(BIN)/pytest $(SIDE_BY_SIDE) -m slow

# SD_WEBUI_PYTHON is the WebUI's interpreter, if it is not venv/bin/python in its folder.
test-webui: $(VENV)/ready
	@test -n "$(SD_WEBUI_DIR)" || { echo "usage: make test-webui SD_WEBUI_DIR=/path/to/webui"; exit 2; }
	SD_WEBUI_DIR="$(SD_WEBUI_DIR)" SD_WEBUI_PYTHON="$(SD_WEBUI_PYTHON)" $(BIN)/pytest tests/webui $(TESTS)

test-browser: $(VENV)/ready
	@test -n "$(SD_WEBUI_DIR)" || { echo "usage: make test-browser SD_WEBUI_DIR=/path/to/webui"; exit 2; }
	SD_WEBUI_DIR="$(SD_WEBUI_DIR)" SD_WEBUI_PYTHON="$(SD_WEBUI_PYTHON)" $(BIN)/pytest tests/browser $(TESTS)

train: $(VENV)/ready
	$(BIN)/python -m safegen.lab.model.train
	$(BIN)/python -m safegen.lab.judge.train
	$(BIN)/python -m safegen.lab.judge.calibrate
	$(BIN)/python -m safegen.lab.embedded.watch

clean:
	rm -rf $(VENV) out build *.egg-info
