# Everything from a fresh clone: Python 3.11+ and make are enough. `make` alone lists the targets.

# The fastest of the interpreters that are there; `make setup PYTHON=python3.12` takes another.
PYTHON ?= $(shell for name in python3.13 python3.12 python3.11 python3 /usr/bin/python3 python; do \
	$$name benchmarks/interpreter.py 2>/dev/null; done | sort | head -n 1 | cut -f 3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/pytest
ARGS ?=
PARALLEL ?= -n 4 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help setup demo test check fmt lint types test-pg test-web test-slow test-seeds test-sim test-crash test-attacks test-plants test-editor bench bench-mails bench-recommend docs migration lock pictures mail-check

help:  ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(READY)  ## make .venv with the locked packages and this checkout (once; again when the lock changes)

$(READY): requirements-lock.txt pyproject.toml
	@test -x $(BIN)/python || { python="$(PYTHON)"; \
	test -n "$$python" || { echo "Homing needs Python 3.11 or newer with venv (Debian: apt-get install python3-venv)"; exit 1; }; \
	echo "$$python -m venv $(VENV)"; "$$python" -m venv $(VENV); }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements-lock.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $(READY)

demo: $(READY)  ## a shop with a year of history, 60 virtual days, mails in a local mailbox
	$(BIN)/homing demo $(ARGS)

test: $(READY)  ## every test but the slow ones, on SQLite and PostgreSQL
	$(PYTEST) $(PARALLEL) -m "not slow and not editor" $(ARGS)

test-pg: $(READY)  ## the tests that need PostgreSQL
	$(PYTEST) -m "postgresql and not slow" $(ARGS)

test-slow: $(READY)  ## the tests that take minutes, with their full shares; examples that are drawn anew
	HOMING_TEST_SHARE=full $(PYTEST) -m slow $(ARGS)
	HOMING_TEST_SHARE=full $(PYTEST) -m "hypothesis and not slow" $(ARGS)

test-seeds: $(READY)  ## 500 seeds of the whole engine on a virtual month, on all processors
	$(BIN)/python -m tests.simulation --seeds 0-499 $(ARGS)

test-sim: test-seeds  ## the same, then every planted bug (a quarter of an hour)
	$(BIN)/python -m tests.simulation --bugs --seeds 0-199

test-crash: $(READY)  ## the whole crash suite: 10,000 kills, zombies, full disks, outages (hours; goes on where it was)
	$(BIN)/python -m tests.crash $(ARGS)
	HOMING_TEST_SHARE=full $(PYTEST) tests/crash/test_outages.py
	HOMING_TEST_SHARE=full $(PYTEST) tests/crash/test_crash.py -k "caps or answers_late"
	HOMING_CRASH_KILLS=100 $(PYTEST) tests/integration/test_crash.py

test-attacks: $(READY)  ## 200,000 attacks on headers, and the others (6 minutes)
	HOMING_ATTACKS=200000 $(PYTEST) tests/attacks $(ARGS)

test-plants: $(READY)  ## every planted bug of every promise, one at a time (half an hour)
	$(BIN)/python -m tests.planted $(ARGS)

test-web: $(READY)  ## the web side with Segment's and Shopify's own packages, axe, a browser and pictures (needs npm and chromium)
	$(PYTEST) -m web tests/integration $(ARGS)

test-editor: $(READY) build/editor/node_modules  ## the schemas in the real yaml-language-server (needs npm)
	$(PYTEST) -m editor tests/editor $(ARGS)

build/editor/node_modules: tests/editor/package.json
	mkdir -p build/editor && cp tests/editor/package.json build/editor/
	cd build/editor && npm install --silent --no-audit --no-fund --ignore-scripts
	@touch $@

check: lint types  ## everything that can be said without running

lint: $(READY)  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(READY)  ## mypy, strict
	$(BIN)/mypy

fmt: $(READY)  ## mend what ruff can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(READY)  ## run the commands of the documentation, and see that it names what exists
	$(PYTEST) tests/docs $(ARGS)

bench: $(READY)  ## the figures of the README, measured here
	$(BIN)/python -m benchmarks $(ARGS)

pictures: $(READY)  ## draw the mails for the documentation, in every language, by day and by night
	$(BIN)/python docs/pictures/make.py $(ARGS)

mail-check: $(READY)  ## hold every starter mail against SpamAssassin, axe, caniemail and small screens
	$(BIN)/python -m tests.mails $(ARGS)

bench-mails: $(READY)  ## how fast mails are made, beside the plain way, Jinja alone and npm mjml (3 minutes)
	$(BIN)/python -m benchmarks.rendering $(ARGS)

bench-recommend: $(READY)  ## recommendations held against what two real shops' customers bought afterwards (10 minutes)
	$(BIN)/python -m benchmarks.recommend $(ARGS)

migration: $(READY)  ## NAME="add colour": write the migration from the last one to engine/store/tables.py
	@test -n "$(NAME)" || { echo 'say what it does: make migration NAME="add colour"'; exit 2; }
	rm -f build/migration.db* && mkdir -p build
	HOMING_DATABASE_URL=sqlite:///build/migration.db $(BIN)/alembic upgrade head
	HOMING_DATABASE_URL=sqlite:///build/migration.db $(BIN)/alembic revision --autogenerate -m "$(NAME)"
	$(BIN)/ruff check --quiet --fix alembic/versions
	$(BIN)/ruff format --quiet alembic/versions

lock: $(READY)  ## pin the newest versions that pyproject.toml allows
	test -x $(BIN)/uv || $(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --quiet --upgrade --extra dev --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --custom-compile-command "make lock" --output-file requirements-lock.txt
