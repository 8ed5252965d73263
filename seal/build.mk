# SPDX-License-Identifier: Apache-2.0
# The sealed volume: hosted objects for tools and tests, the sources are listed in kernel.mk.
SEAL_TOOL_SRC = seal/hostio.c seal/tool.c seal/tool_seal.c seal/tool_open.c

COFFER_OBJS += $(patsubst %.c,$(B)/obj/%.o,$(SEAL_LIB_SRC) $(SEAL_TOOL_SRC))
COFFER_LIBS += $(IPSEC_MB)

SEAL_TESTS = crypt model tamper crash space tool
SEAL_TEST_BINS = $(SEAL_TESTS:%=$(B)/test/seal-%)
TEST_BINS += $(SEAL_TEST_BINS)
UNIT_TESTS += $(SEAL_TEST_BINS)

.SECONDARY: $(SEAL_TESTS:%=$(B)/obj/tests/seal/%.o) $(B)/obj/tests/seal/mem.o

$(B)/test/seal-%: $(B)/obj/tests/seal/%.o $(B)/obj/tests/seal/mem.o $(B)/lib/libcoffer.a
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(IPSEC_MB) -lpthread
