# The build lives outside the clone, so that a fresh checkout does not compile everything again. Root's goes where the
# account that PostgreSQL runs under can execute what the tests build: root's home is closed to it.
ROOT_CACHE := $(if $(filter 0,$(shell id -u)),/var/cache)
export CARGO_TARGET_DIR ?= $(or $(ROOT_CACHE),$(XDG_CACHE_HOME),$(HOME)/.cache)/jogi/target
CARGO ?= cargo
ARGS ?=

.PHONY: up build sim test lint unit e2e proof clean

## A herd of three on this machine. Options of `jogi up` go into ARGS, e.g. make up ARGS='--members 5'.
up:
	@scripts/prepare.sh up $(ARGS)
	@echo "building (some minutes the first time) …"
	@$(CARGO) build --release -p jogi
	@exec $(CARGO_TARGET_DIR)/release/jogi up $(ARGS)

build:
	$(CARGO) build --release -p jogi

## Simulated herds with random faults. Options of `jogi sim` go into ARGS, e.g. make sim ARGS='--seeds 10000 --from 5000'.
sim:
	@echo "building …"
	@$(CARGO) build --quiet --release -p jogi
	@exec $(CARGO_TARGET_DIR)/release/jogi sim $(ARGS)

## Everything that a change must pass.
test:
	@scripts/prepare.sh test
	@scripts/test.sh

lint:
	@scripts/test.sh lint

unit:
	@scripts/test.sh unit

e2e:
	@scripts/prepare.sh test
	@scripts/test.sh e2e

## The long proofs: hours, run for a release or a claim, never in CI.
proof:
	@scripts/prepare.sh test
	@scripts/proof.sh
