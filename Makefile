# make demo   the method on the embedded model: pictures and figures under out/demo/
# make test   lint, types and tests
# make train  make the embedded model from nothing (hours)
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# Several threads that wait for each other by spinning are slower than one on a busy machine.
export OMP_WAIT_POLICY ?= passive

.PHONY: demo test lint types train clean

$(VENV)/ready: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet -e '.[demo,eval,dev]'
	touch $@

demo: $(VENV)/ready
	$(BIN)/safegen demo --out out/demo

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/ready
	$(BIN)/mypy

test: lint types
	$(BIN)/pytest

train: $(VENV)/ready
	$(BIN)/python -m safegen.demo.train

clean:
	rm -rf $(VENV) out build *.egg-info
