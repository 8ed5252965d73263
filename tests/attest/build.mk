# SPDX-License-Identifier: Apache-2.0
# One program a file; make/ makes evidence under test roots for them.
ATTEST_TESTS = $(patsubst tests/attest/%.c,$(B)/test/attest-%,$(wildcard tests/attest/*.c))
ATTEST_MAKE_OBJS = $(patsubst %.c,$(B)/obj/%.o,$(wildcard tests/attest/make/*.c))
UNIT_TESTS += $(ATTEST_TESTS)
TEST_BINS += $(ATTEST_TESTS)

$(B)/test/attest-%: $(B)/obj/tests/attest/%.o $(ATTEST_MAKE_OBJS) $(B)/lib/libcoffer.a
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(COFFER_LIBS)
.SECONDARY: $(ATTEST_TESTS:$(B)/test/attest-%=$(B)/obj/tests/attest/%.o) $(ATTEST_MAKE_OBJS)
# Plays configfs-tsm.
$(B)/test/attest-collect: COFFER_LIBS += -lfuse3
