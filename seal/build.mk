# SPDX-License-Identifier: Apache-2.0
# The sealed volume: hosted objects for tools and tests, the sources are listed in kernel.mk.
SEAL_TOOL_SRC = seal/hostio.c seal/tool.c seal/tool_flags.c seal/tool_anchor.c seal/tool_seal.c seal/tool_seal_file.c seal/tool_open.c seal/tool_cp.c seal/tool_diff.c seal/tool_admin.c seal/tool_mount.c seal/tool_mount_ops.c seal/tool_mount_flags.c

COFFER_OBJS += $(patsubst %.c,$(B)/obj/%.o,$(SEAL_LIB_SRC) $(SEAL_TOOL_SRC))
COFFER_LIBS += $(IPSEC_MB)

SEAL_TESTS = crypt share model tamper crash space tool anchor adversary repair log batch shared many flags piece mend
SEAL_TEST_BINS = $(SEAL_TESTS:%=$(B)/test/seal-%)
TEST_BINS += $(SEAL_TEST_BINS)
UNIT_TESTS += $(SEAL_TEST_BINS)

SEAL_TEST_LIB = $(B)/obj/tests/seal/mem.o $(B)/obj/tests/seal/work.o
.SECONDARY: $(SEAL_TESTS:%=$(B)/obj/tests/seal/%.o) $(SEAL_TEST_LIB)

$(B)/test/seal-%: $(B)/obj/tests/seal/%.o $(SEAL_TEST_LIB) $(B)/lib/libcoffer.a
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(IPSEC_MB) -lpthread

# Fuzzing: `make fuzz-seal` runs both targets for FUZZ_SECONDS. The cipher is replaced (fuzz/seal/plain_gcm.c).
SEAL_FUZZERS = $(B)/fuzz/fuzz_seal_volume $(B)/fuzz/fuzz_seal_struct
$(SEAL_FUZZERS): $(B)/fuzz/%: fuzz/%.c fuzz/seal/plain_gcm.c fuzz/seal/use.c tests/seal/mem.c $(SEAL_LIB_SRC)
	@mkdir -p $(@D)
	@echo "  FUZZ $@"
	$(Q)clang -std=gnu17 -O1 -g $(WARN) -D_GNU_SOURCE -I. -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
		-o $@ $(filter-out seal/gcm.c,$(filter %.c,$^))
fuzz-seal: $(SEAL_FUZZERS)
	$(Q)for t in $(SEAL_FUZZERS); do \
		mkdir -p $(B)/fuzz/corpus/$${t##*/} && echo "$${t##*/} for $(FUZZ_SECONDS) s" && \
		$$t -max_total_time=$(FUZZ_SECONDS) -max_len=2048 -timeout=20 -rss_limit_mb=2048 -verbosity=0 -print_final_stats=1 -artifact_prefix=$(B)/fuzz/ \
			$(B)/fuzz/corpus/$${t##*/} || exit 1; \
	done
.PHONY: fuzz-seal

# Run natively and in an enclave: random file system calls (tests/e2e/refusals/fsops), many names (tests/e2e/refusals/storage).
$(B)/test/manyfiles: tests/seal/manyfiles.c
	@mkdir -p $(@D)
	@echo "  CC   $@"
	$(Q)$(CC) -std=gnu17 -O1 -g $(WARN) -D_GNU_SOURCE -o $@ $<
TEST_BINS += $(B)/test/manyfiles
$(B)/test/seal-fsops: tests/seal/fsops.c tests/folder.h
	@mkdir -p $(@D)
	@echo "  CC   $@"
	$(Q)$(CC) -std=gnu17 -O1 -g $(WARN) -D_GNU_SOURCE -I. -o $@ $<
TEST_BINS += $(B)/test/seal-fsops

# All of this at its full size; PARTS="crash powercut": only these (tests/seal/soak -l lists them).
.PHONY: soak-storage
soak: soak-storage
soak-storage: all test-bins $(SEAL_FUZZERS)
	$(Q)B=$(B) FUZZ_SECONDS=$(FUZZ_SECONDS_STORAGE) tests/seal/soak $(PARTS)
FUZZ_SECONDS_STORAGE ?= 600
