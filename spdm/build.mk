# SPDX-License-Identifier: Apache-2.0
# SPDM for CPU TEEs: messages, both ends, secured sessions (docs/spdm.md). In libcoffer.a; uses ratls/ for certificates and verdicts.
COFFER_OBJS += $(patsubst %.c,$(B)/obj/%.o,$(wildcard spdm/*.c))
