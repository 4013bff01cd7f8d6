# `make help` lists every target. Everything that a target needs is built or installed by it.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

GO ?= go
# Versions of tools that are installed by `go install`. The others are pinned in tools/go.mod.
GOLANGCI_LINT_VERSION := v2.15.0
VERSITYGW_VERSION := v1.8.0

TOOLS := $(CURDIR)/.tools/bin
STAMPS := $(CURDIR)/.tools/stamps
export PATH := $(TOOLS):$(PATH)

# A module that is not on the proxy is an error here: falling through to `direct` hides a wrong version behind a host
# that does not answer.
GOPROXY := $(shell $(GO) env GOPROXY | sed -E 's/[,|]direct.*$$//; s/^direct$$//')
ifeq ($(GOPROXY),)
GOPROXY := https://proxy.golang.org
endif
export GOPROXY
export GOTOOLCHAIN ?= auto

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
BUILD_FLAGS := -ldflags '-s -w -X github.com/lume-data/lume/cmd/internal/build.Version=$(VERSION)'
BINARIES := lume lume-control lume-ingest lume-transform lume-egress

# TESTFLAGS adds to every `go test`, PKG narrows it: make test PKG=./internal/fault TESTFLAGS=-v
PKG ?= ./...
TESTFLAGS ?=

.PHONY: help
help: ## List every target
	@awk 'BEGIN { FS = ":.*## " } /^[a-z-]+:.*## / { printf "  %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

##### Build and run

.PHONY: build
build: $(addprefix build-,$(BINARIES)) ## Build lume and the four service binaries into bin/

.PHONY: $(addprefix build-,$(BINARIES))
$(addprefix build-,$(BINARIES)): build-%:
	$(GO) build $(BUILD_FLAGS) -o bin/$* ./cmd/$*

.PHONY: demo
demo: build-lume ## Run the main job on a messy CSV of 120,000 rows, from build to receipt (KEEP=1 leaves it running)
	$(GO) build -o bin/messy ./examples/messy
	./examples/demo.sh

.PHONY: bench
bench: build-lume test-deps ## Measure Lume against its limits and print ratios (ROWS="1000000 10000000", REPEAT=3, BENCHFLAGS='-only systems')
	$(GO) run ./test/bench -lume bin/lume -rows "$(or $(ROWS),1000000 10000000)" -repeat "$(or $(REPEAT),3)" $(BENCHFLAGS)

##### Check

.PHONY: verify
verify: check-generated lint build test ## What CI runs: generated code, lint, build, all tests

.PHONY: test
test: test-deps ## Run all tests with the race detector; installs the servers that they need
	$(GO) test -race -count=1 -timeout 45m $(TESTFLAGS) $(PKG)

# Packages whose tests wait for slow servers.
SLOW := /test/e2e|/connector/(azureblob|databricks|mysql|postgres|s3|snowflake|sqlserver)

.PHONY: test-fast
test-fast: test-deps ## Run all tests but the end-to-end ones, those of SLOW connectors and those of a million rows, without the race detector
	$(GO) test -timeout 5m -skip '^TestAMillionRows' $(TESTFLAGS) $$($(GO) list $(PKG) | grep -vE '($(SLOW))$$')

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (default 30s)
	./tools/fuzz.sh "$(or $(FUZZTIME),30s)"

.PHONY: lint
lint: $(STAMPS)/golangci-lint-$(GOLANGCI_LINT_VERSION) $(STAMPS)/go-tools ## Lint Go and protos
	golangci-lint run
	buf lint
	buf format --exit-code --diff proto

.PHONY: fmt
fmt: $(STAMPS)/golangci-lint-$(GOLANGCI_LINT_VERSION) $(STAMPS)/go-tools ## Format Go and protos
	golangci-lint fmt
	buf format -w proto

##### Generate

.PHONY: generate
generate: $(STAMPS)/go-tools ## Generate Go and OpenAPI from proto/, and the CLI's pages from its commands
	rm -rf gen/lume
	buf generate
	$(GO) run ./cmd/lume docs docs

.PHONY: check-generated
check-generated: $(STAMPS)/go-tools ## Fail if gen/ is not what proto/ generates (gen/openapi/embed.go is written by hand)
	@tmp=$$(mktemp -d); trap 'rm -rf "$$tmp"' EXIT; \
	buf generate -o "$$tmp"; \
	diff -r --exclude=embed.go gen "$$tmp/gen" || { echo 'gen/ is out of date: run `make generate` and commit the result' >&2; exit 1; }

.PHONY: breaking
breaking: $(STAMPS)/go-tools ## Fail if proto/ breaks clients of AGAINST (default origin/main)
	buf breaking proto --against '.git#branch=$(or $(AGAINST),origin/main),subdir=proto'

##### Tools

.PHONY: tools
tools: $(STAMPS)/go-tools $(STAMPS)/golangci-lint-$(GOLANGCI_LINT_VERSION) $(STAMPS)/versitygw-$(VERSITYGW_VERSION) ## Build every pinned tool into .tools/bin

.PHONY: test-deps
test-deps: $(STAMPS)/versitygw-$(VERSITYGW_VERSION) ## Install the servers that tests start (Debian packages, npm, PyPI, Maven; tools/test-deps.sh)
	./tools/test-deps.sh

# buf and the protoc plugins.
$(STAMPS)/go-tools: tools/go.mod tools/go.sum
	cd tools && GOBIN=$(TOOLS) $(GO) install tool
	@mkdir -p $(@D) && touch $@

$(STAMPS)/golangci-lint-%:
	GOBIN=$(TOOLS) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$*
	@mkdir -p $(@D) && touch $@

$(STAMPS)/versitygw-%:
	GOBIN=$(TOOLS) $(GO) install github.com/versity/versitygw/cmd/versitygw@$*
	@mkdir -p $(@D) && touch $@

.PHONY: clean
clean: ## Remove what was built; tools stay
	rm -rf bin dist .demo
