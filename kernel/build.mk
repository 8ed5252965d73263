# SPDX-License-Identifier: Apache-2.0
# The enclave kernel: freestanding, no vector registers, linked at a fixed high address.
# -mstack-protector-guard: the canary is reached through GS; FS is the program's. GS_BIAS: GS points that far above a thread's window, into
# memory that nobody uses: a program's stray access through GS does not meet the kernel's data. Canary: 40 - GS_BIAS (platform.h, layout.h).
# Tests read the number here.
GS_BIAS = 143360
# Hardening: what each flag gives, and what it does not, is in docs/isolation.md.
KHARDEN = -fstack-protector-strong -mstack-protector-guard=tls -mstack-protector-guard-reg=gs -mstack-protector-guard-offset=$(shell expr 40 - $(GS_BIAS)) -DGS_BIAS=$(GS_BIAS) \
	-fstack-clash-protection -fcf-protection=branch -fno-jump-tables -ftrivial-auto-var-init=zero
# without vector registers gcc zeroes with rep stos, which is slow to start: plain stores up to 256 bytes
ifeq ($(findstring clang,$(CC)),)
KHARDEN += -mmemset-strategy=unrolled_loop:256:noalign,libcall:-1:noalign
endif
# clang before 16 wants to be told twice; from 16 on it can check the type of each function that is called through a pointer
kcc_takes = $(shell echo | $(CC) -Werror $(1) -x c -c -o /dev/null - 2>/dev/null && echo $(1))
ifneq ($(findstring clang,$(CC)),)
KHARDEN += $(call kcc_takes,-enable-trivial-auto-var-init-zero-knowing-it-will-be-removed-from-clang) $(call kcc_takes,-fsanitize=kcfi)
endif
KCFLAGS := -std=gnu17 -ffile-prefix-map=$(CURDIR)=. -O2 -g $(WARN) -I. -MMD -MP -ffreestanding -fno-builtin-printf -fPIE -fvisibility=hidden \
	-mgeneral-regs-only -mno-red-zone -ffunction-sections -fno-strict-aliasing -fno-delete-null-pointer-checks \
	-fno-omit-frame-pointer -fno-asynchronous-unwind-tables -fno-common -fwrapv \
	$(KHARDEN) -nostdinc -isystem $(shell $(CC) -print-file-name=include) \
	-idirafter /usr/include -idirafter /usr/include/x86_64-linux-gnu -DCOFFER_KERNEL
# SAN_KERNEL=1: undefined behaviour traps (the report names the instruction), and the heap has guards (mm/kmalloc_san.c).
# Not null and pointer overflow: a wild pointer of a program is only ever an argument of the copy helpers, which check it;
# a null pointer of the kernel faults by itself.
ifneq ($(SAN_KERNEL),)
KCFLAGS += -DKERNEL_SAN -fsanitize=undefined -fsanitize-undefined-trap-on-error -fno-sanitize=alignment,object-size,vptr,pointer-overflow,null
endif
# COUNT_CALLS=1: the kernel counts how often each of its functions is entered (platform/process/count_calls.c), for make hot-order.
ifneq ($(COUNT_CALLS),)
KCFLAGS += -DKERNEL_COUNT_CALLS -finstrument-functions
endif
include seal/kernel.mk
KSRC = $(wildcard kernel/*.c kernel/*/*.c platform/process/*.c hostcall/*.c) $(KSEAL)
KASM = $(wildcard platform/process/*.S kernel/*/*.S)
# INSECURE_ENCRYPT_ONLY=1: a kernel to compare with in benchmarks (bench/encrypt_only.c).
ifneq ($(INSECURE_ENCRYPT_ONLY),)
KSRC += bench/encrypt_only.c
KWRAP = -Wl,--wrap=seal_read_pages,--wrap=seal_write_pages
endif
KOBJS = $(KSRC:%.c=$(KB)/kobj/%.o) $(KASM:%.S=$(KB)/kobj/%.S.o)

$(KB)/kobj/%.o: %.c kernel/build.mk
	@mkdir -p $(@D)
	@echo "  KCC  $<"
	$(Q)$(CC) $(KCFLAGS) -c $< -o $@

$(KB)/kobj/%.S.o: %.S kernel/build.mk
	@mkdir -p $(@D)
	@echo "  KAS  $<"
	$(Q)$(CC) $(KCFLAGS) -c $< -o $@

# The one file with vector instructions of its own (see its head).
$(KB)/kobj/kernel/lib/sha256_ni.o: KCFLAGS := $(filter-out -mgeneral-regs-only,$(KCFLAGS)) -msha -msse4.1 -mno-avx -mstackrealign

$(KB)/kernel.debug: $(KOBJS) platform/process/kernel.lds platform/process/hot.lds kernel/syscall/check
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) -static -nostdlib -no-pie -Wl,--build-id=none -Wl,-T,platform/process/kernel.lds -Wl,-z,max-page-size=4096 \
		-Wl,--no-warn-rwx-segments -Wl,--no-relax $(KWRAP) -o $@ $(KOBJS) $(KLIBS)
	$(Q)kernel/syscall/check $@

# What is measured and loaded has no symbols: it is hashed whole at each start. kernel.debug is for addr2line, gdb and perf.
$(B)/lib/coffer/kernel.elf: $(KB)/kernel.debug
	@mkdir -p $(@D)
	@echo "  STRIP $@"
	$(Q)objcopy --strip-all $< $@

BINS += $(B)/lib/coffer/kernel.elf
