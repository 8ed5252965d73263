# SPDX-License-Identifier: Apache-2.0
# Benchmarks: `make bench` writes bench/RESULTS.md, `make bench-quick` takes a tenth of the time and writes nothing.
# `make hot-order` puts the kernel's functions anew in the order in which new processes use them.

BENCH_CFLAGS := -std=gnu17 -O2 -g -Wall -Wextra -Werror -D_GNU_SOURCE -pthread

$(B)/bench/micro: bench/micro.c
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -o $@ $<

$(B)/bench/scale: bench/scale.c
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -o $@ $<

$(B)/bench/idle: bench/idle.c
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -o $@ $<

# Links the library of the tools, with the cipher.
$(B)/bench/volume: bench/volume.c $(B)/lib/libcoffer.a
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -I. -o $@ $^ $(IPSEC_MB) -lpthread

# Evidence made under test roots, by what the tests make it with.
$(B)/bench/verify: bench/verify.c $(patsubst %.c,$(B)/obj/%.o,$(wildcard tests/attest/make/*.c)) $(B)/lib/libcoffer.a
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -I. -o $@ $^ $(COFFER_LIBS)

$(B)/bench/micro.static: bench/micro.c
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -static -o $@ $<

# Links the test harness: it starts a real broker, and attests to it with simulated evidence.
$(B)/bench/broker: bench/broker.c $(B)/obj/tests/broker/harness.o $(B)/lib/libcoffer.a
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -I. -o $@ $^ $(COFFER_LIBS)

# Simulated hardware, as the tests have it.
$(B)/bench/ratls: bench/ratls.c $(B)/obj/tests/ratls/world.o $(B)/obj/tests/attest/make/pki.o $(B)/lib/libcoffer.a
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -I. -o $@ $^ $(COFFER_LIBS)

# The stream protocol between gateways alone.
$(B)/bench/mux: bench/mux.c $(B)/lib/libcoffer.a
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -I. -o $@ $^ $(COFFER_LIBS)

# What stands on the path of a connection beside the gateways.
$(B)/bench/relay: bench/relay.c
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -o $@ $< -lcrypto

.PHONY: bench bench-quick bench-programs hot-order
bench-programs: $(B)/bench/scale $(B)/bench/idle $(B)/bench/micro $(B)/bench/micro.static $(B)/bench/volume $(B)/bench/verify $(B)/bench/broker $(B)/bench/ratls \
	$(B)/bench/relay

# An enclave to compare sealed volumes with.
.PHONY: bench-layer
bench-layer:
	$(MAKE) INSECURE_ENCRYPT_ONLY=1 B=$(B)/encrypt-only bins

bench: bins bench-programs bench-layer
	bench/run -o bench/RESULTS.md

bench-quick: bins bench-programs
	bench/run -q

hot-order:
	$(MAKE) COUNT_CALLS=1 B=build/count bins
	bench/hot-order build/count >build/count/hot.lds
	cp build/count/hot.lds platform/process/hot.lds

# 10 million records of the audit log: 1.8 GB in $(B)/audit-bench, which goes away again.
AUDIT_BENCH_RECORDS ?= 10000000
$(B)/bench/audit: bench/audit.c $(B)/lib/libcoffer.a
	@mkdir -p $(@D)
	$(CC) $(BENCH_CFLAGS) -I. -o $@ $^ $(COFFER_LIBS)

.PHONY: audit-bench
audit-bench: $(B)/bench/audit
	@rm -rf $(B)/audit-bench
	$(B)/bench/audit $(B)/audit-bench $(AUDIT_BENCH_RECORDS); status=$$?; rm -rf $(B)/audit-bench; exit $$status

# An hour of servers at work, natively and inside: neither throughput nor memory may drift.
.PHONY: soak-sag
soak: soak-sag
soak-sag: bins
	$(Q)/usr/bin/python3 bench/sag.py
