# make demo   the whole job on the bundled dataset; the last line is the path of the report
# make test   ruff, pyright, import-linter and pytest: what continuous integration runs
# make slow   the tests that `make test` leaves out, with the same settings: a quarter of an hour or more
# make clean  removes what these two made
#
# Both make .venv with the first Python 3.11 to 3.13 they find (or PYTHON=...), and use it again until pyproject.toml
# changes. Paths below are relative, so that a checkout may lie in a folder with spaces in its name.

SHELL := /bin/sh
OUT ?= demo-run
PRESET ?= fast
WORKERS ?= 2
RUN := .venv/bin/python
# -qq: errors only
PIP := $(RUN) -m pip install -qq --disable-pip-version-check
CHECK := import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	if command -v $$p >/dev/null 2>&1 && $$p -c '$(CHECK)' >/dev/null 2>&1; then echo $$p; break; fi; done)

# one thread a test worker: two workers on two cores do not fight, and results do not depend on the number of cores;
# programs are optimised less, because the tests spend most of their time compiling
ONE_THREAD := JAX_PLATFORMS=cpu NPROC=1 XLA_FLAGS="--xla_cpu_multi_thread_eigen=false --xla_backend_optimization_level=0" OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.PHONY: demo test slow clean
.DELETE_ON_ERROR:

demo: .venv/installed-demo
	@echo "== dawm run demo --preset $(PRESET) --out $(OUT)"
	@$(RUN) -m dawm run demo --preset $(PRESET) --out "$(OUT)"

test: .venv/installed-dev
	@echo "== ruff check"
	@$(RUN) -m ruff check .
	@echo "== ruff format --check"
	@$(RUN) -m ruff format --check .
	@echo "== pyright"
	@$(RUN) -m pyright
	@echo "== lint-imports"
	@$(RUN) -c "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
	@echo "== pytest ($(WORKERS) workers)"
	@$(ONE_THREAD) $(RUN) -m pytest -n $(WORKERS) --dist loadgroup

slow: .venv/installed-dev
	@$(ONE_THREAD) $(RUN) -m pytest -n $(WORKERS) --dist loadgroup -m slow

.venv/bin/python:
	@if [ -z "$(PYTHON)" ]; then \
		echo "No Python 3.11, 3.12 or 3.13 with its venv module was found. Install one (on Debian and Ubuntu:" >&2; \
		echo "apt install python3 python3-venv), or name it: make demo PYTHON=/path/to/python3.12" >&2; \
		exit 1; fi
	@echo "== making .venv with $(PYTHON) ($$($(PYTHON) -c 'import platform; print(platform.python_version())'))"
	@$(PYTHON) -m venv .venv

.venv/installed-demo: pyproject.toml | .venv/bin/python
	@echo "== installing dawm with MuJoCo into .venv (a few minutes the first time)"
	@$(PIP) --editable '.[mujoco]'
	@touch $@

.venv/installed-dev: pyproject.toml | .venv/bin/python
	@echo "== installing dawm and its development tools into .venv (a few minutes the first time)"
	@$(PIP) --editable '.[dev]'
	@touch $@ .venv/installed-demo

clean:
	rm -rf .venv demo-run .pytest_cache .ruff_cache .hypothesis .import_linter_cache build dist
	find dawm tests examples benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} +
