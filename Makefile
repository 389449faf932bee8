# `make` alone lists the targets. Everything here needs python3 (3.11 or newer) and make only.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
BENCH := "$(CURDIR)/$(BIN)/bench"
CORES := $(shell getconf _NPROCESSORS_ONLN 2>/dev/null || echo 1)
WORKERS := $(shell [ $(CORES) -gt 1 ] && echo 2 || echo 1)
ON_CLUSTER := tests/slurm/cluster.sh run
VIEW := .mypy_view/medssl_bench
USED := torch, monai.networks, timm, lightning_fabric, pandas, pyarrow.parquet, scipy.ndimage, \
  SimpleITK, nibabel, blosc2, mlflow, seaborn, jinja2, pydantic, rich.progress, medssl_bench.cli

.PHONY: help setup demo proof test browser cluster chaos lint types speed simulate clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## make .venv and install everything into it, once

# Compiling all that is installed takes longer than compiling what is used, which importing does.
$(VENV)/.installed: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "make: $(PYTHON) is missing or older than 3.11; name a newer one: make setup PYTHON=python3.12" >&2; \
	  exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -c 'import ensurepip, venv' || { \
	  echo "make: $(PYTHON) cannot make virtual environments; on Debian or Ubuntu: apt install python3-venv" >&2; \
	  exit 1; }
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check \
	  -c constraints.txt -e '.[dev,slurm,nnunet,view]'
	@$(BIN)/python -m compileall -q analysis benchmark methods results slurm tasks
	@env -u PYTHONDONTWRITEBYTECODE $(BIN)/python -W ignore -c 'import $(USED)'
	@touch $@

# Both start in bench-results, so that a bench.yaml of yours beside this file does not change them.
demo: setup ## scratch, SimMIM and SMIT on built-in phantoms, then the leaderboard page
	@mkdir -p bench-results
	cd bench-results && $(BENCH) run --profile demo --methods scratch,simmim,smit \
	  --tasks phantom_ct,phantom_mri --shots 5,full --results demo --workers $(WORKERS)
	cd bench-results && $(BENCH) report --results demo
	@echo "open $(CURDIR)/bench-results/demo/report/index.html"

proof: setup ## does pretraining help? five draws, tuned scratch and a negative control
	@mkdir -p bench-results
	cd bench-results && "$(CURDIR)/$(BIN)/python" -m medssl_bench.proof --results proof

test: setup ## every test but those in a browser or on a cluster; PYTEST=... adds arguments
	$(BIN)/python -m pytest -n $(CORES) -m "not browser and not slurm" $(PYTEST)

browser: setup ## the page's tests in a real browser (needs chromium)
	$(BIN)/python -m pytest -n $(WORKERS) -m browser $(PYTEST)

cluster: setup ## the tests on a real SLURM cluster of one node (root; slurm-wlm, munge)
	$(ON_CLUSTER) $(BIN)/python -m pytest -n 4 -m slurm $(PYTEST)

CELLS ?= 60
KILLS ?= 200
SEED ?= 0
chaos: setup ## CELLS=60 cells survive KILLS=200 random kills on a real cluster; SEED=0
	$(ON_CLUSTER) $(BIN)/python tests/slurm/chaos.py --cells $(CELLS) --kills $(KILLS) --seed $(SEED)

lint: setup types ## ruff and mypy
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# The folders are one package only once installed; mypy sees that package through links.
types: setup
	@rm -rf .mypy_view && mkdir -p $(VIEW)
	@cd $(VIEW) && ln -s ../../benchmark/* $(addprefix ../../,methods tasks analysis slurm results) .
	MYPYPATH=.mypy_view $(BIN)/mypy -p medssl_bench

speed: setup ## every speed comparison of tests/performance, one after another
	@failed=0; for script in tests/performance/*.py; do \
	  echo "== $$script"; $(BIN)/python $$script || failed=1; done; exit $$failed

simulate: setup ## do the statistical tests keep what they claim? about five minutes
	$(BIN)/python -m medssl_bench.analysis.simulation

clean: ## remove what can be made again; .venv and bench-results stay
	rm -rf build dist *.egg-info .mypy_view .mypy_cache .pytest_cache .ruff_cache
	find analysis benchmark methods results slurm tasks tests -name __pycache__ -prune -exec rm -rf {} +
