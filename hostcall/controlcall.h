// SPDX-License-Identifier: Apache-2.0
// Between init and the kernel: connections of the host's side to the enclave's (kernel/fs/control.c).
#ifndef COFFER_HOSTCALL_CONTROLCALL_H
#define COFFER_HOSTCALL_CONTROLCALL_H

#define COFFER_CONTROL_FILE "/proc/coffer/control"
#define COFFER_CONTROL_ACCEPT 0x4301u	// ioctl: waits for the next connection; a descriptor, closed by exec

#endif
