# Rollcall. Thin: every target is a few plain commands. `make` lists them.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# Queries are checked against .sqlx, so that no build depends on the database that DATABASE_URL happens to name.
export SQLX_OFFLINE := true

# Property tests run the same histories every time; PROPTEST_RNG_SEED=$$RANDOM explores others.
export PROPTEST_RNG_SEED ?= 1

CARGO := cargo
# The server as `cargo test --workspace` has built it. A build of its package alone has other features of the same crates, and
# builds nearly all of them a second time.
BUILD_SERVER := $(CARGO) build --workspace --test it
# Where Debian, RPM distributions and Homebrew put the server programs; `rollcall db doctor` searches the same places.
POSTGRES_PLACES := /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /usr/bin /usr/local/pgsql/bin \
	/opt/homebrew/opt/postgresql*/bin /usr/local/opt/postgresql*/bin

# Where sdk/test/browser/browser.js looks for it.
CHROMIUM_PLACES := /usr/bin/chromium /usr/bin/chromium-browser /usr/bin/google-chrome

.PHONY: help
help: ## Show this list
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | while IFS=$$'\t' read -r name text; do \
		printf '  make %-12s %s\n' "$$name" "$$text"; done

.PHONY: dev
dev: need-cargo need-postgres ## Build and run everything on this computer
	$(CARGO) run -- dev $(ARGS)

.PHONY: test
test: need-cargo need-postgres need-node need-chromium ## Run every check and every test
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(CARGO) test --workspace
	$(CARGO) test --workspace --features rollcall/planted-bugs --test simulation -- --exact planted::hunt::the_quick_ones_are_found
	$(MAKE) test-sdk

.PHONY: test-sdk
test-sdk: need-cargo need-postgres need-node need-chromium ## Run the tests of the browser client, in Chromium too
	$(BUILD_SERVER)
	cd sdk && npm ci --no-audit --no-fund && npm test

.PHONY: docs
docs: need-cargo ## Write the generated documents anew
	$(BUILD_SERVER)
	./target/debug/rollcall config doc > target/CONFIGURATION.md && mv target/CONFIGURATION.md docs/CONFIGURATION.md
	./target/debug/rollcall config doc --format toml > target/example.toml && mv target/example.toml rollcall.example.toml

.PHONY: sqlx
sqlx: need-cargo need-postgres ## Write .sqlx anew after a change of SQL
	bash scripts/sqlx.sh

.PHONY: bench
bench: need-cargo need-postgres ## Measure a release build against its budgets (docs/BENCHMARKS.md); BENCH="ping-rate room" for some
	$(CARGO) build --release --workspace
	./target/release/rollcall-load run $(or $(BENCH),all) --json target/load.json --html target/load.html

.PHONY: peers
peers: need-cargo need-postgres ## Measure a release build beside bare echo servers, ws and Socket.IO (docs/PEERS.md)
	$(CARGO) build --release --workspace
	./target/release/rollcall-load peers $(ARGS)

.PHONY: micro
micro: need-cargo ## Count the instructions of single steps of the server (docs/PEERS.md)
	$(CARGO) build --release -p rollcall-load
	./target/release/rollcall-load micro $(ARGS)

.PHONY: reconcile
reconcile: need-cargo need-postgres ## Kill a server again and again and check its bill against the truth (docs/RECONCILIATION.md)
	$(CARGO) build --workspace
	./target/debug/rollcall-load reconcile $(RECONCILE)

.PHONY: planted
planted: need-cargo ## Put bugs into the server on purpose; the simulation must find each. BUG=a,b for some, SEEDS=n
	$(CARGO) test --profile simulation --package rollcall --features planted-bugs --test simulation -- --ignored --exact --nocapture planted::hunt::every_planted_bug_is_found

.PHONY: simulate
simulate: need-cargo ## Simulate SEEDS=10000 histories with faults, or replay one with SEED=n (docs/SIMULATION.md)
	$(CARGO) test --profile simulation --package rollcall --test simulation -- --ignored --exact --nocapture seeds::simulate

.PHONY: faults
faults: need-cargo need-postgres ## Make every fault of docs/FAILURE_MODES.md at random, 50 kills among them, and check the bill; needs root
	$(CARGO) build --workspace
	./target/debug/rollcall-load reconcile --all-faults --kills 50 --others 5 --minutes 12 $(FAULTS)

FUZZERS := configuration frames handshake journal requests tokens

.PHONY: fuzz
fuzz: need-cargo ## Fuzz whatever strangers, operators or a disk hand to the server, FUZZ_SECONDS each (docs/SECURITY.md)
	@$(CARGO) fuzz --version > /dev/null 2>&1 || { echo "cargo-fuzz is missing: cargo install --locked cargo-fuzz" >&2; exit 69; }
	@# The sanitizer is behind a flag that stable Rust knows and does not offer; hence the variable.
	for fuzzer in $(or $(FUZZ),$(FUZZERS)); do mkdir -p target/fuzz/corpus/$$fuzzer; \
		TMPDIR=$$(test -w /dev/shm && echo /dev/shm || echo $${TMPDIR:-/tmp}) RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR=$(CURDIR)/target/fuzz \
		$(CARGO) fuzz run $$fuzzer target/fuzz/corpus/$$fuzzer fuzz/seeds/$$fuzzer -- \
		-max_total_time=$(or $(FUZZ_SECONDS),300) -max_len=2048 -timeout=20; done

.PHONY: schemathesis
schemathesis: need-cargo need-postgres ## Try every call of the OpenAPI document with good and bad inputs; SECONDS_MAX bounds it
	$(BUILD_SERVER)
	bash scripts/schemathesis.sh $(ARGS)

.PHONY: deny
deny: need-cargo ## Check licences, sources and advisories of the dependencies
	@$(CARGO) deny --version > /dev/null 2>&1 || { echo "cargo-deny is missing: cargo install --locked cargo-deny" >&2; exit 69; }
	$(CARGO) deny check

.PHONY: need-cargo need-postgres need-node need-chromium
need-cargo:
	@command -v $(CARGO) > /dev/null || { echo "Rust is missing: https://rustup.rs" >&2; exit 69; }

need-postgres:
	@for place in $${ROLLCALL_PG_BIN:-} $$(pg_config --bindir 2> /dev/null || true) $${PATH//:/ } $(POSTGRES_PLACES); do \
		if [ -x "$$place/initdb" ] && [ -x "$$place/postgres" ]; then exit 0; fi; done; \
	echo "PostgreSQL is missing: apt-get install postgresql, dnf install postgresql-server, or brew install postgresql@17" >&2; exit 69

need-node:
	@[ "$$(node -p 'process.versions.node.split(".")[0]' 2> /dev/null || echo 0)" -ge 20 ] && command -v npm > /dev/null || \
		{ echo "Node 20 or newer with npm is missing: https://nodejs.org, or brew install node" >&2; exit 69; }

need-chromium:
	@for place in "$${CHROMIUM:-}" $(CHROMIUM_PLACES); do if [ -x "$$place" ]; then exit 0; fi; done; \
	echo "Chromium is missing: apt-get install chromium, or set CHROMIUM to the path of Chromium or Chrome" >&2; exit 69
