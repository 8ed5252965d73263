# SPDX-License-Identifier: Apache-2.0
# Unit tests of the image library.
IMAGE_TESTS = config gateway elf pyimports hashtree build debian rootfs attributes missing
IMAGE_TEST_BINS = $(IMAGE_TESTS:%=$(B)/test/image-%)
TEST_BINS += $(IMAGE_TEST_BINS)
UNIT_TESTS += $(IMAGE_TEST_BINS)

.SECONDARY: $(IMAGE_TESTS:%=$(B)/obj/tests/image/%.o)

$(B)/test/image-%: $(B)/obj/tests/image/%.o $(B)/lib/libcoffer.a
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(COFFER_LIBS)
