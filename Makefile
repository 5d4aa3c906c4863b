# Everything from one word, on a fresh Debian or Ubuntu. CMake does the work; see README.md.
#
#   make demo    install what is missing, build, show the devices, generate text, compare the devices
#   make test    install what is missing, build, run every test on every device
#   make build   only build
#
# Also: check (check-validation, check-oclgrind, check-sanitize), bench, install, clean.

BUILD ?= build
PREFIX ?= /usr/local
CMAKE_FLAGS ?=
CTEST_FLAGS ?=
BENCH_FLAGS ?=
# Backends whose devices must be there: without one their tests fail instead of being skipped.
REQUIRE ?= opencl,vulkan

LITEMAMBA = $(BUILD)/litemamba

.PHONY: build demo test check check-validation check-oclgrind check-sanitize check-drift bench install deps deps-checks clean

build:
	cmake -S . -B $(BUILD) -G Ninja -DCMAKE_INSTALL_PREFIX=$(PREFIX) $(CMAKE_FLAGS)
	cmake --build $(BUILD)

demo: deps
	@$(MAKE) --no-print-directory build
	@echo
	$(LITEMAMBA) devices
	@echo
	printf ':hacker: n.\n\n' | $(LITEMAMBA) generate --prompt - --temperature 0.7 --seed 42 -n 400 --stats
	@echo
	$(LITEMAMBA) compare

test: deps
	@$(MAKE) --no-print-directory build
	LITEMAMBA_REQUIRE=$(REQUIRE) ctest --test-dir $(BUILD) --output-on-failure $(CTEST_FLAGS)
	@# Criterion's own counts; without one the test binary was not run.
	@grep -a '^\[====\] Synthesis' $(BUILD)/Testing/Temporary/LastTest.log

check: check-validation check-oclgrind check-sanitize

check-validation: deps-checks
	@$(MAKE) --no-print-directory build
	tools/check-validation.sh $(BUILD)

check-oclgrind: deps-checks
	@$(MAKE) --no-print-directory build
	tools/check-oclgrind.sh $(BUILD)

check-sanitize: deps
	tools/check-sanitize.sh build-sanitize

# The scan over a million tokens; `make test` has a version of 50,000.
check-drift: deps
	@$(MAKE) --no-print-directory build
	LITEMAMBA_REQUIRE=$(REQUIRE) LITEMAMBA_TEST_TOKENS=1000000 $(BUILD)/tests/litemamba_tests --filter 'drift/*' --verbose=1

bench: deps
	@$(MAKE) --no-print-directory build
	$(BUILD)/bench/litemamba_bench $(BENCH_FLAGS)

install: build
	cmake --install $(BUILD)

deps:
	@tools/install-deps.sh

deps-checks:
	@tools/install-deps.sh --checks

clean:
	rm -rf $(BUILD) build-sanitize
