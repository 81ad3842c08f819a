# Works with make 3.81 (macOS). Each target sets up what it needs; a set-up checkout costs it a moment.

PYTHON ?= python3
JOBS ?= 2
VENV_BIN := .venv/bin
SETUP := $(PYTHON) scripts/setup.py

define HELP
make demo               heuristic vs random, 20 battles, through the API, the queue and the workers;
                        ARGS=--stay leaves the console open
make setup              everything: packages, tools, the simulator (demo and test do this by themselves)
make test               all tests; make test ARGS="-k pairs" passes arguments on to pytest
make unit-tests         the fast ones, without queue, stack or benchmark
make check              format, lint, types and import contracts; never edits
make fmt                format, and fix what can be fixed safely
make bench              CPU a turn: the bare simulator, ours, poke-env on the official server
make bench-verdicts     how often intervals, sequential tests and ratings are right, by simulation
make loop               self-play, training, server, battles, one report: about 35 minutes on two cores;
                        ARGS="--hours 2" takes longer; --teacher has a player that searches advise and correct
make value              the value model of gen9randombattle, fitted anew on self-play of baselines
make bench-decisions    how full the arena keeps a model server, and its CPU a decision
make bench-training     tokens a second of our recipe against plain SFTTrainer
make gpu-wheels         what gpu-check needs besides PyTorch, transformers, peft and accelerate, into var/gpu-wheels
make gpu-check          training, memory and decisions a second on a GPU, without a network, in at most six minutes
make bench-inference    what a decision costs at the built-in server, and decisions a second
make up                 the whole system in containers; returns when all are well
make down               stop it; what it stored stays
make digests            the images that ours are built on, by digest from now on (a registry must answer)
make e2e                the tests of the containers (minutes; they need a container engine)
make bench-dataset      how fast battles become samples, exactly and rebuilt
make bench-scale        what a report, a run and a poll take, up to 100,000 battles
make lock               write the lock files again (UPGRADE=1 renews every pin)
make clean              remove .venv, node_modules and caches; runs, reports and var stay

PYTHON=python3.12 chooses the interpreter (3.11 or later), JOBS=4 the processes of the tests.
endef

.PHONY: value help setup setup-run demo loop bench-training test unit-tests check fmt bench bench-decisions bench-inference gpu-wheels gpu-check bench-dataset bench-faults bench-scale bench-verdicts secrets digests wheels up down e2e lock clean
.DEFAULT_GOAL := help

help:
	$(info $(HELP))
	@:

setup:
	@$(SETUP) dev

setup-run:
	@$(SETUP) run

demo: setup-run
	@$(VENV_BIN)/alphastral demo $(ARGS)

loop: setup
	@$(VENV_BIN)/alphastral loop $(ARGS)

test: setup
	$(VENV_BIN)/pytest -n $(JOBS) $(ARGS)

unit-tests: setup
	$(VENV_BIN)/pytest -n $(JOBS) -m "not slow" --ignore tests/flows --ignore tests/e2e $(ARGS)

check: setup
	$(VENV_BIN)/ruff format --check
	$(VENV_BIN)/ruff check
	$(VENV_BIN)/mypy
	$(VENV_BIN)/lint-imports

fmt: setup
	$(VENV_BIN)/ruff format
	$(VENV_BIN)/ruff check --fix

bench: setup
	$(VENV_BIN)/python benchmarks/battles.py $(ARGS)

bench-verdicts: setup
	$(VENV_BIN)/python benchmarks/verdicts.py $(ARGS)

VALUE_BATTLES := var/value
value: setup
	for played in "typed heuristic 800 31" "heuristic heuristic 800 32" "typed heuristic 300 11" "heuristic heuristic 300 12" "typed typed 200 14"; do \
	  set -- $$played; \
	  $(VENV_BIN)/alphastral selfplay --p1 $$1 --p2 $$2 --n $$3 --seed $$4 --out $(VALUE_BATTLES)/$$1-$$2-$$4 || exit; \
	done
	$(VENV_BIN)/python benchmarks/pool.py heuristic/6 typed/6 --battles 200 --seed 602 --out $(VALUE_BATTLES)/slips.json.gz
	$(VENV_BIN)/alphastral value train $(VALUE_BATTLES)/* --out shared/values/gen9randombattle.json

bench-training: setup
	$(VENV_BIN)/python benchmarks/training.py $(ARGS)

bench-decisions: setup
	$(VENV_BIN)/python benchmarks/decisions.py $(ARGS)

GPU_WHEELS := var/gpu-wheels
gpu-wheels: setup
	$(VENV_BIN)/python -m benchmarks.gpu --carry $(GPU_WHEELS) $(ARGS)

# With the interpreter whose PyTorch knows the card. Nothing is fetched, and nothing there is changed.
gpu-check:
	$(PYTHON) -m pip install --quiet --no-index --no-deps --target var/gpu --upgrade $(GPU_WHEELS)/*.whl
	PYTHONPATH=var/gpu:. $(PYTHON) -m benchmarks.gpu $(ARGS)

bench-inference: setup
	$(VENV_BIN)/python benchmarks/inference.py $(ARGS)

# What pip trusts here, builds trust too.
ifneq ($(PIP_CERT),)
export CONTAINERS_BUILD_CA ?= $(PIP_CERT)
endif
TORCH := torch==2.13.0

# Only Redis and its users read it: the folder is closed to others, the file is not, as it belongs to nobody in a container.
# The others are for keys, each in its own file: an empty one counts as none. A key in the environment fills its file once.
KEYS := alphastral_api_token mistral_api_key hf_token openai_api_key aws_access_key_id aws_secret_access_key aws_session_token
secrets: var/secrets/redis_password
	@for name in $(KEYS); do [ -e var/secrets/$$name ] || \
	    { printenv "$$(echo $$name | tr a-z A-Z)" > var/secrets/$$name || :; chmod 644 var/secrets/$$name; }; done

var/secrets/redis_password:
	@mkdir -p var && mkdir -p -m 700 $(@D)
	@head -c 64 /dev/urandom | base64 | tr -dc 'A-Za-z0-9' | head -c 40 > $@
	@chmod 644 $@

# The build of torch that pip would install here, for the images that run models. Without it, they ask the index.
# A tag may be moved to another image; a digest stands for one. Later builds find them in .env.
digests:
	@touch .env
	@for image in PYTHON=python:3.11-slim-bookworm REDIS=redis:7-bookworm; do \
	    digest=$$(docker buildx imagetools inspect "$${image#*=}" --format '{{.Manifest.Digest}}') || exit 1; \
	    grep -v "^CONTAINERS_$${image%%=*}_IMAGE=" .env > .env.new; mv .env.new .env; \
	    echo "CONTAINERS_$${image%%=*}_IMAGE=$${image#*=}@$$digest" | tee -a .env; done

wheels: deploy/containers/wheels/.torch

deploy/containers/wheels/.torch:
	-$(PYTHON) -m pip download --quiet --no-deps --dest $(@D) --only-binary :all: --python-version 3.11 \
	    --platform manylinux_2_28_$(subst arm64,aarch64,$(shell uname -m)) $(TORCH) && touch $@

up: secrets wheels
	docker compose up --build --detach --wait

down:
	docker compose down

e2e: setup wheels
	$(VENV_BIN)/pytest -m e2e tests/e2e $(ARGS)

bench-faults: setup
	$(VENV_BIN)/python benchmarks/faults.py $(ARGS)

bench-dataset: setup
	$(VENV_BIN)/python benchmarks/dataset.py $(ARGS)

bench-scale: setup
	$(VENV_BIN)/python benchmarks/scale.py $(ARGS)

lock: setup
	scripts/lock

clean:
	rm -rf .venv shared/simulator/node_modules build *.egg-info .import_linter_cache .mypy_cache .pytest_cache .ruff_cache .hypothesis
