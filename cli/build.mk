# SPDX-License-Identifier: Apache-2.0
# The `coffer` command.
CLI_OBJS = $(patsubst %.c,$(B)/obj/%.o,$(wildcard cli/*.c))

$(B)/bin/coffer: $(CLI_OBJS) $(B)/lib/libcoffer.a
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(COFFER_LIBS)

BINS += $(B)/bin/coffer

# PREFIX: where to; DESTDIR: for packages.
PREFIX ?= /usr/local
install: bins
	install -D -m 755 $(B)/bin/coffer $(DESTDIR)$(PREFIX)/bin/coffer
	install -D -m 644 $(B)/lib/coffer/kernel.elf $(DESTDIR)$(PREFIX)/lib/coffer/kernel.elf
	install -D -m 755 $(B)/lib/coffer/init $(DESTDIR)$(PREFIX)/lib/coffer/init
	install -D -m 755 $(B)/lib/coffer/init-attest $(DESTDIR)$(PREFIX)/lib/coffer/init-attest
	install -D -m 644 cli/completion.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/coffer
