# SPDX-License-Identifier: Apache-2.0
# The vDSO: a small shared object of its own, carried inside the kernel by vdso_image.S.
VDSO_CFLAGS = -std=gnu17 -O2 $(WARN) -I. -MMD -MP -ffreestanding -fPIC -fvisibility=hidden -fno-stack-protector \
	-mgeneral-regs-only -fasynchronous-unwind-tables -fno-common -fno-jump-tables -fcf-protection=none -nostdinc \
	-isystem $(shell $(CC) -print-file-name=include) -idirafter /usr/include -idirafter /usr/include/x86_64-linux-gnu

$(KB)/kobj/kernel/time/vdso.so: kernel/time/vdso/vdso.c kernel/time/vdso/vdso.lds
	@mkdir -p $(@D)
	@echo "  VDSO $@"
	$(Q)$(CC) $(VDSO_CFLAGS) -MF $@.d -MT $@ -shared -nostdlib -Wl,-soname,linux-vdso.so.1 -Wl,--hash-style=both \
		-Wl,-Bsymbolic -Wl,--build-id=none -Wl,--eh-frame-hdr -Wl,--no-undefined -Wl,-z,max-page-size=4096 \
		-Wl,-z,noexecstack -Wl,-s -Wl,-T,kernel/time/vdso/vdso.lds -o $@ $<

$(KB)/kobj/kernel/time/vdso_image.S.o: KCFLAGS += -DVDSO_SO='"$(KB)/kobj/kernel/time/vdso.so"'
$(KB)/kobj/kernel/time/vdso_image.S.o: $(KB)/kobj/kernel/time/vdso.so
