# `make` lists the targets; each line of the list is the comment behind `##`.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run test bench dist fmt clean
.DELETE_ON_ERROR:

# Flags for `cowrite serve`, as in: make run ARGS="--listen 127.0.0.1:9000"
ARGS ?=

DEMO_SOURCES = $(shell find web-demo \( -name node_modules -o -name dist -o -name build \) -prune -o -type f -print) $(wildcard docs/*.md)

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 16

run: web-demo/dist/index.html ## Build web demo and server, and start it on http://127.0.0.1:8080 with ./data
	@scripts/need cargo cc
	cargo build --release --locked
	@exec target/release/cowrite serve $(ARGS)

test: ## Install what the tests need, and run every test of the project
	@scripts/test

bench: ## Measure Cowrite beside other servers, and write docs/performance.md (takes an hour)
	@scripts/bench $(ARGS)

dist: web-demo/dist/index.html ## Make an archive with a static, stripped binary in target/dist, and its checksums
	@scripts/need cargo cc
	@scripts/dist

fmt: ## Format the Rust code
	cargo fmt

clean: ## Remove everything that was built; ./data stays
	rm -rf target web-demo/dist web-demo/node_modules tests/*/node_modules bench/peers/node_modules

# Vite empties the folder first and writes the page last, so the page is the mark of a whole build.
web-demo/dist/index.html: $(DEMO_SOURCES)
	@scripts/need node npm
	@scripts/npm-install web-demo
	npm --prefix web-demo run build
	@touch $@
