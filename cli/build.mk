# SPDX-License-Identifier: Apache-2.0
# The `coffer` command: a small static program that runs enclaves, and coffer-tools, which is all the rest (command.c).
# -Wl,-w: glibc warns that name look-ups need shared libraries; the command makes none. Sanitizers want a dynamic program.
CLI_OBJS = $(patsubst %.c,$(B)/obj/%.o,$(filter-out cli/command.c,$(wildcard cli/*.c)))
COMMAND_OBJS = $(addprefix $(B)/obj/cli/,command.o cli.o run.o start.o places.o)

$(B)/bin/coffer: $(COMMAND_OBJS) $(B)/lib/libcoffer.a
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(if $(SAN),$(LDFLAGS),-static-pie -Wl,-z,relro,-z,now -Wl,-w -Wl,--gc-sections) -o $@ $^ $(IPSEC_MB) -lyaml -lcrypto -lpthread

$(B)/lib/coffer/coffer-tools: $(CLI_OBJS) $(B)/lib/libcoffer.a
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(COFFER_LIBS) -lfuse3

BINS += $(B)/bin/coffer $(B)/lib/coffer/coffer-tools

# What `coffer syscalls` knows is taken from the linked kernel.
$(B)/gen/syscalls.inc: $(KB)/kernel.debug
	@mkdir -p $(@D)
	$(Q)nm $< | sed -n 's/^[0-9a-f]* [TtDdRr] sys_\([a-z0-9_]*\)$$/"\1",/p' >$@
$(B)/obj/cli/syscalls.o: $(B)/gen/syscalls.inc
$(B)/obj/cli/syscalls.o: CFLAGS += -I$(B)

# docs/syscalls.md; `make check` compares it.
.PHONY: syscall-docs
syscall-docs: bins
	$(Q)$(B)/bin/coffer syscalls --markdown >docs/syscalls.md

# PREFIX: where to; DESTDIR: for packages.
PREFIX ?= /usr/local
install: bins
	install -D -m 755 $(B)/bin/coffer $(DESTDIR)$(PREFIX)/bin/coffer
	install -D -m 755 $(B)/lib/coffer/coffer-tools $(DESTDIR)$(PREFIX)/lib/coffer/coffer-tools
	install -D -m 755 $(B)/lib/coffer/simulated-tee $(DESTDIR)$(PREFIX)/lib/coffer/simulated-tee
	install -D -m 644 $(B)/lib/coffer/kernel.elf $(DESTDIR)$(PREFIX)/lib/coffer/kernel.elf
	install -D -m 755 $(B)/lib/coffer/init $(DESTDIR)$(PREFIX)/lib/coffer/init
	install -D -m 755 $(B)/lib/coffer/init-attest $(DESTDIR)$(PREFIX)/lib/coffer/init-attest
	install -D -m 755 $(B)/lib/coffer/gateway $(DESTDIR)$(PREFIX)/lib/coffer/gateway
	install -D -m 644 $(B)/lib/libcoffer-ratls.a $(DESTDIR)$(PREFIX)/lib/libcoffer-ratls.a
	install -D -m 644 ratls/ratls.h $(DESTDIR)$(PREFIX)/include/coffer/ratls.h
	sed "s,/usr/local,$(PREFIX)," broker/coffer-broker.service >$(B)/coffer-broker.service
	install -D -m 644 $(B)/coffer-broker.service $(DESTDIR)$(PREFIX)/lib/systemd/system/coffer-broker.service
	install -D -m 644 broker/coffer-broker.sysusers $(DESTDIR)$(PREFIX)/lib/sysusers.d/coffer-broker.conf
	install -d $(DESTDIR)$(PREFIX)/share/doc/coffer
	install -d $(DESTDIR)$(PREFIX)/share/coffer/ohttp
	install -m 644 tunnel/web/* $(DESTDIR)$(PREFIX)/share/coffer/ohttp
	install -m 644 docs/*.md $(DESTDIR)$(PREFIX)/share/doc/coffer
	install -D -m 644 cli/completion.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/coffer
