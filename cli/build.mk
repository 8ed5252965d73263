# SPDX-License-Identifier: Apache-2.0
# The `coffer` command.
CLI_OBJS = $(patsubst %.c,$(B)/obj/%.o,$(wildcard cli/*.c))

$(B)/bin/coffer: $(CLI_OBJS) $(B)/lib/libcoffer.a
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(COFFER_LIBS)

BINS += $(B)/bin/coffer
