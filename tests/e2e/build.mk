# SPDX-License-Identifier: Apache-2.0
# Small programs of the end-to-end tests that Debian does not ship: other C libraries, link modes, languages.

E2E_CFLAGS := -std=gnu17 -O2 -g -Wall -Wextra -Werror -D_GNU_SOURCE
E2E_DIR = $(B)/test/e2e
E2E_PROGRAMS = $(addprefix $(E2E_DIR)/,hello.dynamic hello.static hello.nopie hello.musl hello.go crowd.go fetch.go coffer.tar omp calls debuggee fsyncs sandbox sockets shiftclock.so)

$(E2E_DIR)/hello.dynamic: tests/e2e/src/hello.c
	@mkdir -p $(@D)
	$(CC) $(E2E_CFLAGS) -o $@ $<

$(E2E_DIR)/hello.static: tests/e2e/src/hello.c
	@mkdir -p $(@D)
	$(CC) $(E2E_CFLAGS) -static -o $@ $<

$(E2E_DIR)/hello.nopie: tests/e2e/src/hello.c
	@mkdir -p $(@D)
	$(CC) $(E2E_CFLAGS) -fno-pie -no-pie -o $@ $<

# Dynamic, so that musl's own loader is used.
$(E2E_DIR)/hello.musl: tests/e2e/src/hello.c
	@mkdir -p $(@D)
	musl-gcc $(E2E_CFLAGS) -o $@ $<

$(E2E_DIR)/hello.go: tests/e2e/src/hello.go
	@mkdir -p $(@D)
	HOME=$${HOME:-/tmp} GOFLAGS=-mod=mod GO111MODULE=off go build -o $@ $<

$(E2E_DIR)/crowd.go: tests/e2e/src/crowd.go
	@mkdir -p $(@D)
	HOME=$${HOME:-/tmp} CGO_ENABLED=0 GOFLAGS=-mod=mod GO111MODULE=off go build -o $@ $<

$(E2E_DIR)/fetch.go: tests/e2e/src/fetch.go
	@mkdir -p $(@D)
	HOME=$${HOME:-/tmp} CGO_ENABLED=0 GOFLAGS=-mod=mod GO111MODULE=off go build -o $@ $<

$(E2E_DIR)/sockets: tests/e2e/src/sockets.c
	@mkdir -p $(@D)
	$(CC) $(E2E_CFLAGS) -o $@ $<

$(E2E_DIR)/shiftclock.so: tests/e2e/src/shiftclock.c
	@mkdir -p $(@D)
	$(CC) $(E2E_CFLAGS) -shared -fPIC -o $@ $<

$(E2E_DIR)/omp: tests/e2e/src/omp.c
	@mkdir -p $(@D)
	gcc $(E2E_CFLAGS) -fopenmp -o $@ $<

$(E2E_DIR)/calls: tests/e2e/src/calls.c
	@mkdir -p $(@D)
	gcc $(E2E_CFLAGS) -pthread -o $@ $<

$(E2E_DIR)/fsyncs: tests/e2e/src/fsyncs.c
	@mkdir -p $(@D)
	$(CC) $(E2E_CFLAGS) -o $@ $<

# Without optimisation: gdb looks at every variable of it.
$(E2E_DIR)/debuggee: tests/e2e/src/debuggee.c
	@mkdir -p $(@D)
	gcc $(E2E_CFLAGS) -O0 -pthread -o $@ $<

$(E2E_DIR)/sandbox: tests/e2e/src/sandbox.c
	@mkdir -p $(@D)
	gcc $(E2E_CFLAGS) -o $@ $< -lseccomp

# Coffer's own sources, to be compiled inside.
$(E2E_DIR)/coffer.tar: $(wildcard Makefile *.mk */*.mk */*.[chS] */*/*.[chS] */*/*/*.[chS])
	@mkdir -p $(@D)
	tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --exclude=./build --exclude=./.git --exclude=./fuzz/corpus -cf $@ .

.PHONY: e2e-programs
e2e-programs: $(E2E_PROGRAMS)

# An identity that is renewed while its program runs: half a minute at the least.
.PHONY: soak-identity
soak: soak-identity
soak-identity: bins
	$(Q)COFFER_TEST_RENEWAL=1 tests/e2e/run identity

# Servers and other programs of Debian with SCALE times the work of ./test, and those that are too large for it (./setup soak installs them). PROGRAMS: only these.
SCALE ?= 10
.PHONY: soak-programs
soak: soak-programs
soak-programs: bins
	$(Q)SCALE=$(SCALE) tests/e2e/run $(or $(PROGRAMS),$(shell tests/e2e/run -l))
