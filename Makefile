# Two commands are all it takes: `make lab` to work, `make test` to check. `make help` lists the rest.
# Plain enough for the GNU make 3.81 that macOS ships.

LOCK ?= requirements.lock
BIN := .venv/bin
# One BLAS thread in each of two test processes: faster than fighting over the cores, and numbers
# that do not depend on how many there are.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
SANDBOX := MICROSTREAM_OFFLINE=1 $(ONE_THREAD)

.DEFAULT_GOAL := help
.PHONY: help install lab test lint types test-code test-notebooks notebooks evaluate bench bench-monitor chaos month soak soak-monitor screenshots fuzz kafka-jars kafka-chaos bench-kafka lock clean

help: ## this list
	@echo "usage: make TARGET [PYTHON=python3.12]"
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' Makefile

install: ## build .venv from the lock (the others do it by themselves)
	@PYTHON="$(PYTHON)" sh tools/install.sh $(LOCK)

lab: install ## prepare the built-in market once, then open JupyterLab on the notebooks
	@$(BIN)/microstream lab

test: lint types test-code test-notebooks ## style, types, tests, notebooks

lint: install ## ruff, rules and format, notebooks included
	@$(BIN)/ruff check --quiet .
	@$(BIN)/ruff format --quiet --check .

types: install ## mypy --strict on the package
	@$(BIN)/mypy

# Each process begins with a half of the files in a row, so what a module's tests share is made once.
test-code: install ## the tests, on two cores; those in a browser alone, after the others
	@$(SANDBOX) $(BIN)/python -m pytest --numprocesses 2 --dist worksteal \
	    --ignore tests/browser tests
	@$(SANDBOX) $(BIN)/python -m pytest tests/browser

test-notebooks: install ## run every notebook in a temporary home and compare its outputs (NOTEBOOKS=notebooks/my.ipynb)
	@$(SANDBOX) $(BIN)/python -m pytest --nbval --nbval-current-env \
	    --numprocesses 2 --dist loadfile $(or $(NOTEBOOKS),notebooks)

notebooks: install ## run every notebook in a temporary home and keep its outputs (NOTEBOOKS=notebooks/my.ipynb)
	@$(SANDBOX) $(BIN)/python tools/notebooks.py $(NOTEBOOKS)

evaluate: install ## the tables of regimes and baselines, on real data where there is any (DATA=../shared/data)
	@$(ONE_THREAD) $(BIN)/python tools/evaluate.py $(or $(DATA),../shared/data)

bench: install ## how fast it is here, beside the usual ways, as docs/performance.md (ONLY="em batch")
	@$(BIN)/python benchmarks/report.py $(ONLY)

chaos: install ## a recorder through hundreds of faults and twenty kills (ten minutes)
	@MICROSTREAM_CHAOS=full $(SANDBOX) $(BIN)/python -m pytest -s tests/test_chaos.py

soak: install ## half an hour of recording in steady memory (MINUTES=30)
	@$(SANDBOX) $(BIN)/python benchmarks/soak.py $(or $(MINUTES),30)

month: install ## a month of nightly trainings on real minutes through poison, crashes and kills (half an hour)
	@MICROSTREAM_MONTH=1 $(SANDBOX) $(BIN)/python -m pytest -s tests/test_month.py

fuzz: install ## messages and feed against 100,000 examples each, in ten rounds
	@for round in 1 2 3 4 5 6 7 8 9 10; do \
	    HYPOTHESIS_PROFILE=fuzz $(SANDBOX) $(BIN)/python -m pytest -q --numprocesses 2 \
	        -m fuzz tests/test_messages.py tests/test_feed.py || exit 1; \
	done

bench-monitor: install ## from a trade to the pixels of a real browser (needs chromium and the extra browser)
	@$(BIN)/python benchmarks/monitor_latency.py

soak-monitor: install ## the monitor through 3,000 redraws in steady memory (about ten minutes)
	@$(BIN)/python benchmarks/monitor_soak.py

screenshots: install ## the workbench, and the monitor in every state, into docs/img
	@$(BIN)/python tools/screenshots.py

kafka-chaos: install kafka-jars ## workers on a real broker while everything is killed (some minutes; needs the extra kafka)
	@$(SANDBOX) $(BIN)/python benchmarks/kafka_chaos.py

bench-kafka: install kafka-jars ## bars a second of one worker, and from bar to signal, on a real broker
	@$(SANDBOX) $(BIN)/python benchmarks/bench_kafka.py

kafka-jars: build/kafka/resolved ## the broker of the tests marked kafka (needs Maven and Java 17 or later)

build/kafka/resolved: tests/kafka/pom.xml
	@rm -rf build/kafka
	@mvn --quiet --batch-mode --file tests/kafka/pom.xml dependency:copy-dependencies \
	    -DincludeScope=runtime -DoutputDirectory="$(CURDIR)/build/kafka"
	@touch build/kafka/resolved

lock: ## resolve both locks anew (needs uv)
	@command -v uv >/dev/null || { echo "make lock: uv not found, expected it on the PATH" >&2; exit 1; }
	@$(COMPILE) --extra test --extra served --output-file requirements.lock
	@$(COMPILE) --extra test --extra served --extra browser --extra dask --extra kafka --constraint requirements.lock \
	    --output-file requirements-ci.lock

COMPILE = uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
    --generate-hashes --no-emit-index-url --no-header

clean: ## remove .venv and caches; data and models stay
	@rm -rf .venv build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find microstream_lab tests tools notebooks benchmarks -name __pycache__ -prune \
	    -exec rm -rf {} + 2>/dev/null || true
