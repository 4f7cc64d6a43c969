# SPDX-License-Identifier: GPL-2.0-or-later
# The front door; Meson does the work. `make help` lists what there is.
#
#   make BUILD=elsewhere WERROR=true   another build directory, warnings as errors
#   make install PREFIX=/usr DESTDIR=/tmp/stage

BUILD ?= build
PREFIX ?= /usr/local
WERROR ?= false
export BUILD WERROR

SOURCES = $(wildcard src/*/*.[ch] src/*/*/*.[ch] plugins/*.[ch] tests/*/*.[ch])

.DEFAULT_GOAL := all
.PHONY: all help deps deps-build deps-run deps-test build build-asan demo check check-fast check-asan bench install \
    format tidy clean

all: build

help:
	@echo 'make             builds $(BUILD)/vmferry'
	@echo 'make deps        installs the packages for that and for importing (what and why is said first)'
	@echo 'make demo        packages, build, a small real guest, its import, its boot; about ten minutes'
	@echo 'make check       packages for the tests, then all tests; about an hour'
	@echo 'make check-fast  the tests that take less than a minute; check-asan: the same under ASan and UBSan'
	@echo 'make bench       measures copies and imports against their peers; QUICK=1: in about ten minutes'
	@echo 'make install     to PREFIX ($(PREFIX)), below DESTDIR'
	@echo 'make format      clang-format over all sources; make tidy: clang-tidy'
	@echo 'make clean       removes the build directories'

deps:
	@tools/deps build run
deps-build:
	@tools/deps build
deps-test:
	@tools/deps build run test

# Where a package is missing Meson would name a .pc file: tools/deps knows the package.
build:
	@if [ ! -f $(BUILD)/build.ninja ]; then \
	    command -v meson > /dev/null || { echo 'meson is not here: make deps installs what the build needs' >&2; exit 1; }; \
	    meson setup $(BUILD) --prefix $(PREFIX) -Dwerror=$(WERROR) \
	        || { echo 'if something was not found: make deps installs what the build needs' >&2; exit 1; }; \
	fi
	@ninja -C $(BUILD)

build-asan:
	@[ -f $(BUILD)-asan/build.ninja ] \
	    || meson setup $(BUILD)-asan -Db_sanitize=address,undefined -Db_lundef=false -Dwerror=true
	@ninja -C $(BUILD)-asan

demo:
	@tools/demo

check: deps-test
	@tests/run

check-fast:
	@tests/run --only scripts,build,fast --quick

check-asan:
	@tests/run --only asan

# 3 says that a goal was missed. QUICK=1: about ten minutes instead of hours.
bench: deps-test build
	@VMFERRY=$(abspath $(BUILD))/vmferry bench/run $(if $(QUICK),--quick)

install: build
	@meson install -C $(BUILD) --no-rebuild

format:
	@clang-format -i $(SOURCES)

tidy: build
	@run-clang-tidy -quiet -p $(BUILD) $(CURDIR)/src $(CURDIR)/plugins

clean:
	rm -rf $(BUILD) $(BUILD)-asan
