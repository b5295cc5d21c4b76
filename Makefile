# `make run` is all a newcomer needs. Everything lives in .venv; nothing else on the machine changes.
#   make run                           set up if needed, then train: without a GPU catch, in minutes
#   make run ARGS="--preset cartpole"  another preset; all options of launch.py
#   make setup-games | setup-control   OpenSpiel and PettingZoo; Box2D and MuJoCo
#   make test | lint | bench           what CI runs; micro-benchmarks
#   make docs                          the site, into build/site; a warning is an error
#   make PYTHON=/path/to/python3.11 …  pick the interpreter

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := run
.PHONY: run setup setup-games setup-control test test-cpp test-docs test-extras test-python test-processors lint bench docs protos clean

PYTHON ?=
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
PIP := $(BIN)/python -m pip --disable-pip-version-check -q
CPP := $(shell find mcts_cpp efficientzero -name '*.cc' -o -name '*.h')
CPP_BUILD := build/mcts-tests
PROCESSOR_TESTS := tests/integration/test_mctx_agreement.py tests/contract/test_golden_presets.py $(foreach t,search inference in_place folded_network \
  cpu_kernels networks scalar_support update optimizers mcts mcts_variants,$(shell find tests/unit -name test_$(t).py))

run: $(STAMP)
	@$(BIN)/python launch.py --local $(ARGS)

setup: $(STAMP)

# An extra's packages only; pip would build the project again to install the extra by name.
setup-games setup-control: setup-%: $(STAMP)
	@$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["$*"], sep="\n")' \
	  | $(PIP) install -c constraints.txt -r /dev/stdin
	@echo "[setup] extra $*: installed"

test: test-docs test-cpp test-extras test-python test-processors

# Twice: addresses and undefined behaviour, then threads; the two cannot share a build.
test-cpp: $(STAMP)
	@for sanitizer in MCTS_SANITIZE MCTS_SANITIZE_THREADS; do \
	  echo "[test] C++ tests under $$sanitizer"; build=$(CPP_BUILD)/$$sanitizer; mkdir -p $$build; \
	  (PATH="$(CURDIR)/$(BIN):$$PATH" cmake -S mcts_cpp -B $$build -G Ninja -DCMAKE_BUILD_TYPE=Debug \
	      -D$$sanitizer=ON -DMCTS_BUILD_PYTHON=OFF -DMCTS_BUILD_TESTS=ON \
	    && $(BIN)/cmake --build $$build) > $$build/build.log 2>&1 \
	    || { cat $$build/build.log; echo "[test] the C++ tests do not build"; exit 1; }; \
	  $(BIN)/ctest --test-dir $$build --output-on-failure --no-tests=error; \
	done

# Every link and every generated page of the site.
test-docs: docs

# Tests of an extra run where it can be installed; elsewhere pytest counts them as skipped.
test-extras: $(STAMP)
	@for extra in games control; do \
	  $(MAKE) setup-$$extra || echo "[test] cannot install extra $$extra: its tests are skipped"; done

# First the quick tests, on all cores; then those with real processes, which need the machine for themselves.
test-python: $(STAMP)
	@$(BIN)/python -m pytest -n auto -m "not reverb and not slow"
	@$(BIN)/python -m pytest -m "reverb or slow"

# What depends on how a processor rounds, as one without AVX computes it: torch's loops, oneDNN, MKL and our
# kernels at their narrowest.
test-processors: $(STAMP)
	@echo "[test] the same numbers on a processor without AVX"
	@ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 MKL_ENABLE_INSTRUCTIONS=SSE4_2 EFFICIENTZERO_KERNELS=portable \
	  $(BIN)/python -m pytest -q -n auto -m "not reverb and not slow" $(PROCESSOR_TESTS)

lint: $(STAMP)
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/clang-format --dry-run --Werror $(CPP)
	@$(BIN)/shellcheck deploy/scripts/*.sh deploy/slurm/*.sbatch
	@echo "[lint] all clean"

bench: $(STAMP)
	@$(BIN)/python -m benchmarks $(ARGS)
	@if [ -z "$(ARGS)" ]; then $(BIN)/python -m benchmarks pipeline; fi

docs: $(STAMP)
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "[docs] build/site/index.html; with search: $(BIN)/python -m http.server -d build/site"

protos: $(STAMP)
	@$(BIN)/python -m grpc_tools.protoc -Iefficientzero/rpc/stubs=protos --python_out=. --pyi_out=. --grpc_python_out=. \
	  $(patsubst protos/%,efficientzero/rpc/stubs/%,$(wildcard protos/*.proto))

clean:
	rm -rf $(VENV) build

$(STAMP): pyproject.toml constraints.txt mcts_cpp/CMakeLists.txt $(shell find efficientzero -name CMakeLists.txt) $(CPP)
	@for python in $(or $(PYTHON),python3.11 python3 python) none; do \
	  "$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null && break; done; \
	if [ "$$python" = none ]; then \
	  echo "Python 3.11 is needed: apt-get install python3.11 python3.11-venv python3.11-dev (or: pyenv install 3.11)," \
	       "or name one: make PYTHON=/path/to/python3.11"; exit 1; fi; \
	"$$python" -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "$$python lacks the venv module: apt-get install python3.11-venv"; exit 1; }; \
	"$$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))' \
	  || { echo "$$python lacks the C headers: apt-get install python3.11-dev"; exit 1; }; \
	compiler=$$(command -v "$${CXX:-c++}" || command -v g++ || command -v clang++) \
	  || { echo "A C++ compiler is needed: apt-get install g++"; exit 1; }; \
	echo "[setup] $$("$$python" --version), $$("$$compiler" --version | head -n 1)"; \
	$(BIN)/python -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null \
	  || "$$python" -m venv $(VENV)
	@echo "[setup] 1/2 torch (the largest download)"
	@$(PIP) install -c constraints.txt torch
	@echo "[setup] 2/2 the other packages and the C++ search; log of the build on failure only"
	@$(PIP) install -c constraints.txt -e '.[dev,bench,report,docs]' || { echo; \
	  echo "[setup] failed: see the first error above. If it is the compiler's, g++ 11 or clang 14 (C++20) is needed."; exit 1; }
	@touch $@
	@echo "[setup] done"
