# SPDX-License-Identifier: Apache-2.0
# Databases on sealed volumes, and power cuts: `./test powercut` makes a few, `make soak-storage` a few hundred.
POWERCUT_BINS = $(addprefix $(B)/test/powercut-,recordfs cut sqlite acks)
TEST_BINS += $(POWERCUT_BINS)
POWERCUT_LIBS_recordfs = -lfuse3
POWERCUT_LIBS_sqlite = -lsqlite3

$(B)/test/powercut-%: tests/powercut/%.c tests/powercut/log.h
	@mkdir -p $(@D)
	@echo "  CC   $@"
	$(Q)$(CC) -std=gnu17 -O1 -g $(WARN) -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I. -o $@ $< $(POWERCUT_LIBS_$*)

.PHONY: powercut-programs
powercut-programs: $(POWERCUT_BINS)
