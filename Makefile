# Each target sets up what it needs, from nothing: a virtual environment, the dependencies that
# constraints.txt pins, and the compiled kernels.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready
NATIVE := $(wildcard native/*.h native/*.cc native/*/*.h native/*/*.cc native/*/*/*.h \
	tests/native/*.cc)

CHECKS := check-format check-lint check-types check-imports check-words check-commits

.PHONY: demo test quick lowest newest check $(CHECKS) bench counts counts-update wheel \
	wheel-test compilers arm-test sanitize sanitize-threads fuzz format hooks clean
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

# After each edit: a few cases of each test, in less than a minute.
quick: $(READY)
	$(BIN)/python -m pytest -n 2 --quick

# The suite with the oldest versions that pyproject.toml admits, and with the newest that there are,
# each in a virtual environment of its own. pip 25.3 and later read the constraints of the build from
# PIP_BUILD_CONSTRAINT, earlier ones from PIP_CONSTRAINT.
lowest: export PIP_CONSTRAINT := constraints-lowest.txt
lowest: export PIP_BUILD_CONSTRAINT := constraints-lowest.txt
lowest newest:
	rm -rf build/$@
	$(PYTHON) -m venv build/$@
	build/$@/bin/python -m pip install --quiet -C build-dir=build/$@/cmake ".[all,test]"
	build/$@/bin/python -m pytest -n 2

# What CI and the pre-commit hooks check. `make -k check` goes on after a failure.
check: $(CHECKS)

check-format: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(NATIVE)

check-lint: $(READY)
	$(BIN)/ruff check .

check-types: $(READY)
	$(BIN)/mypy

check-imports: $(READY)
	$(BIN)/lint-imports

check-words: $(READY)
	$(BIN)/python tools/words.py

check-commits: $(READY)
	$(BIN)/python tools/commits.py

# Speed beside other libraries and the limits of the machine, in some minutes; the answers are checked
# first. `make bench BENCH=--full` takes hours.
bench: $(READY)
	$(BIN)/python -m benches.speed $(BENCH)

# The instructions of the kernels, counted by valgrind and compared with benches/counts.json; needs a
# C++ compiler and valgrind alone. `make counts-update` accepts what changed.
counts:
	CXX="$(CXX)" $(PYTHON) -m benches.counts

counts-update:
	CXX="$(CXX)" $(PYTHON) -m benches.counts --update

# An sdist, and the wheel that is built from it; a test compares their files with the repository's.
wheel: $(READY)
	rm -rf dist
	$(BIN)/python -m build --outdir dist
	SOFTXENT_DIST=dist $(BIN)/python -m pytest -q tests/test_packages.py

# The suite on the wheel in an environment without a compiler, with NumPy and the packages that the
# tests themselves import. Tests that need an optional package are skipped and name it.
BARE := build/bare/bin
wheel-test: wheel
	rm -rf build/bare
	$(PYTHON) -m venv build/bare
	PATH=$(abspath $(BARE)) $(BARE)/python -m pip install --quiet --only-binary :all: \
		-c constraints.txt dist/*.whl pytest hypothesis mpmath
	PATH=$(abspath $(BARE)) $(BARE)/python -m pytest -q

# The kernels built from the sdist, and their tests, with every compiler here that can build them:
# `make compilers COMPILERS="g++-11 clang++-14"`. On Debian and Ubuntu they are the packages g++-11,
# clang-14 and so on. -S excludes the editable install, so that the package is the one in
# build/compilers.
COMPILERS ?= $(foreach name,$(foreach n,11 12 13 14 15 16,g++-$n) \
	$(foreach n,14 15 16 17 18 19 20 21 22,clang++-$n),$(if $(shell command -v $(name)),$(name)))
PURELIB = $$($(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")
compilers: $(COMPILERS:%=build/compilers/%/tested)
	@echo "built and tested with: $(COMPILERS)"

build/compilers/sdist/made: $(READY)
	rm -rf $(@D)
	$(BIN)/python -m build --quiet --sdist --outdir $(@D)
	touch $@

build/compilers/%/tested: build/compilers/sdist/made
	rm -rf $(@D)
	CXX=$* $(BIN)/python -m pip install --quiet --no-deps --target $(@D) build/compilers/sdist/*.tar.gz
	PYTHONPATH=$(@D):$(PURELIB) $(BIN)/python -S -m pytest -q tests/native
	touch $@

# The kernels and their tests on 64-bit Arm, cross-built and emulated: in build/arm, with Debian's
# packages g++-aarch64-linux-gnu, qemu-user-static, cmake and ninja-build. Emulation takes a few
# minutes with --quick, and half an hour without: `make arm-test ARM_TESTS=tests/native`.
ARM_TESTS ?= --quick tests/native
arm-test:
	PYTHON=$(PYTHON) tools/arm_test.sh -q -n 2 $(ARM_TESTS)

# Random calls of the kernels: `make fuzz CALLS=1000000 SEED=1`.
CALLS ?= 100000
SEED ?= 0
fuzz: $(READY)
	$(BIN)/python -m tests.native.fuzz $(CALLS) $(SEED)

# The kernels' tests and random calls, with every instruction set built with the address sanitizer
# and the undefined-behaviour sanitizer. -S excludes the editable install, so that the package is the
# one in build/sanitized. Leaks aren't checked, because Python itself has some.
SANITIZED := build/sanitized
SANITIZERS = LD_PRELOAD="$$($(CXX) -print-file-name=libasan.so) $$($(CXX) -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc \
	PYTHONPATH=$(SANITIZED):$(PURELIB)
sanitize: $(READY)
	rm -rf $(SANITIZED)
	$(BIN)/python -m pip install --quiet --no-deps --target $(SANITIZED) \
		-C build-dir=build/sanitize -C cmake.define.SOFTXENT_SANITIZE=ON .
	$(SANITIZERS) $(BIN)/python -S -m tests.native.fuzz $(CALLS) $(SEED)
	$(SANITIZERS) $(BIN)/python -S -m pytest -q tests/native

# The pool of threads, the choice of the kernels and the memory of results, used by several threads
# at once, with ThreadSanitizer: any data race ends the program. Needs a C++ compiler alone.
RACES := build/threads
sanitize-threads:
	mkdir -p $(RACES)
	$(CXX) -std=c++17 -g1 -O1 -ffp-contract=off -fsanitize=thread -pthread -Inative \
		-DSOFTXENT_LEVEL=baseline -o $(RACES)/threads tests/native/threads.cc native/dispatch.cc \
		native/runtime/*.cc native/operations/*.cc
	TSAN_OPTIONS=halt_on_error=1 $(RACES)/threads

# Apply what check-format and check-lint report, where the tools can.
format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/clang-format -i $(NATIVE)

$(READY): pyproject.toml constraints.txt CMakeLists.txt $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt -e ".[all,dev]"
	touch $@

# Run the checks before each commit, and check its subject (pip install pre-commit first).
hooks: $(READY)
	pre-commit install

clean:
	rm -rf .venv build dist runs .bench
