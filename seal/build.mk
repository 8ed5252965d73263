# SPDX-License-Identifier: Apache-2.0
# The sealed volume: hosted objects for tools and tests, and the list that the kernel compiles again for itself.
SEAL_LIB_SRC = seal/sha256.c seal/gcm.c seal/block.c seal/space.c seal/node.c seal/inode.c seal/dir.c seal/file.c \
	seal/name.c seal/xattr.c seal/root.c seal/commit.c seal/volume.c seal/fsck.c
SEAL_TOOL_SRC =
IPSEC_MB = /usr/lib/x86_64-linux-gnu/libIPSec_MB.a

COFFER_OBJS += $(patsubst %.c,$(B)/obj/%.o,$(SEAL_LIB_SRC) $(SEAL_TOOL_SRC))
COFFER_LIBS += $(IPSEC_MB)

SEAL_TESTS = crypt model
SEAL_TEST_BINS = $(SEAL_TESTS:%=$(B)/test/seal-%)
TEST_BINS += $(SEAL_TEST_BINS)
UNIT_TESTS += $(SEAL_TEST_BINS)

$(B)/test/seal-%: $(B)/obj/tests/seal/%.o $(B)/obj/tests/seal/mem.o $(B)/lib/libcoffer.a
	@mkdir -p $(@D)
	@echo "  LD   $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(IPSEC_MB) -lpthread
