# `make demo` and `make test` are all that a newcomer needs; both set everything up by themselves.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
export PATH := $(CURDIR)/$(BIN):/usr/sbin:/sbin:$(PATH)
# A program that a library crashes says where.
export PYTHONFAULTHANDLER := 1

help:  ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-20s %s\n", $$1, $$2}'

demo: setup  ## a three-node Kubernetes on this machine, with Quilt Mesh in it
	python demo/demo.py up

demo-down: setup  ## remove all of what `make demo` made
	python demo/demo.py down

test: setup lint binaries  ## every check and every test: unit, kernel namespaces, another kernel, real cluster
	$(MAKE) --jobs=3 test-shared-cluster test-own-clusters test-machine || { cat .pytest_cache/*/v/cache/lastfailed 2>/dev/null; echo; exit 1; }

# The parts of `make test`, side by side: tests of clusters wait more than they compute. What failed is named
# once more at the end, where the other parts would hide it.
LABELED = 2>&1 | sed --unbuffered 's/^/$@: /'
test-shared-cluster: setup
	pytest tests/cluster -m shared -o cache_dir=.pytest_cache/shared $(LABELED)
test-own-clusters: setup
	pytest tests/cluster -m 'not shared' -o cache_dir=.pytest_cache/own $(LABELED)
test-machine: setup types checks go-test docs
	quilt-devcluster kernels --short $(LABELED)
	pytest tests/unit tests/netns -o cache_dir=.pytest_cache/machine $(LABELED)

kernels: setup  ## the kernel tests on Debian's 5.10, 6.1, 6.1 without IPv6 and 6.12, in virtual machines; writes docs/kernels.md
	quilt-devcluster kernels --page docs/kernels.md

setup: $(VENV)/.ready  ## system packages and the Python environment
$(VENV)/.ready: requirements-dev.lock pyproject.toml scripts/setup.sh
	scripts/setup.sh $(VENV)
	touch $@

binaries: setup  ## build Kubernetes, containerd, helm, … and our images (cached outside the tree)
	quilt-devcluster build --images

image: setup  ## build the container images (cached outside the tree)
	quilt-devcluster image

generate: setup  ## CRDs and README of the chart, gRPC stubs, the reference and the list of faults, from their sources
	python proto/generate.py
	python -m quilt_crds.generate
	python scripts/faults.py
	python scripts/values.py
	python scripts/reference.py
	python scripts/screens.py

docs: setup  ## the documents as a site, in build/site, with pictures taken by a browser; a link that leads nowhere fails
	NO_MKDOCS_2_WARNING=1 python -m mkdocs build
	python scripts/screenshot.py build/site
	PYTHONPATH=. python scripts/ui_screens.py build/site

checks: setup  ## generated files are current, import directions hold, every test can be imported
	python proto/generate.py --check
	python -m quilt_crds.generate --check
	python scripts/faults.py --check
	python scripts/values.py --check
	python scripts/reference.py --check
	python scripts/screens.py --check
	lint-imports
	pytest --collect-only -qq tests | tail -n 20

lint: setup
	ruff check .
	ruff format --check .
	python scripts/words.py --check

types: setup
	mypy

format: setup  ## rewrite the sources in the project's format
	ruff check --fix .
	ruff format .

go-test: setup
	cd cni && test -z "$$(gofmt -l .)" && go vet ./... && go test ./...

unit netns cluster: setup  ## one kind of test alone
	pytest tests/$@

bench: setup binaries  ## measure, print the table, keep JSON and plots
	pip install -q -r requirements-bench.lock
	python -m bench

bench-control-plane: setup binaries  ## thousands of nodes against one API server: load, chaos, deaths
	pip install -q -r requirements-bench.lock
	python -m bench.control_plane load
	python -m bench.control_plane load --nodes 10000 --brief
	python -m bench.control_plane chaos
	python -m bench.control_plane life
	python -m bench --page

release: setup  ## build and push a release: make release VERSION=0.1.0 REGISTRY=registry.example.com/team
	python -m release $(VERSION) $(REGISTRY) $(if $(PLAIN_HTTP),--plain-http) $(if $(ANY_PACKAGES),--any-packages)

debian-lock: setup  ## list Debian's packages of today as those that releases are made of (release/debian.lock)
	python -m release.debian

release-check: setup  ## some 20 minutes: a release of this commit for all architectures, twice, the second time with empty caches
	quilt-devcluster build
	pytest tests/release

netpol: setup binaries  ## tests of network policies that others wrote, on three nodes
	pytest tests/netpol

soak: setup binaries  ## ten minutes of random faults on a three-node cluster
	python -m bench.soak mesh

full-node: setup binaries  ## 253 real pods on one node, and one more
	python -m bench.soak full-node

.PHONY: help demo demo-down test test-shared-cluster test-own-clusters test-machine kernels setup binaries image generate docs checks lint types format go-test unit netns cluster bench bench-control-plane netpol release debian-lock release-check soak full-node
