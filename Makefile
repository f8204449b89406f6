# What people expect to type. Each target is a line or two; what they do stands in scripts/ and in
# `cargo xtask`.

.DEFAULT_GOAL := help
.PHONY: help setup demo check smoke smoke-firecracker bench dist-check fmt clean

TARGET := $(or $(CARGO_TARGET_DIR),target)
PYRO := $(TARGET)/release/pyro
CACHE := $(or $(PYRO_CACHE_DIR),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/pyro)

help: ## show this
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## install what building and running need, from the distribution's packages
	@scripts/setup.sh

demo: setup release ## build pyro and show it: a command in a VM, a workspace that remembers
	@$(PYRO) demo

check: ## install what tests need, and run every check and test there is
	@scripts/setup.sh test
	@cargo xtask test

smoke: setup release ## the life of one workspace on QEMU, in a script anyone can read
	@scripts/smoke.sh $(PYRO) qemu

smoke-firecracker: release ## the same on Firecracker, in the lab's VM
	@scripts/setup.sh test
	@$(PYRO) env build debian:12
	@cargo xtask lab -- scripts/smoke.sh /target/release/pyro firecracker

bench: setup release ## measure pyro and the floor under it, on QEMU and, in the lab's VM, on Firecracker
	@scripts/setup.sh test
	@$(PYRO) env build debian:12
	@cargo build --quiet --release --locked --package pyro-bench
	@$(TARGET)/release/pyro-bench --pyro $(PYRO) --cache $(CACHE) --python python/bench/turns.py
	@python3 python/bench/own.py
	@cargo xtask lab -- /target/release/pyro-bench --pyro /target/release/pyro \
		--backend firecracker --cache /var/cache/pyro --runs 3 --rounds 20

dist-check: ## build the Python wheel and source distribution, and prove them in empty environments
	@scripts/dist-check.sh

fmt: ## format the sources
	@cargo fmt --all

clean: ## remove what was built; images and workspaces stay
	@cargo clean

.PHONY: release
release:
	@cargo build --release --locked --package pyro
