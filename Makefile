# Every target does its own set-up: on a fresh machine, `make demo` and `make test` are all there is to type.
VENV   ?= .venv
PYTHON ?= python3
BIN    := $(VENV)/bin
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.PHONY: help setup test lint demo bench clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.done  ## virtual environment, packages, the system library that Open3D needs

$(VENV)/.done: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	$(BIN)/python -m threedzal.system_libraries
	@touch $@

test: setup  ## run the tests
	$(BIN)/python -m ruff check src tests
	$(BIN)/python -m pytest

lint: setup  ## check and format the code
	$(BIN)/python -m ruff check --fix src tests
	$(BIN)/python -m ruff format src tests

DEMO := lightning_logs/demo

demo: setup  ## from nothing to a report: generate data, fit, test on classes never seen
	$(BIN)/threedzal data generate data/demo --size 224 --train 12 --validation 4 --test_good 6 --test_per_defect 3
	$(BIN)/threedzal fit --config configs/demo.yaml --trainer.logger.init_args.version fit
	$(BIN)/threedzal test --config configs/demo.yaml --trainer.logger.init_args.version test \
	  --ckpt_path $(DEMO)/fit/fitted.ckpt
	@echo "The report: $(DEMO)/test/report/index.html"

SIZE ?= full

bench: setup  ## time each stage against straightforward code (SIZE=small: seconds; full: the paper's size)
	$(BIN)/python -m benchmarks.speed --size $(SIZE) --json results/speed-$(SIZE).json

clean:  ## remove the virtual environment and generated data (runs in lightning_logs/ stay)
	rm -rf $(VENV) data build src/*.egg-info
