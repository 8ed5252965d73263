// SPDX-License-Identifier: Apache-2.0
// A launcher lives as long as its enclave and does next to nothing; the pages of libcrypto that it touched at the start are most of
// its memory. A private file mapping without anonymous pages has nothing to lose by MADV_DONTNEED (man 2 madvise).
#include "host/trim.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

void trim_clean_pages(void)
{
	char line[512];
	unsigned long start = 0, end = 0, kb;
	bool candidate = false;
	FILE *f = fopen("/proc/self/smaps", "re");

	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		unsigned long a, b, inode;
		char perms[8];

		if (sscanf(line, "%lx-%lx %7s %*s %*s %lu", &a, &b, perms, &inode) == 4) {
			start = a;
			end = b;
			candidate = inode && perms[1] == '-' && perms[3] == 'p';
		} else if (candidate && sscanf(line, "Anonymous: %lu kB", &kb) == 1) {
			if (!kb)
				madvise((void *)start, end - start, MADV_DONTNEED);
			candidate = false;
		}
	}
	fclose(f);
}
