# SPDX-License-Identifier: Apache-2.0
# Evidence to claims, and the simulated hardware.
COFFER_OBJS += $(patsubst %.c,$(B)/obj/%.o,$(wildcard attest/*.c))
