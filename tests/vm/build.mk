# SPDX-License-Identifier: Apache-2.0
# Kernel behaviour on CPUs that qemu emulates. Not part of ./test: it takes minutes, and downloads a kernel for the guest.
# test-pku: what meets the gate between programs and kernel, and the kernel's memory. soak-pku: every case.

PKU_CASES ?= pku guard fault abi bigtext signal fork exec spawn thread ptrace mmap process_vm seccomp futex pipe timer limits

.PHONY: test-pku soak-pku
test-pku: bins
	$(Q)B=$(B) tests/vm/run $(PKU_CASES)
soak-pku: bins
	$(Q)B=$(B) tests/vm/run -t 7200
