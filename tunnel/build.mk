# SPDX-License-Identifier: Apache-2.0
# The gateway: plain connections on one side, attested ones on the other.
COFFER_OBJS += $(patsubst %.c,$(B)/obj/%.o,$(wildcard tunnel/*.c))
