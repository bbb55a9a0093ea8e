SHELL := bash
.SHELLFLAGS := -euo pipefail -c

GO ?= go
FUZZTIME ?= 10s
LINT_VERSION := v2.15.0
GOLANGCI ?= $(CURDIR)/.tmp/bin/golangci-lint-$(LINT_VERSION)

# The peers that we measure ourselves against live in a module of their own.
NESTED := $(patsubst %/go.mod,%,$(wildcard internal/bench/go.mod))

# One package at a time: several start fleets of processes, and what they promise they promise of a machine that has room for them.
# Tests that need a Valkey server start this one, and with REQUIRE they fail instead of skipping when there is none.
WITH_SERVER = VALKEY_SERVER="$$(.ci/install-valkey)" JAEGER_ALL_IN_ONE="$$(.ci/install-servers all-in-one)" BELLWETHER_REQUIRE_SERVERS=1

BENCH = $(GO) test -run '^$$' -bench . -benchmem

.PHONY: help
help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: check
check: test lint bench-smoke ## all that must pass before a merge

.PHONY: server
server: ## find the servers and the browser that the tests start, or install them
	@.ci/install-valkey
	@.ci/install-servers

.PHONY: test
test: server ## every test, with the race detector and a real Valkey server
	$(GO) test -race -run '^$$' ./... >/dev/null
	$(WITH_SERVER) $(GO) test -race -p 1 ./...

.PHONY: cover
cover: server ## the tests again, with the share of statements they reach
	@mkdir -p .tmp
	$(WITH_SERVER) $(GO) test -coverpkg=./... -coverprofile=.tmp/cover.out ./...
	$(GO) tool cover -func=.tmp/cover.out | tail -n 1

.PHONY: fuzz
fuzz: ## each fuzz target for FUZZTIME (10s)
	@$(GO) test -list '^Fuzz' ./... \
	| awk '/^Fuzz/ { name[n++] = $$1 } /^ok/ { for (i = 0; i < n; i++) print $$2, name[i]; n = 0 }' \
	| while read -r package name; do \
		echo "== $$name"; \
		$(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "$$package" </dev/null; \
	done

.PHONY: bench
bench: server ## every benchmark, the peers' too
	$(WITH_SERVER) $(BENCH) ./...
	$(foreach m,$(NESTED),cd $(m) && $(BENCH) ./...)

.PHONY: bench-smoke
bench-smoke: server ## every benchmark ten times round, to see that it runs
	$(WITH_SERVER) $(BENCH) -benchtime 10x ./...
	$(foreach m,$(NESTED),cd $(m) && $(BENCH) -benchtime 10x ./...)

.PHONY: demo
demo: ## watch a stampede, and then watch it not happen
	$(GO) run ./examples/stampede --protection compare

.PHONY: observe
observe: ## a herd to look at, with traces in Jaeger and metrics in Prometheus
	$(GO) run ./examples/observe

.PHONY: screenshots
screenshots: server ## the pictures of the examples, taken anew with a headless chromium
	examples/stampede/screenshot
	examples/observe/screenshots

.PHONY: lint lint-fmt lint-vet lint-golangci lint-arrows lint-tidy
lint: lint-fmt lint-vet lint-golangci lint-arrows lint-tidy ## formatting, vet, linters, import arrows, go.mod

lint-fmt:
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { gofmt -d .; echo "gofmt wants: $$unformatted"; exit 1; }

lint-vet:
	$(GO) vet ./...
	$(foreach m,$(NESTED),cd $(m) && $(GO) vet ./...)

# Two cores and a soft memory limit: it shares the machine with the editor.
lint-golangci: $(GOLANGCI)
	GOMEMLIMIT=3GiB $(GOLANGCI) run ./...
	$(foreach m,$(NESTED),cd $(m) && GOMEMLIMIT=3GiB $(GOLANGCI) run ./...)

lint-arrows:
	.ci/check-arrows

lint-tidy:
	$(GO) mod tidy -diff
	$(foreach m,$(NESTED),cd $(m) && $(GO) mod tidy -diff)

$(GOLANGCI):
	@mkdir -p $(@D)
	GOBIN=$(@D) $(GO) install -p 2 github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(LINT_VERSION)
	mv $(@D)/golangci-lint $@
