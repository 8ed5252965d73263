# SPDX-License-Identifier: Apache-2.0
BROKER_TESTS = $(B)/test/broker-broker $(B)/test/broker-settings $(B)/test/broker-tees $(B)/test/broker-audit
BROKER_TESTS += $(B)/test/broker-ratls $(B)/test/broker-retry
BROKER_TESTS += $(B)/test/broker-malformed
BROKER_TESTS += $(B)/test/broker-master
BROKER_TESTS += $(B)/test/broker-load $(B)/test/broker-operations $(B)/test/broker-round
BROKER_TESTS += $(B)/test/broker-backup $(B)/test/broker-ui $(B)/test/broker-service
BROKER_TESTS += $(B)/test/broker-tpm
BROKER_TESTS += $(B)/test/broker-token $(B)/test/broker-svid $(B)/test/broker-devices
BROKER_TESTS += $(B)/test/broker-db $(B)/test/broker-brokers
BROKER_TESTS += $(B)/test/broker-identity $(B)/test/broker-approval
BROKER_TESTS += $(B)/test/broker-ohttp
BROKER_TESTS += $(B)/test/broker-secrets $(B)/test/broker-rekey $(B)/test/broker-algorithms
UNIT_TESTS += $(BROKER_TESTS)
TEST_BINS += $(BROKER_TESTS)

$(B)/test/broker-master: $(B)/obj/tests/broker/softhsm.o
$(B)/obj/tests/broker/softhsm.o: CFLAGS += -isystem /usr/include/p11-kit-1
$(B)/test/broker-db $(B)/test/broker-brokers $(B)/test/broker-secrets $(B)/test/broker-rekey $(B)/test/broker-backup: $(B)/obj/tests/broker/pg.o
$(B)/test/broker-backup $(B)/test/broker-rekey: $(B)/obj/tests/broker/command.o
$(B)/test/broker-secrets $(B)/test/broker-algorithms: $(B)/obj/tests/broker/keys.o
$(B)/test/broker-tees $(B)/test/broker-tpm $(B)/test/broker-identity $(B)/test/broker-devices: $(patsubst %.c,$(B)/obj/%.o,$(wildcard tests/attest/make/*.c))
$(B)/test/broker-%: $(B)/obj/tests/broker/%.o $(B)/obj/tests/broker/harness.o $(B)/lib/libcoffer.a
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $(filter-out %.a,$^) $(filter %.a,$^) $(COFFER_LIBS)
.SECONDARY: $(BROKER_TESTS:$(B)/test/broker-%=$(B)/obj/tests/broker/%.o) $(B)/obj/tests/broker/harness.o

# A million callers race for one use at a time; a broker is killed a hundred times with requests in flight.
.PHONY: soak-secrets
soak: soak-secrets
soak-secrets: $(B)/test/broker-secrets
	$(Q)COFFER_TEST_RACE=6250 COFFER_TEST_KILLS=100 $<

# The service in a real systemd; makes a Debian in a folder.
.PHONY: test-systemd
test-systemd: bins
	$(Q)tests/broker/systemd
