# SPDX-License-Identifier: Apache-2.0
# The `coffer` command.
CLI_OBJS = $(patsubst %.c,$(B)/obj/%.o,$(wildcard cli/*.c))
ifeq ($(wildcard broker/client.c),)
CLI_OBJS := $(filter-out %/seal.o %/volume.o %/policy.o %/broker.o %/owner.o,$(CLI_OBJS))
CFLAGS_cli_ += -DCOFFER_WITHOUT_BROKER
endif

$(B)/bin/coffer: $(CLI_OBJS) $(B)/lib/libcoffer.a
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(COFFER_LIBS)

BINS += $(B)/bin/coffer
