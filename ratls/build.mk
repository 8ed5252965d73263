# SPDX-License-Identifier: Apache-2.0
# Attested TLS. libcoffer-ratls.a is one object with what it needs of attest/ and lib/, which nothing but the names of ratls.h shows of: a program may call
# its own functions as it likes.
RATLS_OBJS = $(patsubst %.c,$(B)/obj/%.o,$(wildcard ratls/*.c))
RATLS_LIBS = -lssl -lcrypto -lhogweed -lnettle -lgmp -ljansson -lyaml -lpthread
RATLS_API = $(addprefix ratls_,context_new context_free accept connect handshake read write end close wants fd work_take work_run alpn attest_again peer reason)
COFFER_OBJS += $(RATLS_OBJS)

$(B)/lib/libcoffer-ratls.a: $(RATLS_OBJS) $(B)/lib/libcoffer.a
	@mkdir -p $(@D)
	@echo "  AR   $@"
	$(Q)ld -r -o $(B)/lib/ratls.o $(RATLS_OBJS) $(B)/lib/libcoffer.a $(IPSEC_MB)
	$(Q)[ -n "$(SAN)" ] || objcopy $(RATLS_API:%=--keep-global-symbol=%) $(B)/lib/ratls.o
	$(Q)rm -f $@ && ar rcs $@ $(B)/lib/ratls.o && rm -f $(B)/lib/ratls.o

$(B)/examples/attested-%: $(B)/obj/examples/ratls/%.o $(B)/lib/libcoffer-ratls.a
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(RATLS_LIBS)

BINS += $(B)/lib/libcoffer-ratls.a $(B)/examples/attested-client $(B)/examples/attested-server
.SECONDARY: $(B)/obj/examples/ratls/client.o $(B)/obj/examples/ratls/server.o
