# SPDX-License-Identifier: Apache-2.0
# The enclave's first programs. They run inside the enclave, so they are static and never built with sanitizers.
# Stripped, so that the build folder is not part of the measurement. -Wl,-w: glibc and OpenSSL warn that name look-ups need shared libraries; none is made.
ICFLAGS = -std=gnu17 -ffile-prefix-map=$(CURDIR)=. $(if $(filter $(B),$(KB)),$(OPT),-O2) -g $(WARN) -D_GNU_SOURCE -fstack-protector-strong -fPIE -ffunction-sections -I. -MMD -MP
ILDFLAGS = -static-pie -s -Wl,--build-id=none -Wl,--gc-sections -Wl,-z,relro,-z,now -Wl,-w

$(KB)/iobj/%.o: %.c
	@mkdir -p $(@D)
	@echo "  ICC  $<"
	$(Q)$(CC) $(ICFLAGS) -c $< -o $@

INIT_OBJS = $(addprefix $(KB)/iobj/,init/init.o init/settings.o init/exec_request.o init/exec_user.o init/control.o init/tasks.o lib/control.o lib/fault.o lib/file.o)
INIT_ATTEST_OBJS = $(addprefix $(KB)/iobj/,init/attest_main.o init/attest.o init/exchange.o init/anchor.o init/anchor_tpm.o init/sealing.o init/secrets.o init/identity.o init/enclave.o init/settings.o \
	attest/binding.o attest/coco_snp.o attest/snp_chain.o attest/cert.o attest/link_cache.o lib/fault.o lib/file.o lib/encode.o lib/jwa.o lib/jwe.o lib/jwe_rsa.o lib/tls.o lib/certext.o lib/http.o \
	lib/http_client.o lib/tpm.o lib/tpm_command.o lib/tpm_wire.o lib/tpm_anchor.o)

$(B)/lib/coffer/init: $(INIT_OBJS)
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(ILDFLAGS) -o $@ $^ -ljansson

$(B)/lib/coffer/init-attest: $(INIT_ATTEST_OBJS)
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(ILDFLAGS) -o $@ $^ -lssl -lcrypto -ljansson

# The gateway is `coffer tunnel`'s engine, and judges evidence of every kind of hardware as that does.
GATEWAY_OBJS = $(addprefix $(KB)/iobj/,init/gateway_main.o init/gateway_config.o init/gateway_plain.o init/gateway_dns.o)
GATEWAY_PARTS = $(patsubst %.c,$(KB)/iobj/%.o,seal/gcm.c $(filter-out attest/simtee_main.c lib/pkcs11%,$(wildcard tunnel/*.c ratls/*.c attest/*.c lib/*.c)))

$(KB)/iobj/libparts.a: $(GATEWAY_PARTS)
	@echo "  AR   $@"
	$(Q)rm -f $@ && ar rcs $@ $^

$(B)/lib/coffer/gateway: $(GATEWAY_OBJS) $(KB)/iobj/libparts.a
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(ILDFLAGS) -o $@ $^ $(IPSEC_MB) $(RATLS_LIBS)

BINS += $(B)/lib/coffer/init $(B)/lib/coffer/init-attest $(B)/lib/coffer/gateway
COFFER_OBJS += $(B)/obj/init/gateway_config.o $(B)/obj/init/gateway_dns.o $(B)/obj/init/settings.o $(B)/obj/init/exec_request.o $(B)/obj/init/exec_user.o $(B)/obj/init/attest.o $(B)/obj/init/exchange.o $(B)/obj/init/anchor.o $(B)/obj/init/anchor_tpm.o $(B)/obj/init/sealing.o $(B)/obj/init/secrets.o $(B)/obj/init/identity.o
