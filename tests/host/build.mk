# SPDX-License-Identifier: Apache-2.0
# What the launcher's side keeps: logs and states of running enclaves. One program a file.
HOST_TESTS = $(patsubst tests/host/%.c,$(B)/test/host-%,$(wildcard tests/host/*.c))
UNIT_TESTS += $(HOST_TESTS)
TEST_BINS += $(HOST_TESTS)

$(B)/test/host-%: $(B)/obj/tests/host/%.o $(B)/lib/libcoffer.a
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(COFFER_LIBS)
.SECONDARY: $(HOST_TESTS:$(B)/test/host-%=$(B)/obj/tests/host/%.o)
