# SPDX-License-Identifier: Apache-2.0
# One program a file; talk.c is what they share, with the simulated hardware of the tests of attested TLS.
SPDM_TESTS = $(patsubst tests/spdm/%.c,$(B)/test/spdm-%,$(filter-out tests/spdm/talk.c,$(wildcard tests/spdm/*.c)))
UNIT_TESTS += $(SPDM_TESTS)
TEST_BINS += $(SPDM_TESTS)

$(B)/test/spdm-%: $(B)/obj/tests/spdm/%.o $(B)/obj/tests/spdm/talk.o $(B)/obj/tests/ratls/world.o $(B)/lib/libcoffer.a
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter-out %.a,$^) $(filter %.a,$^) $(COFFER_LIBS)
.SECONDARY: $(SPDM_TESTS:$(B)/test/spdm-%=$(B)/obj/tests/spdm/%.o) $(B)/obj/tests/spdm/talk.o
