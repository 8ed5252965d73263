# SPDX-License-Identifier: Apache-2.0
# One program a file.
TUNNEL_TESTS = $(patsubst tests/tunnel/%.c,$(B)/test/tunnel-%,$(wildcard tests/tunnel/*.c))
UNIT_TESTS += $(TUNNEL_TESTS)
TEST_BINS += $(TUNNEL_TESTS)

$(B)/test/tunnel-ohttp_ends: $(B)/obj/tests/ratls/world.o
$(B)/test/tunnel-standing: $(addprefix $(B)/obj/tests/,ratls/world.o ratls/standing.o attest/make/dcap.o attest/make/pki.o)
$(B)/test/tunnel-%: $(B)/obj/tests/tunnel/%.o $(B)/lib/libcoffer.a
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter-out %.a,$^) $(filter %.a,$^) $(COFFER_LIBS)
.SECONDARY: $(TUNNEL_TESTS:$(B)/test/tunnel-%=$(B)/obj/tests/tunnel/%.o)

# Gateways that die, stop, hang and read their files again, at random, under load. With sanitizers: SAN=1 B=build/san.
.PHONY: soak-tunnel
soak: soak-tunnel
soak-tunnel: bins
	$(Q)B=$(B) tests/tunnel/soak.py
