# One name for each thing that one does with this repository. What needs more than a line stands in
# a script of ops/. Everything that builds the trainer reads ops/env.sh, which knows where libtorch is.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long bench gpu-check fmt lint build
.NOTPARALLEL:

ENV := source ops/env.sh &&
SCRIPTS = git ls-files -z '*.sh' .ci/run

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## Install what is missing: Debian packages, cargo-nextest, PyTorch in a virtual environment
	@ops/setup.sh

demo: setup ## Train and register a model on a cluster of this machine's own, in some minutes
	@$(ENV) ops/demo.sh

fmt: ## Format the Rust code
	cargo fmt --all

lint: setup ## Formatting, clippy, the repository's own rules, shell scripts
	cargo fmt --all --check
	$(ENV) cargo clippy --workspace --all-targets --locked -- -D warnings
	cargo xtask tidy
	$(SCRIPTS) | xargs -0 shellcheck -x

build: setup ## Build every program and test, for development
	$(ENV) cargo build --workspace --all-targets --locked

test: lint build ## The gate: lint, build, and every test that takes seconds
	$(ENV) cargo nextest run --workspace --locked

test-long: build ## The gate's tests, those that take minutes, the store on S3, thousands of simulated seeds
	$(ENV) ops/with-s3.sh cargo nextest run --workspace --locked --profile long --run-ignored all \
		-E 'not test(=tests::threads::a_process_that_panics)'
	cargo build --release --locked --package trainyard-sim-tests --features canaries
	"$${CARGO_TARGET_DIR:-target}/release/trainyard-sim-tests" --seed 0 --seeds 3000 --coverage
	"$${CARGO_TARGET_DIR:-target}/release/trainyard-sim-tests" --canaries

bench: setup ## Measure beside etcd, Slurm, HyperQueue and PyTorch; writes JSON and Markdown
	@ops/setup-bench.sh
	$(ENV) cargo build --release --locked --package yard --package trainyard-train --package trainyard-bench
	$(ENV) "$${CARGO_TARGET_DIR:-target}/release/trainyard-bench"

gpu-check: ## Try the trainer's CUDA and NCCL paths on this machine's GPU
	$(ENV) ops/gpu-check.sh
