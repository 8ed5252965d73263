# SPDX-License-Identifier: Apache-2.0
# Evidence to claims, and the simulated hardware.
COFFER_OBJS += $(patsubst %.c,$(B)/obj/%.o,$(filter-out attest/simtee_main.c,$(wildcard attest/*.c)))

$(B)/lib/coffer/simulated-tee: $(B)/obj/attest/simtee_main.o $(B)/lib/libcoffer.a
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lcrypto

BINS += $(B)/lib/coffer/simulated-tee
