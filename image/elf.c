// SPDX-License-Identifier: Apache-2.0
// The ELF reader behind `coffer copy` (see elf.h). Touches only the bytes it is given.
#include "image/elf.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_HEADERS = 4096, MOST_DYNAMIC = 65536, LONGEST_NAME = 4096 };

struct view {
	const uint8_t *bytes;
	size_t len;
};

// Copies a structure out of the file: its place may be unaligned, and is checked.
static bool fetch(const struct view *v, uint64_t offset, void *out, size_t size)
{
	if (offset > v->len || size > v->len - offset)
		return false;
	memcpy(out, v->bytes + offset, size);
	return true;
}

bool elf_is(const void *bytes, size_t len)
{
	return len >= SELFMAG && !memcmp(bytes, ELFMAG, SELFMAG);
}

const char *elf_machine_name(uint16_t machine, uint8_t class)
{
	switch (machine) {
	case EM_X86_64: return class == ELFCLASS64 ? "x86-64" : "x32 (x86-64 with 32-bit pointers)";
	case EM_386: return "32-bit x86";
	case EM_AARCH64: return "AArch64";
	case EM_ARM: return "32-bit ARM";
	case EM_PPC64: return "PowerPC 64";
	case EM_S390: return "S/390";
	case EM_RISCV: return "RISC-V";
	case EM_MIPS: return "MIPS";
	case 258: return "LoongArch";
	default: return "an unknown machine";
	}
}

// The string at `offset` of the table [start, start + size), or NULL.
static char *table_string(const struct view *v, uint64_t start, uint64_t size, uint64_t offset)
{
	const char *s;
	size_t room;

	if (offset >= size || start > v->len || size > v->len - start)
		return NULL;
	room = (size_t)(size - offset);
	if (room > LONGEST_NAME)
		room = LONGEST_NAME;
	s = (const char *)v->bytes + start + offset;
	return memchr(s, '\0', room) ? xstrdup(s) : NULL;
}

// Where the byte at address `address` is in the file: the loadable segment that holds it says so.
static bool file_offset(const struct view *v, const Elf64_Ehdr *h, uint64_t address, uint64_t *offset, uint64_t *room)
{
	for (unsigned int i = 0; i < h->e_phnum; i++) {
		Elf64_Phdr ph;

		if (!fetch(v, h->e_phoff + i * sizeof(ph), &ph, sizeof(ph)))
			return false;
		if (ph.p_type == PT_LOAD && address >= ph.p_vaddr && address - ph.p_vaddr < ph.p_filesz) {
			*offset = ph.p_offset + (address - ph.p_vaddr);
			*room = ph.p_filesz - (address - ph.p_vaddr);
			return *offset >= ph.p_offset && *offset < v->len;
		}
	}
	return false;
}

static int read_dynamic(struct elf_file *e, const struct view *v, const Elf64_Ehdr *h, const Elf64_Phdr *dynamic,
			struct fault *p)
{
	uint64_t count = dynamic->p_filesz / sizeof(Elf64_Dyn), table = 0, table_size = 0, offset, room;
	Elf64_Dyn d;

	if (dynamic->p_offset > v->len || dynamic->p_filesz > v->len - dynamic->p_offset || count > MOST_DYNAMIC)
		return fault_set(p, -EINVAL, "its dynamic section lies outside the file (cut short?)");
	for (uint64_t i = 0; i < count; i++) {
		fetch(v, dynamic->p_offset + i * sizeof(d), &d, sizeof(d));
		if (d.d_tag == DT_NULL)
			break;
		if (d.d_tag == DT_STRTAB)
			table = d.d_un.d_ptr;
		if (d.d_tag == DT_STRSZ)
			table_size = d.d_un.d_val;
	}
	if (!table)
		return 0;
	if (!file_offset(v, h, table, &offset, &room) || table_size > room || table_size > v->len - offset)
		return fault_set(p, -EINVAL, "its dynamic string table lies outside the file (cut short?)");
	for (uint64_t i = 0; i < count; i++) {
		char **path = NULL, *s;

		fetch(v, dynamic->p_offset + i * sizeof(d), &d, sizeof(d));
		if (d.d_tag == DT_NULL)
			break;
		if (d.d_tag == DT_RPATH)
			path = &e->rpath;
		else if (d.d_tag == DT_RUNPATH)
			path = &e->runpath;
		else if (d.d_tag != DT_NEEDED)
			continue;
		s = table_string(v, offset, table_size, d.d_un.d_val);
		if (!s)
			return fault_set(p, -EINVAL, "a name in its dynamic section lies outside its string table");
		if (path) {
			free(*path);
			*path = s;
		} else {
			string_list_add(&e->needed, s);
			free(s);
		}
	}
	return 0;
}

static int read_segments(struct elf_file *e, const struct view *v, const Elf64_Ehdr *h, struct fault *p)
{
	for (unsigned int i = 0; i < h->e_phnum; i++) {
		Elf64_Phdr ph;
		int err = 0;

		fetch(v, h->e_phoff + i * sizeof(ph), &ph, sizeof(ph));
		if ((ph.p_type == PT_LOAD || ph.p_type == PT_INTERP) &&
		    (ph.p_offset > v->len || ph.p_filesz > v->len - ph.p_offset))
			return fault_set(p, -EINVAL, "a segment lies outside the file: the file is cut short");
		if (ph.p_type == PT_INTERP && !e->interpreter) {
			e->interpreter = table_string(v, ph.p_offset, ph.p_filesz, 0);
			if (!e->interpreter || e->interpreter[0] != '/')
				return fault_set(p, -EINVAL, "the name of its interpreter is damaged");
		}
		if (ph.p_type == PT_DYNAMIC && !e->needed.count)
			err = read_dynamic(e, v, h, &ph, p);
		if (err)
			return err;
	}
	return 0;
}

int elf_read(struct elf_file *e, const void *bytes, size_t len, struct fault *p)
{
	struct view v = {bytes, len};
	Elf64_Ehdr h;
	int err;

	*e = (struct elf_file){0};
	if (!elf_is(bytes, len))
		return fault_set(p, -EINVAL, "not an ELF file");
	if (!fetch(&v, 0, &h, sizeof(h)))
		return fault_set(p, -EINVAL, "corrupt ELF file: its header is cut short");
	e->class = h.e_ident[EI_CLASS];
	e->machine = h.e_machine;
	e->type = h.e_type;
	if (h.e_ident[EI_DATA] != ELFDATA2LSB)
		return fault_set(p, -ENOEXEC, "built for a big-endian machine; this enclave runs x86-64 programs");
	if (e->class != ELFCLASS64 || e->machine != EM_X86_64)
		return fault_set(p, -ENOEXEC, "built for %s; this enclave runs x86-64 programs",
				   elf_machine_name(e->machine, e->class));
	if (h.e_ident[EI_OSABI] != ELFOSABI_SYSV && h.e_ident[EI_OSABI] != ELFOSABI_GNU)
		return fault_set(p, -ENOEXEC, "not built for Linux (its OS ABI is %u)", h.e_ident[EI_OSABI]);
	if (h.e_type != ET_EXEC && h.e_type != ET_DYN)
		return 0;
	if (h.e_phentsize != sizeof(Elf64_Phdr) || !h.e_phnum || h.e_phnum > MOST_HEADERS || h.e_phoff > len ||
	    h.e_phnum * sizeof(Elf64_Phdr) > len - h.e_phoff)
		return fault_set(p, -EINVAL, "corrupt ELF file: its program headers lie outside the file");
	err = read_segments(e, &v, &h, p);
	if (err) {
		char *why = xstrdup(p->text);

		fault_set(p, err, "corrupt ELF file: %s", why);
		free(why);
		elf_free(e);
	}
	return err;
}

void elf_free(struct elf_file *e)
{
	free(e->interpreter);
	string_list_free(&e->needed);
	free(e->rpath);
	free(e->runpath);
	*e = (struct elf_file){0};
}
