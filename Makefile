# Each target sets up what it needs, from nothing: a virtual environment, the dependencies that
# constraints.txt pins, and the compiled kernels.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
NATIVE := $(wildcard native/*.h native/*.cc)

.PHONY: demo test check bench wheel wheel-test sanitize fuzz format clean
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
	$(BIN)/python -m benches.face

# An sdist, and the wheel that is built from it, both looked into.
wheel: $(READY)
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	SOFTXENT_DIST=dist $(BIN)/python -m pytest -q tests/test_packages.py

# The wheel in an empty environment: no compiler within reach, NumPy, and what the tests themselves
# are written with. Tests of what else is optional skip, and name what they need.
BARE := build/bare/bin
wheel-test: wheel
	rm -rf build/bare
	$(PYTHON) -m venv build/bare
	PATH=$(abspath $(BARE)) $(BARE)/python -m pip install --quiet --only-binary :all: \
		-c constraints.txt dist/*.whl pytest hypothesis mpmath
	PATH=$(abspath $(BARE)) $(BARE)/python -m pytest -q

# Random calls of the kernels: `make fuzz CALLS=1000000 SEED=1`.
CALLS ?= 100000
SEED ?= 0
fuzz: $(READY)
	$(BIN)/python tests/native/fuzz.py $(CALLS) $(SEED)

# The kernels' tests and random calls, with every instruction set built with the address and the
# undefined-behaviour sanitizer. -S keeps the editable install out: the package is the one in
# build/sanitized. Python's own leaks aren't looked for.
SANITIZED := build/sanitized
SANITIZERS = LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc \
	PYTHONPATH=$(SANITIZED):$$($(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")
sanitize: $(READY)
	rm -rf $(SANITIZED)
	$(BIN)/python -m pip install --quiet --no-deps --target $(SANITIZED) \
		-C build-dir=build/sanitize -C cmake.define.SOFTXENT_SANITIZE=ON .
	$(SANITIZERS) $(BIN)/python -S tests/native/fuzz.py $(CALLS) $(SEED)
	$(SANITIZERS) $(BIN)/python -S -m pytest -q tests/native

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
