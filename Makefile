# Two commands need nothing but Python 3.11 and this file: `make demo` and `make test`.
.DEFAULT_GOAL := help
.PHONY: help demo demo-delta test lint fix bench bench-ledger bench-faults bench-openadr2 bench-aggregator clean
export PYTHON

VENV := .venv
BASE := $(VENV)/.base
DEV := $(VENV)/.dev
RUN := $(VENV)/bin/
PACKAGES := runtime contracts openadr forecasting scheduling ledger vtn ven demo tests
JOBS ?= 3
ARGS ?=
MEMBERS ?= 3
DISPATCH ?= merit

# Members, leases and elections run on real time: what failed beside another worker is judged once more, alone, and is
# named in the output. It has to pass there.
AGAIN = { echo "some tests failed beside others; once more, alone:"; $(RUN)python -m pytest --last-failed \
	--last-failed-no-failures none -v; }

help: ## list the targets
	@grep -E '^[a-z-]+:.*## ' $(firstword $(MAKEFILE_LIST)) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 22

demo: $(if $(filter optimal,$(DISPATCH)),$(DEV),$(BASE)) ## one evening of 52 homes on a ledger of three members (MEMBERS=1 without etcd, DISPATCH=optimal, ARGS="--seed 7")
	$(RUN)python -m demo --members $(MEMBERS) --dispatch $(DISPATCH) $(ARGS)

demo-delta: $(BASE) ## the small testbed: a house and an office, two virtual nodes, two replicas, one authority
	$(RUN)python -m demo.delta $(ARGS)

test: lint ## lint, then every test (ARGS="-m 'not slow'" for the quick ones)
ifeq ($(strip $(ARGS)),)
	$(RUN)python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder -m "not e2e" || $(AGAIN)
	$(RUN)python -m pytest -m e2e
else
	$(RUN)python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(ARGS)
endif

lint: $(DEV) ## style, types and the direction of imports
	$(RUN)ruff check .
	$(RUN)ruff format --check --quiet . || { echo "run 'make fix'"; exit 1; }
	$(RUN)mypy
	$(RUN)lint-imports --no-cache

fix: $(DEV) ## mend what ruff can mend, and write docs/reference.md anew
	$(RUN)ruff check --fix .
	$(RUN)ruff format .
	$(RUN)python -m tests.reference --write

bench: bench-ledger bench-faults bench-openadr2 bench-aggregator ## every measurement; each writes var/bench/<name>.json

bench-ledger: $(DEV) ## measure a consortium of three: transactions a second, latency, CPU, kills (ARGS="--quick")
	$(RUN)python -m tests.bench.cluster_bench $(ARGS)

bench-faults: $(DEV) ## what is lost under faults: a thousand simulated runs, then real kills and partitions (ARGS="--seeds 100")
	$(RUN)python -m tests.bench.faults_bench $(ARGS)

bench-openadr2: $(DEV) ## polls a second beside stock openleadr, unsigned and signed (ARGS="--seconds 5"), then hostile input
	$(RUN)python -m tests.bench.openadr2_bench $(ARGS)
	$(RUN)python -m tests.bench.fuzz_openadr2

bench-aggregator: $(DEV) ## measure forecasts, clusters and dispatch (ARGS="--data folder-of-measured-homes --homes 10000")
	$(RUN)python -m tests.bench.aggregator $(ARGS)

clean: ## remove what runs and builds left, and the environment
	rm -rf var build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis $(VENV)
	find $(PACKAGES) migrations -name __pycache__ -prune -exec rm -rf {} +

$(BASE): pyproject.toml constraints.txt .ci/setup
	@.ci/setup base

$(DEV): $(BASE)
	@.ci/setup dev
