# SPDX-License-Identifier: Apache-2.0
# Stress and robustness: `./test stress robust exhaust` takes a minute and a half, `make soak` as long as it takes.

$(B)/test/stress/robust: tests/stress/robust.c tests/kernel/t.h
	@mkdir -p $(@D)
	$(CC) $(KT_CFLAGS) -o $@ $<

$(B)/test/stress/exhaust: tests/stress/exhaust.c tests/kernel/t.h
	@mkdir -p $(@D)
	$(CC) $(KT_CFLAGS) -o $@ $<

.PHONY: stress-programs soak soak-stress soak-robust
stress-programs: $(B)/test/stress/robust $(B)/test/stress/exhaust

soak: soak-stress soak-robust
soak-stress: bins
	$(Q)B=$(B) tests/stress/stress-ng
soak-robust: bins stress-programs
	$(Q)B=$(B) tests/stress/robust -f
	$(Q)B=$(B) tests/stress/exhaust

$(B)/test/stress/sysfuzz: tests/stress/sysfuzz.c tests/stress/sysfuzz_recipes.c tests/stress/sysfuzz.h kernel/syscall/table.h kernel/syscall/flags.h
	@mkdir -p $(@D)
	$(CC) $(KT_CFLAGS) -o $@ $(filter %.c,$^) -lrt

# FUZZ_MINUTES: how long the kernel built with traps and guards is fuzzed
FUZZ_MINUTES ?= 10
.PHONY: soak-fuzz
soak: soak-fuzz
soak-fuzz:
	$(Q)tests/stress/sysfuzz-run -s $$(($(FUZZ_MINUTES) * 60 / 4)) 11 12 13 14
