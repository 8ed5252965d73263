# SPDX-License-Identifier: Apache-2.0
# libFuzzer targets (clang). `make fuzz` builds each and runs it for FUZZ_SECONDS from its seeds; what it finds besides goes
# to $(B)/fuzz/corpus. A target is a line FUZZ_SRC_name and its name in FUZZERS.
FUZZ_SECONDS ?= 10
FUZZ_CFLAGS = -std=gnu17 -O1 -g $(WARN) -D_GNU_SOURCE -I. -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all
FUZZERS += snp_report kbs_request host_block audit
FUZZ_SRC_audit = broker/audit_verify.c broker/note.c broker/merkle.c lib/sha.c lib/encode.c lib/fault.c
FUZZ_SRC_snp_report = $(B)/fuzz/attest.a
FUZZ_SRC_kbs_request = broker/kbs.c lib/http.c lib/jwa.c lib/jwe.c lib/jwe_rsa.c $(B)/fuzz/attest.a
FUZZ_SRC_host_block = init/settings.c init/gateway_config.c lib/file.c lib/fault.c
FUZZERS += keyop secret
FUZZ_SRC_keyop = broker/keyop.c broker/keypair.c lib/jwa.c lib/jwe.c lib/jwe_rsa.c lib/jwk.c $(B)/fuzz/attest.a
FUZZ_SRC_secret = broker/secret.c broker/keyop.c broker/keypair.c lib/jwa.c lib/jwe.c lib/jwe_rsa.c lib/jwk.c $(B)/fuzz/attest.a
FUZZERS += elf coffer_yaml python_imports manifest ldisc
FUZZ_SRC_elf = image/elf.c image/text.c lib/fault.c
FUZZ_SRC_coffer_yaml = image/config.c image/config_read.c image/config_mounts.c image/config_network.c image/config_json.c image/text.c lib/fault.c lib/yamlproblem.c
FUZZ_SRC_python_imports = image/pyimports.c image/text.c lib/fault.c
FUZZ_SRC_manifest = image/manifest.c image/text.c lib/fault.c lib/sha.c
FUZZERS += erofs exec bpf
FUZZERS += http_conn
FUZZ_SRC_http_conn = lib/http_conn.c lib/http.c lib/file.c lib/fault.c lib/tls.c lib/certext.c
FUZZERS += control
FUZZ_SRC_control = init/exec_request.c lib/control.c lib/fault.c
FUZZERS += scan fuse_reply tpm_nv
FUZZ_SRC_tpm_nv = lib/tpm.c lib/tpm_command.c lib/fault.c
FUZZERS += hpke bhttp ohttp http1 ohttp_document
FUZZ_SRC_ohttp_document = tunnel/ohttp_document.c tunnel/ohttp.c tunnel/hpke.c ratls/judge.c ratls/cache.c ratls/certificate.c $(B)/lib/libcoffer.a
FUZZ_SRC_http1 = tunnel/http1.c lib/fault.c
FUZZ_SRC_hpke = tunnel/hpke.c
FUZZ_SRC_bhttp = tunnel/bhttp.c lib/fault.c
FUZZ_SRC_ohttp = tunnel/ohttp.c tunnel/hpke.c lib/fault.c
FUZZERS += master
FUZZ_SRC_master = broker/master.c broker/master_wrap.c broker/backup_file.c broker/master_ask.c $(B)/lib/libcoffer.a
FUZZERS += ratls_exchange
FUZZ_SRC_ratls_exchange = ratls/frame.c ratls/exchange.c ratls/judge.c ratls/cache.c ratls/self.c ratls/work.c ratls/shed.c ratls/certificate.c ratls/certificate_make.c $(B)/lib/libcoffer.a
FUZZERS += record
FUZZ_SRC_record = ratls/layer.c ratls/record.c ratls/gather.c ratls/wire.c seal/gcm.c
FUZZERS += mux
FUZZ_SRC_mux = tunnel/mux.c tunnel/mux_input.c tunnel/mux_frame.c tunnel/target.c
FUZZERS += packet
FUZZ_SRC_packet = tunnel/prefix.c
FUZZERS += spdm_responder spdm_requester
FUZZ_SRC_spdm_responder = $(filter-out spdm/trust.c,$(wildcard spdm/*.c)) attest/spdm.c $(B)/lib/libcoffer.a
FUZZ_SRC_spdm_requester = $(FUZZ_SRC_spdm_responder)
FUZZERS += httpsig
FUZZ_SRC_httpsig = lib/httpsig.c lib/signkey.c lib/encode.c lib/sha.c lib/fault.c
FUZZ_SRC_scan = image/scan.c image/elf.c image/libpath.c image/text.c lib/fault.c lib/file.c
# Evidence of the other kinds of hardware, each for two fifths of the time; what they share is compiled once.
FUZZ_SHORT = rules dcap dcap_json eventlog tpm hcl csv cca bundle collateral
FUZZ_SHORT += rootfs attributes oci missing
FUZZ_SHORT += dns refval launch corim gpu ratls initdata accept destinations import exec_names
FUZZERS += $(FUZZ_SHORT)
FUZZ_ATTEST = $(patsubst %.c,$(B)/fuzz/obj/%.o,$(filter-out attest/simtee_main.c,$(wildcard attest/*.c ratls/certificate*.c)) lib/certext.c lib/encode.c lib/fault.c lib/file.c lib/sha.c lib/yamlcfg.c lib/yamlproblem.c)
$(foreach f,$(FUZZ_SHORT),$(eval FUZZ_SRC_$(f) = $(B)/fuzz/attest.a))
FUZZ_SRC_rootfs = image/rootfs_tar.c image/attributes.c image/tree.c image/text.c lib/encode.c lib/fault.c
FUZZ_SRC_attributes = image/attributes.c image/tree.c image/text.c lib/encode.c lib/fault.c
FUZZ_SRC_oci = image/oci.c image/text.c lib/fault.c
FUZZ_SRC_missing = image/missing_names.c image/text.c lib/fault.c
FUZZ_SRC_dns = init/gateway_dns.c lib/fault.c
FUZZ_SRC_accept = $(addprefix tunnel/,accept.c socks.c http_head.c http_proxy.c transparent.c hook.c target.c users.c) lib/file.c lib/fault.c
FUZZ_SRC_import = tunnel/import.c tunnel/target.c lib/fault.c
FUZZ_SRC_exec_names = tunnel/exec_names.c tunnel/target.c
FUZZ_SRC_destinations = tunnel/target.c tunnel/rules.c lib/fault.c
$(B)/fuzz/obj/%.o: %.c
	@mkdir -p $(@D)
	$(Q)clang $(FUZZ_CFLAGS:-fsanitize=fuzzer,%=-fsanitize=fuzzer-no-link,%) -MMD -MP -c $< -o $@
$(B)/fuzz/attest.a: $(FUZZ_ATTEST)
	$(Q)rm -f $@ && ar rcs $@ $^
FUZZ_BINS = $(FUZZERS:%=$(B)/fuzz/%)

define FUZZ_RULE
$(B)/fuzz/$(1): fuzz/fuzz_$(1).c $(FUZZ_SRC_$(1))
	@mkdir -p $$(@D)
	@echo "  FUZZ $$@"
	$$(Q)clang $$(FUZZ_CFLAGS) -o $$@ $$^ $$(IPSEC_MB) -lssl -lcrypto -lhogweed -lnettle -lgmp -ljansson -lyaml
endef
$(foreach f,$(FUZZERS),$(eval $(call FUZZ_RULE,$(f))))

fuzz: $(FUZZ_BINS)
	$(Q)for t in $(FUZZERS); do \
		mkdir -p $(B)/fuzz/corpus/$$t && set -- $$(ls -d fuzz/seeds/$$t 2>/dev/null); \
		s=$(FUZZ_SECONDS); case " $(FUZZ_SHORT) " in *" $$t "*) s=$$((s * 2 / 5)) ;; esac; \
		echo "fuzz $$t for $$s s"; \
		$(B)/fuzz/$$t -max_total_time=$$s -max_len=16384 -verbosity=0 -artifact_prefix=$(B)/fuzz/ \
			$(B)/fuzz/corpus/$$t "$$@" || exit 1; \
	done
.PHONY: fuzz
