# SPDX-License-Identifier: Apache-2.0
# The image library: configuration, copying, image, hash tree, measurement.
COFFER_OBJS += $(patsubst %.c,$(B)/obj/%.o,$(wildcard image/*.c))
