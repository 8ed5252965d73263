# SPDX-License-Identifier: Apache-2.0
# What the enclave kernel compiles and links of the sealed volume; included by kernel/build.mk, which needs it first.
SEAL_LIB_SRC = seal/sha256.c seal/gcm.c seal/block.c seal/key.c seal/refs.c seal/space.c seal/memo.c seal/node.c seal/inode.c seal/icache.c seal/dir.c seal/file.c \
	seal/name.c seal/xattr.c seal/snap.c seal/clone.c seal/falloc.c seal/reloc.c seal/resize.c seal/work.c seal/scrub.c seal/root.c seal/anchor.c seal/log.c seal/overlay.c seal/commit.c seal/volume.c seal/fsck.c seal/repair.c seal/repair_names.c
IPSEC_MB = /usr/lib/x86_64-linux-gnu/libIPSec_MB.a
KSEAL = $(SEAL_LIB_SRC)
KLIBS = $(IPSEC_MB)
