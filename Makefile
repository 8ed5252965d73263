# SPDX-License-Identifier: Apache-2.0
# The one build file; each folder adds its own build.mk. `make help` lists the targets.
# B: output folder. CC: gcc or clang. OPT: optimisation of all but the kernel. SAN=1: AddressSanitizer + UBSan for everything hosted. KB: where
# the kernel and the enclave's first programs are built, which have no sanitizers; that of another build by the same compiler will do.

B ?= build
# One name for a folder: dependency files know their objects by name, and under another one they would be taken for up to date.
override B := $(patsubst $(CURDIR)/%,%,$(B))
$(CURDIR)/$(B)/%: $(B)/% ;
CC = gcc
SAN ?=
OPT ?= -O2
KB ?= $(B)
Q = @

WARN = -Wall -Wextra -Werror
CFLAGS = -std=gnu17 -ffile-prefix-map=$(CURDIR)=. $(OPT) -g $(WARN) -D_GNU_SOURCE -fstack-protector-strong -fPIE -I. -MMD -MP
LDFLAGS = -pie -Wl,-z,relro,-z,now
ifneq ($(SAN),)
CFLAGS += -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
LDFLAGS += -fsanitize=address,undefined
endif

BINS =
TEST_BINS =
UNIT_TESTS =
COFFER_OBJS =
COFFER_LIBS =

all: bins

include $(sort $(wildcard *.mk */build.mk */*/build.mk))

bins: $(BINS)
test-bins: $(TEST_BINS)

# Every hosted object: $(B)/obj/path/file.o from path/file.c
$(B)/obj/%.o: %.c
	@mkdir -p $(@D)
	@echo "  CC   $<"
	$(Q)$(CC) $(CFLAGS) $(CFLAGS_$(subst /,_,$(dir $*))) -c $< -o $@

# The library that cli, tests and services share.
$(B)/lib/libcoffer.a: $(COFFER_OBJS)
	@mkdir -p $(@D)
	@echo "  AR   $@"
	$(Q)rm -f $@ && ar rcs $@ $^

check: bins test-bins
	$(Q)tests/run-unit $(UNIT_TESTS)

clean:
	rm -rf $(B)

help:
	@echo "make            build everything into $(B)/"
	@echo "make check      unit tests (SAN=1 B=build/san: with sanitizers)"
	@echo "make lint       static checks (sparse, formatting)"
	@echo "make soak-storage  sealed volumes at full size: hours (PARTS=\"crash fuzz\": only these)"
	@echo "make soak       stress and robustness, for as long as it takes"
	@echo "make test-pku   kernel tests on an emulated CPU with protection keys (soak-pku: all of them)"
	@echo "make test-systemd  the broker as a service of a systemd that boots in a folder"
	@echo "make bench      benchmarks against native Linux"
	@echo "make hot-order  the order of the kernel's functions anew, from what new processes run"
	@echo "make install    PREFIX=/usr/local"
	@echo "make clean"

.PHONY: all bins test-bins check clean help lint bench install
.DELETE_ON_ERROR:
-include $(shell find $(B) $(if $(filter-out $(B),$(KB)),$(KB)/kobj $(KB)/iobj) -type f -name '*.d' 2>/dev/null)

lint:
	$(Q)tests/lint
