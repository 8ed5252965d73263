# SPDX-License-Identifier: Apache-2.0
# One program a file; world.c and standing.c are what they share.
RATLS_TESTS = $(patsubst tests/ratls/%.c,$(B)/test/ratls-%,$(filter-out tests/ratls/world.c tests/ratls/standing.c,$(wildcard tests/ratls/*.c)))
UNIT_TESTS += $(RATLS_TESTS)
TEST_BINS += $(RATLS_TESTS)

$(B)/test/ratls-certificate: $(B)/obj/tests/attest/make/cca.o $(B)/obj/tests/attest/make/pki.o
$(B)/test/ratls-outdated: $(B)/obj/tests/ratls/standing.o $(B)/obj/tests/attest/make/dcap.o $(B)/obj/tests/attest/make/pki.o
$(B)/test/ratls-duplex: $(B)/obj/cli/tls_relay.o
$(B)/test/ratls-%: $(B)/obj/tests/ratls/%.o $(B)/obj/tests/ratls/world.o $(B)/lib/libcoffer.a
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter-out %.a,$^) $(filter %.a,$^) $(COFFER_LIBS)
.SECONDARY: $(RATLS_TESTS:$(B)/test/ratls-%=$(B)/obj/tests/ratls/%.o) $(B)/obj/tests/ratls/world.o $(B)/obj/tests/ratls/standing.o
