// SPDX-License-Identifier: Apache-2.0
// What mount(2)'s data argument points to for a sealed volume: `mount("vol0", "/data", "sealed", flags, &key)`.
// Shared by init-attest (which fills it) and the kernel (which copies it in once and wipes its copy). It never leaves
// the enclave's memory. "vol" + index counts the volumes of the host block from 0.
#ifndef COFFER_HOSTCALL_MOUNTKEY_H
#define COFFER_HOSTCALL_MOUNTKEY_H

#define COFFER_MOUNT_KEY_MAGIC 0x4b524643u	// the bytes "CFRK" in memory
#define COFFER_MOUNT_KEY_VERSION 1u
#define COFFER_MOUNT_KEY_BYTES 32

struct coffer_mount_key {
	unsigned int magic;
	unsigned int version;
	unsigned char key[COFFER_MOUNT_KEY_BYTES];
};

_Static_assert(sizeof(struct coffer_mount_key) == 40, "ABI");

#endif
