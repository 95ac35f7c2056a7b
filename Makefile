# Each target installs what it needs first, into .venv, from the locks and with every hash checked.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PACKAGES := lookalike embedder index security api

.PHONY: demo serve test check format bench docs fuzz release airgap-bundle advisories lock clean help

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ —/'

$(BIN)/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/serving: requirements.lock pyproject.toml | $(BIN)/python
	@echo "installing what serving needs (about half a minute)"
	$(PIP) install --no-deps --require-hashes --no-compile -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/development: requirements-dev.lock $(VENV)/serving
	@echo "installing what training, plots, tests and checks need (some minutes: torch is large)"
	$(PIP) install --no-deps --require-hashes -r requirements-dev.lock
	@touch $@

# Public-domain portraits that packages bring, for a demo and for tests where no other pictures are at hand.
.cache/photos/complete: requirements-photos.lock | $(VENV)/serving
	@mkdir -p .cache/photos
	$(PIP) download --no-deps --no-build-isolation --require-hashes --no-binary face_recognition \
		--dest .cache/photos -r requirements-photos.lock
	@touch $@

demo: $(VENV)/serving .cache/photos/complete  ## the main job, end to end, on sample people
	$(BIN)/lookalike demo

serve: $(VENV)/serving  ## the service on https://127.0.0.1:8443
	$(BIN)/lookalike serve

test: $(VENV)/development .cache/photos/complete  ## all tests that need no server of others
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses=4 --dist=worksteal -m "not train" --cov --cov-report=
	# Training gets a process of its own, as in use.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m train --cov --cov-append --cov-report=term:skip-covered

check: $(VENV)/development  ## format, lint, types, import arrows
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/development  ## put the code into our format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/development .cache/photos/complete  ## benchmarks; figures go to bench-output/
	@for b in embed int8 search lfw promise rekognition_scale intervals choose_template start serve reindex bulk carry explain prune curate train audit watching; do \
		echo "== benchmarks/$$b.py"; $(BIN)/python benchmarks/$$b.py || exit 1; done

docs: $(VENV)/development  ## the documents as a site, in site/; a dead link ends it
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet
	@echo "open site/index.html, or: $(BIN)/python -m http.server --directory site --bind 127.0.0.1 8000"

TARGET ?=
SECONDS ?= 60
fuzz: $(VENV)/development  ## fuzz every reader of foreign bytes, or TARGET, for SECONDS each; goes on from fuzz-corpus/
	@for t in $(or $(TARGET),$$($(BIN)/python -m tests.fuzz.fuzz)); do \
		echo "== $$t"; $(BIN)/python -m tests.fuzz.fuzz $$t --seconds $(SECONDS) || exit 1; done

airgap-bundle: $(VENV)/serving  ## all that an installation without a network needs, in airgap/
	PYTHON=$(BIN)/python deploy/make-bundle airgap $(KEY)

release: $(VENV)/serving  ## wheel, source, bill of materials and licences, in dist/; KEY=release.key signs them
	PYTHON=$(BIN)/python deploy/make-release dist $(KEY)

advisories: $(VENV)/development  ## known weaknesses in what is pinned: needs a network, or DATABASE=all.zip of OSV
	$(BIN)/python -m deploy.supply.advisories $(if $(DATABASE),--database $(DATABASE))

lock:  ## resolve the locks anew (needs uv)
	uv pip compile --generate-hashes --python-version 3.11 --no-header --upgrade -q \
		pyproject.toml --group dev --extra train --extra report --extra pkcs11 --extra cameras --extra traces -o requirements-dev.lock
	uv pip compile --generate-hashes --python-version 3.11 --no-header -q \
		pyproject.toml requirements-build.in -c requirements-dev.lock -o requirements.lock

clean:  ## forget the environment and caches, not the data
	rm -rf $(VENV) .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis build site *.egg-info
