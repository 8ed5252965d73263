// SPDX-License-Identifier: Apache-2.0
// Fuzzes the checker of seccomp filters: whatever it takes must run to its end, inside the program and its scratch words
// (the sanitizers see to that), and must not look at a scratch word that was never stored.
#include "kernel/task/bpf.c"

void *malloc(size_t n);
void free(void *p);
int LLVMFuzzerTestOneInput(const u8 *data, size_t size);

int LLVMFuzzerTestOneInput(const u8 *data, size_t size)
{
	struct seccomp_data d = {.nr = 1, .arch = 0xc000003e, .instruction_pointer = 0x123456789abc, .args = {1, 2, 3, 0, 5, ~0ul}};
	u32 n = (u32)(size / sizeof(struct sock_filter));
	struct sock_filter *f = malloc(n * sizeof(*f) + 1); // exactly as long as the program
	bool uses_ip;

	memcpy(f, data, n * sizeof(*f));
	if (!bpf_check(f, n, &uses_ip)) {
		u32 a = bpf_run(f, &d);
		d.instruction_pointer ^= ~0ul;
		if (!uses_ip && bpf_run(f, &d) != a)
			__builtin_trap();
	}
	free(f);
	return 0;
}
