# SPDX-License-Identifier: Apache-2.0
# The broker as a library: `coffer broker serve` calls it; and the owner's client.
COFFER_OBJS += $(patsubst %.c,$(B)/obj/%.o,$(wildcard broker/*.c))
$(B)/obj/broker/ui.o: $(wildcard broker/ui/*)
