# SPDX-License-Identifier: Apache-2.0
# Kernel behaviour tests: ordinary programs, built once natively and run both natively and in an enclave.
# They never get sanitizers: they play with faults and signals themselves.

KT_CFLAGS := -std=gnu17 -O2 -g -Wall -Wextra -Werror -D_GNU_SOURCE -I. -pthread
KT_NAMES := $(patsubst tests/kernel/%.c,%,$(wildcard tests/kernel/*.c))

# The same behaviour through other C libraries and load addresses.
KT_STATIC := file fork signal thread
KT_MUSL := file fork pipe signal
KT_NOPIE := abi fork mmap

KERNEL_TESTS := $(addprefix $(B)/test/kernel/,$(KT_NAMES) $(KT_STATIC:=.static) $(KT_MUSL:=.musl) $(KT_NOPIE:=.nopie))

$(B)/test/kernel/%: tests/kernel/%.c $(wildcard tests/kernel/*.h)
	@mkdir -p $(@D)
	$(CC) $(KT_CFLAGS) -o $@ $< -lutil -lrt -lm

$(B)/test/kernel/%.static: tests/kernel/%.c tests/kernel/t.h
	@mkdir -p $(@D)
	$(CC) $(KT_CFLAGS) -static -o $@ $< -lm

$(B)/test/kernel/%.musl: tests/kernel/%.c tests/kernel/t.h
	@mkdir -p $(@D)
	musl-gcc $(KT_CFLAGS) -static -o $@ $< -lm

$(B)/test/kernel/%.nopie: tests/kernel/%.c tests/kernel/t.h
	@mkdir -p $(@D)
	$(CC) $(KT_CFLAGS) -fno-pie -no-pie -o $@ $< -lm

.PHONY: kernel-tests
kernel-tests: $(KERNEL_TESTS)

# The network outside an enclave: tests/net/run
NET_TESTS = $(B)/test/net/through $(B)/test/net/sending $(B)/test/net/many
$(NET_TESTS): $(B)/test/net/%: tests/net/%.c tests/kernel/t.h
	@mkdir -p $(@D)
	$(CC) $(KT_CFLAGS) -o $@ $<

.PHONY: net-tests
net-tests: $(NET_TESTS)
