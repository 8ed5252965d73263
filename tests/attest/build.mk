# SPDX-License-Identifier: Apache-2.0
ATTEST_TESTS = $(B)/test/attest-snp $(B)/test/attest-lib
UNIT_TESTS += $(ATTEST_TESTS)
TEST_BINS += $(ATTEST_TESTS)

$(B)/test/attest-%: $(B)/obj/tests/attest/%.o $(B)/lib/libcoffer.a
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(COFFER_LIBS)
.SECONDARY: $(ATTEST_TESTS:$(B)/test/attest-%=$(B)/obj/tests/attest/%.o)
