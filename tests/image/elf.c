// SPDX-License-Identifier: Apache-2.0
// The ELF reader on a real program, on every prefix of it, and with each header byte changed.
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "image/elf.h"
#include "tests/image/unit.h"

static int try_read(const char *bytes, size_t len, struct fault *f)
{
	char *copy = malloc(len ? len : 1);	// exact size, so that a sanitizer sees each byte too far
	struct elf_file e;
	int err;

	memcpy(copy, bytes, len);
	err = elf_read(&e, copy, len, f);
	if (!err)
		elf_free(&e);
	free(copy);
	return err;
}

int main(void)
{
	struct text file = {0};
	struct fault f = {0};
	struct elf_file e;
	bool good = true;
	char *changed;

	if (text_read_file(&file, "/bin/ls", 16 << 20, &f) || elf_read(&e, file.data, file.len, &f)) {
		unit_check(false, "elf_real_program", f.text);
		return 1;
	}
	unit_check(e.interpreter && !strcmp(e.interpreter, "/lib64/ld-linux-x86-64.so.2"), "elf_interpreter", e.interpreter);
	unit_check(string_list_has(&e.needed, "libc.so.6"), "elf_needed", "libc.so.6 is not among its libraries");
	elf_free(&e);

	for (size_t len = 0; len < 6000; len += len < 1200 ? 1 : 97)
		good &= try_read(file.data, len, &f) < 0;
	unit_check(good, "elf_cut_short", "a cut file was accepted");
	try_read(file.data, file.len / 2, &f);
	unit_check(strstr(f.text, "cut short"), "elf_cut_short_message", f.text);

	changed = malloc(file.len);
	good = true;
	for (size_t i = 0; i < 1024; i++) {
		memcpy(changed, file.data, file.len);
		changed[i] = (char)~changed[i];
		f.text[0] = '\0';
		int err = try_read(changed, file.len, &f);
		good &= err < 0 ? f.text[0] != '\0' : i >= SELFMAG && i != EI_DATA && i != EI_OSABI;
	}
	unit_check(good, "elf_changed_headers", "another kind of file was accepted, or refused without a reason");

	memcpy(changed, file.data, file.len);
	changed[18] = (char)EM_AARCH64;
	changed[19] = 0;
	unit_check(try_read(changed, file.len, &f) == -ENOEXEC && strstr(f.text, "AArch64"), "elf_other_machine", f.text);
	memcpy(changed, file.data, file.len);
	changed[EI_CLASS] = ELFCLASS32;
	changed[18] = EM_386;
	unit_check(try_read(changed, file.len, &f) == -ENOEXEC && strstr(f.text, "32-bit x86"), "elf_32_bit", f.text);
	unit_check(try_read("#!/bin/sh\n", 10, &f) == -EINVAL, "elf_not_elf", f.text);
	free(changed);
	text_free(&file);
	return unit_failed;
}
