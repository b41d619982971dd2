# The commands of this project. `make demo` and `make test` do all their own set-up on a fresh
# Debian 12 with Rust, as root.
SHELL := /bin/bash
.DEFAULT_GOAL := help

OUT := target/bin
# Static programs start sooner; proc macros need the explicit target.
# CPUID traps in virtual machines (tens of microseconds each), so sha2 is told not to ask.
STATIC := RUSTFLAGS='-C target-feature=+crt-static -C relocation-model=static \
	--cfg sha2_backend="soft"' CC_x86_64_unknown_linux_musl=musl-gcc CC_aarch64_unknown_linux_musl=musl-gcc
# Tests mount namespaces in a mount namespace of their own: a killed run leaves none behind.
PRIVATELY := unshare --mount --propagation private

.PHONY: help
help: ## list these commands
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

.PHONY: deps
deps: ## install what building and testing need (Debian packages, Rust's musl target)
	@scripts/deps.sh

.PHONY: build
build: ## the static release program under all its names, the daemon, and nothing else, in target/bin
	@mkdir -p $(OUT)
	@target=$$(scripts/target.sh) && \
	$(STATIC) cargo build --locked --release --target $$target -p weft -p weftd && \
	for name in weft weftd; do built=target/$$target/release/$$name; \
	cmp -s $$built $(OUT)/$$name || { cp $$built $(OUT)/.new && mv $(OUT)/.new $(OUT)/$$name; } || exit; done && \
	$(OUT)/weft plugins link $(OUT) && \
	find $(OUT) -mindepth 1 ! -samefile $(OUT)/weft ! -name weftd -delete

.PHONY: demo
demo: deps build ## two containers on a bridge, from set-up to clean-up
	@scripts/demo.sh

.PHONY: demo-overlay
demo-overlay: deps build ## one network over three hosts, taken apart and put back
	@scripts/demo-overlay.sh

.PHONY: demo-warp
demo-warp: deps build ## containers of Docker whose traffic goes through another one
	@scripts/demo-warp.sh

.PHONY: test
test: deps build ## all tests: unit, fuzz, integration, crash, runtimes, their core on another kernel
	@scripts/test.sh

.PHONY: test-vm
test-vm: deps build ## the integration tests under Debian's kernel, in a virtual machine, more than the core
	@scripts/test-vm.sh

.PHONY: check
check: ## format, lints, documentation, layers, licences
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet
	cargo check --locked --quiet --manifest-path fuzz/Cargo.toml
	scripts/proto.sh
	cargo test --locked -p weft-tests --test suite -- layers:: dependencies::

.PHONY: conformance
conformance: build ## the conformance suite on Weft, or on BIN=/usr/lib/cni
	@$(PRIVATELY) cargo run --locked --quiet -p weft-tests --bin weft-conform -- $(or $(BIN),$(OUT))

.PHONY: bench
bench: release ## Weft beside the reference plugins, ratios of one run
	@$(PRIVATELY) cargo run --locked --quiet --release -p weft-tests --bin weft-bench -- $(BENCH)

.PHONY: bench-vm
bench-vm: deps build ## the rows of bench that need Debian's kernel, in a virtual machine
	@cargo build --locked --quiet --release -p weft-tests --bin weft-bench
	@scripts/vm.sh "$(PRIVATELY) target/release/weft-bench --parents --short"

.PHONY: soak
soak: build ## the storm of concurrent calls, ten times as long
	WEFT_STORM=100000 $(PRIVATELY) cargo test --locked -p weft-tests --test suite -- --nocapture storm

.PHONY: soak-closed
soak-closed: build ## a closed container under a flood during 5,000 reloads, applies and kills
	WEFT_FLOOD_ROUNDS=5000 $(PRIVATELY) cargo test --locked -p weft-tests --test suite -- --nocapture nothing_passes_while

.PHONY: sim
sim: ## overlays of up to 128 hosts with a clock of their own, faults and all; RUNS=10000 for more
	WEFT_SIM_RUNS=$(or $(RUNS),1000) cargo test --locked --profile fast -p weft-overlay simulation -- --nocapture

.PHONY: proto
proto: ## write the code of the protocols in proto/
	@CARGO_TARGET_DIR=target/proto cargo run --locked --quiet --manifest-path proto/generate/Cargo.toml -- plugins/dns-sidecar/src/wire

.PHONY: fuzz
fuzz: ## a short run of each fuzz target; SECONDS_EACH=600 for a longer one
	@scripts/fuzz.sh $(or $(SECONDS_EACH),10)

.PHONY: release
release: deps ## the program as it is published: as build, with the functions that calls run next to each other
	@scripts/deps.sh valgrind
	@$(STATIC) scripts/order.sh target/order.ld
	@WEFT_LINK_ORDER=$(CURDIR)/target/order.ld $(MAKE) --no-print-directory build
	@readelf -SW $(OUT)/weft | grep -q " .text.order "

.PHONY: docs
docs: build ## write the generated pages of docs/
	@for page in configuration errors commands; do \
		$(OUT)/weft config reference $$page > docs/$$page.md; done
	@WEFT_WRITE_DOCS=1 $(PRIVATELY) cargo test --locked --quiet -p weft-tests --test suite -- ruleset_page::

.PHONY: clean
clean: ## remove everything that was built
	cargo clean
