# The commands of this project. `make demo` and `make test` do all their own set-up on a fresh
# Debian 12 with Rust, as root.
SHELL := /bin/bash
TARGET := x86_64-unknown-linux-gnu
RELEASE := target/$(TARGET)/release
BIN := target/bin
PROGRAMS := weft weft-bridge weft-ipam weft-loopback
# Static programs start in two thirds of the time; proc macros need the explicit target.
STATIC := RUSTFLAGS="-C target-feature=+crt-static -C relocation-model=static"

.PHONY: build
build: ## static release binaries in target/bin
	$(STATIC) cargo build --locked --release --target $(TARGET) $(PROGRAMS:%=-p %)
	@mkdir -p $(BIN)
	@find $(BIN) -mindepth 1 $(PROGRAMS:%=! -name %) -delete
	@for program in $(PROGRAMS); do \
		cmp -s $(RELEASE)/$$program $(BIN)/$$program || \
		{ cp $(RELEASE)/$$program $(BIN)/.new && mv $(BIN)/.new $(BIN)/$$program; }; done
