# SPDX-License-Identifier: Apache-2.0
# Pieces of the kernel that need nothing of it, tested as ordinary programs. Their functions are renamed, so that the C library's
# stay what the test compares with.
KLIB_FLAGS = -std=gnu17 -O2 -g $(WARN) -I. -MMD -MP -ffreestanding -mgeneral-regs-only -fwrapv -fno-strict-aliasing -fPIE \
	-nostdinc -isystem $(shell $(CC) -print-file-name=include) -idirafter /usr/include \
	-idirafter /usr/include/x86_64-linux-gnu -DCOFFER_KERNEL -DGS_BIAS=$(GS_BIAS)
KLIB_NAMES = memcpy memmove memset memcmp memchr strlen strnlen strcmp strncmp strchr strrchr strstr strlcpy explicit_bzero \
	vsnprintf snprintf scnprintf

$(B)/test/klib/k-%.o: kernel/lib/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(KLIB_FLAGS) $(foreach f,$(KLIB_NAMES),-D$(f)=k_$(f)) -c $< -o $@

$(B)/test/klib/k-%.o: kernel/time/%.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(KLIB_FLAGS) -c $< -o $@

$(B)/obj/tests/klib/clock.o: CFLAGS += -DGS_BIAS=$(GS_BIAS)
$(B)/test/klib/kstring: $(B)/test/klib/k-string.o $(B)/test/klib/k-printf.o
$(B)/test/klib/clock: $(B)/test/klib/k-clock.o
$(B)/test/klib/kstring $(B)/test/klib/clock: $(B)/test/klib/%: $(B)/obj/tests/klib/%.o
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^

TEST_BINS += $(B)/test/klib/kstring $(B)/test/klib/clock
UNIT_TESTS += $(B)/test/klib/kstring $(B)/test/klib/clock
