# SPDX-License-Identifier: Apache-2.0
# The enclave kernel: freestanding, no vector registers, linked at a fixed high address.
# -mstack-protector-guard: the canary is reached through GS; FS is the program's.
KCFLAGS = -std=gnu17 -ffile-prefix-map=$(CURDIR)=. -O2 -g $(WARN) -I. -MMD -MP -ffreestanding -fno-builtin-printf -fPIE -fvisibility=hidden \
	-mgeneral-regs-only -mno-red-zone -fno-strict-aliasing -fno-delete-null-pointer-checks \
	-fno-omit-frame-pointer -fno-asynchronous-unwind-tables -fno-common -fwrapv \
	-fstack-protector-strong -mstack-protector-guard=tls -mstack-protector-guard-reg=gs \
	-mstack-protector-guard-offset=40 -nostdinc -isystem $(shell $(CC) -print-file-name=include) \
	-idirafter /usr/include -idirafter /usr/include/x86_64-linux-gnu -DCOFFER_KERNEL
include seal/kernel.mk
KSRC = $(wildcard kernel/*.c kernel/*/*.c platform/process/*.c hostcall/*.c) $(KSEAL)
KASM = $(wildcard platform/process/*.S kernel/*/*.S)
KOBJS = $(KSRC:%.c=$(B)/kobj/%.o) $(KASM:%.S=$(B)/kobj/%.S.o)

$(B)/kobj/%.o: %.c
	@mkdir -p $(@D)
	@echo "  KCC  $<"
	$(Q)$(CC) $(KCFLAGS) -c $< -o $@

$(B)/kobj/%.S.o: %.S
	@mkdir -p $(@D)
	@echo "  KAS  $<"
	$(Q)$(CC) $(KCFLAGS) -c $< -o $@

# The one file with vector instructions of its own (see its head).
$(B)/kobj/kernel/lib/sha256_ni.o: KCFLAGS := $(filter-out -mgeneral-regs-only,$(KCFLAGS)) -msha -msse4.1 -mno-avx -mstackrealign

$(B)/lib/coffer/kernel.elf: $(KOBJS) platform/process/kernel.lds kernel/syscall/check
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) -static -nostdlib -no-pie -Wl,--build-id=none -Wl,-T,platform/process/kernel.lds -Wl,-z,max-page-size=4096 \
		-Wl,--no-warn-rwx-segments -Wl,--no-relax -o $@ $(KOBJS) $(KLIBS)
	$(Q)kernel/syscall/check $@

BINS += $(B)/lib/coffer/kernel.elf
