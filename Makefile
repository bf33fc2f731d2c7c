# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
# One more than the cores of a small machine: tests that wait for processes leave a quarter of them idle.
TEST_PROCESSES ?= 3

.PHONY: demo test test-slow integrations faults check docs bench model samples clean

# constraints.txt pins torch: an unpinned install may pull gigabytes of CUDA libraries.
$(VENV)/.ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

demo: $(VENV)/.ready  ## scan the sample block, simulate its hotspots, print where the report is
	rm -rf demo_run
	$(BIN)/hotscan scan sample_layouts/block.gds.gz --layer 68/20 --out demo_run --workers 2 --confirm

test: $(VENV)/.ready  ## the tests that need minutes at most
	$(BIN)/python -m pytest -m 'not slow' -n $(TEST_PROCESSES) --dist worksteal --durations 15

test-slow: $(VENV)/.ready  ## the rest: every kill, the real chip
	$(BIN)/python -m pytest -m slow

integrations: $(VENV)/.ready  ## LibreLane and gdsfactory, each in an environment of its own; a real KLayout
	$(PYTHON) -m venv build/librelane
	build/librelane/bin/python -m pip install --quiet 'librelane>=3,<4'
	HOTSCAN_LIBRELANE=$(CURDIR)/build/librelane/bin/python $(BIN)/python -m pytest tests/integrations -rs
	$(PYTHON) -m venv build/gdsfactory
	build/gdsfactory/bin/python -m pip install --quiet --constraint constraints.txt --editable . gdsfactory pytest hypothesis
	build/gdsfactory/bin/python -m pytest tests/integrations/test_gdsfactory.py -rs

faults: $(VENV)/.ready  ## damage every stored file, fill the disk, kill processes (an hour); the disk as root
	$(BIN)/python -m benchmarks.faults.damage
	$(BIN)/python -m benchmarks.faults.kills
	$(BIN)/python -m benchmarks.faults.full_disk

check: $(VENV)/.ready  ## lint and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(VENV)/.docs: $(VENV)/.ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	touch $@

docs: $(VENV)/.docs  ## the site; fails on a broken link or anchor and on a missing docstring
	$(BIN)/ruff check --quiet --select D1 --ignore D105,D107 .
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	$(BIN)/python -m docs.tools.check_site site
	@echo "open site/index.html"

bench: $(VENV)/.ready  ## benchmarks, run by hand
	$(BIN)/python -m benchmarks.speed.peer_klayout_torch

model: $(VENV)/.ready  ## label the training area, train and measure krf130-met1 (many hours)
	$(BIN)/python -m benchmarks.detectors.default_model

samples: $(VENV)/.ready  ## write the sample layouts again
	$(BIN)/python sample_layouts/make.py

clean:
	rm -rf demo_run build site *.egg-info .mypy_cache .ruff_cache .pytest_cache
