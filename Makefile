# Everything runs in .venv, which the first target that needs it makes. A second call installs nothing.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PYTEST := $(BIN)/python -m pytest

.PHONY: choosing help demo test test-matrix test-all lint format bench mutate docs site doctor doctor-remedies theory clean reproduce reproduce-mnist reproduce-long reproduce-gpu reproduce-quick reproduce-check

help:
	@echo "make demo      train, score and sample the default experiment on real images"
	@echo "make test      all fast tests"
	@echo "make test-matrix  every pair of losses, regularizers, games, families ... trained and resumed"
	@echo "make test-all  all of them, and the long ones too"
	@echo "make lint      ruff and types"
	@echo "make bench     ganrun's loop against a plain one"
	@echo "make mutate    plant known faults; each must make a test fail"
	@echo "make docs      write the generated pages of docs/ anew"
	@echo "make site      the documentation as web pages in site/; a broken link is an error"
	@echo "make doctor    runs with injected faults, and healthy ones: how many the doctor names"
	@echo "make doctor-remedies  whether its remedies help, in paired forks"
	@echo "make theory    compute what the theory claims; write docs/theory.md anew"
	@echo "make reproduce       claims of the papers on two cores; reproduce-NAME for one, reproduce-mnist, -long, -gpu"
	@echo "make choosing        losses, regularizers and families at equal time; writes docs/choosing.md"
	@echo "make clean     remove caches and .venv; run folders stay"

# uv installs faster where it is on the PATH; it does not read pip's own settings, hence the second way
$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV_FLAGS) .venv
	@if command -v uv >/dev/null 2>&1 && uv pip install -q --python $(BIN)/python -e ".[dev]"; then :; \
	else $(BIN)/python -m pip install -q --disable-pip-version-check -e ".[dev]"; fi
	@touch $@

# networks this small run fastest, and disturb nobody, on one thread
demo: $(STAMP)
	$(BIN)/ganrun train experiment=demo name=demo evaluation.baselines=true device.threads=1
	$(BIN)/ganrun sample "$$(ls -td outputs/demo/*-seed0-* | head -n 1)"

# asked once; without a browser the tests that need one are skipped
.venv/.browser: $(STAMP)
	@sh scripts/browser.sh
	@touch $@

test: $(STAMP) .venv/.browser
	$(PYTEST) -n 2 --dist worksteal

test-matrix: $(STAMP)
	$(PYTEST) -n 2 --dist worksteal -m matrix

test-all: $(STAMP) .venv/.browser
	$(PYTEST) -n 2 --dist worksteal -m "long or not long"

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy ganrun

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP)
	$(BIN)/python benchmarks/bench.py

mutate: $(STAMP)
	$(BIN)/python scripts/mutate.py

docs: $(STAMP)
	$(BIN)/python scripts/techniques_page.py
	$(BIN)/python scripts/doctor_page.py
	$(BIN)/python scripts/keys_page.py
	$(BIN)/python scripts/options_page.py
	$(BIN)/python scripts/metrics_page.py
	$(BIN)/python scripts/python_page.py
	$(BIN)/python scripts/tips_page.py

# NO_MKDOCS_2_WARNING: no word about a successor of mkdocs in every build
site: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "written: site/index.html"

# how often the doctor names an injected fault; writes the table of docs/doctor.md
doctor: $(STAMP)
	$(BIN)/python benchmarks/doctor.py

# whether its remedies help, in paired forks; writes their table there
doctor-remedies: $(STAMP)
	$(BIN)/python benchmarks/doctor_remedies.py

theory: $(STAMP)
	OMP_NUM_THREADS=1 $(BIN)/ganrun theory --out docs/theory --page docs/theory.md

# claims of the papers, resumable; writes docs/reproductions.md. ROOT=FOLDER holds MNIST/raw and cifar-10-batches-py
reproduce: $(STAMP)
	$(BIN)/python -m reproduce --set cpu

reproduce-quick reproduce-check: reproduce-%: $(STAMP)
	$(BIN)/python -m reproduce --$*

# losses, regularizers and families at equal time; writes docs/choosing.md; choosing-NAME for one table
choosing: $(STAMP)
	$(BIN)/python -m reproduce.choosing

choosing-%: $(STAMP)
	$(BIN)/python -m reproduce.choosing $*

reproduce-mnist reproduce-long reproduce-gpu: reproduce-%: $(STAMP)
	$(BIN)/python -m reproduce --set $* $(if $(ROOT),--root $(ROOT))

reproduce-%: $(STAMP)
	$(BIN)/python -m reproduce $* $(if $(ROOT),--root $(ROOT))

clean:
	rm -rf .venv build dist site .pytest_cache .ruff_cache .mypy_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
