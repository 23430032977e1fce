# Each target sets up what it needs, from nothing: a virtual environment, the dependencies that
# constraints.txt pins, and the compiled kernels.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
NATIVE := $(wildcard native/*.h native/*.cc)

.PHONY: demo test check bench format clean
.DEFAULT_GOAL := test

# Train, evaluate and explain a classifier of handwritten digits.
demo: $(READY)
	rm -rf runs/demo
	$(BIN)/softxent train digits --out runs/demo
	$(BIN)/softxent evaluate runs/demo digits
	$(BIN)/softxent explain runs/demo --row 17

# Every test; warnings are errors.
test: $(READY)
	$(BIN)/python -m pytest -n 2

# Format, lint, strict types, import arrows.
check: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/clang-format --dry-run --Werror $(NATIVE)
	$(BIN)/mypy
	$(BIN)/lint-imports

# Speed beside the peers, answers checked first.
bench: $(READY)
	$(BIN)/python -m benches.engine

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i $(NATIVE)

$(READY): pyproject.toml constraints.txt CMakeLists.txt $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[all,dev]"
	touch $@

clean:
	rm -rf .venv build dist runs .bench
