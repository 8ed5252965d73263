// SPDX-License-Identifier: Apache-2.0
// The scanner behind `coffer syscalls --check` (see scan.h). Functions are told apart by the table of unwind entries
// (.eh_frame_hdr), which nearly all files have; a file without it counts as one function. Within a function the last
// constant that reached EAX before a `syscall` is its number. The bytes are untrusted: every offset is checked.
#include "image/scan.h"

#include <capstone/capstone.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/elf.h"
#include "image/libpath.h"

// Capstone is loaded when it is wanted: its tables would cost every start of the command milliseconds and memory.
static struct {
	typeof(&cs_open) open;
	typeof(&cs_option) option;
	typeof(&cs_malloc) malloc;
	typeof(&cs_free) free;
	typeof(&cs_close) close;
	typeof(&cs_disasm_iter) disasm_iter;
	typeof(&cs_insn_group) insn_group;
} cs;

static bool capstone_load(void)
{
	void *lib = cs.open ? NULL : dlopen("libcapstone.so.4", RTLD_NOW | RTLD_LOCAL);

	if (!cs.open && !lib)
		return false;
#define GET(name) (cs.name = (typeof(cs.name))dlsym(lib, "cs_" #name))
	return cs.open || (GET(option) && GET(malloc) && GET(free) && GET(close) && GET(disasm_iter) && GET(insn_group) && GET(open));
#undef GET
}

enum { MOST_SEGMENTS = 64, MOST_MODULES = 512 };

struct function {
	uint64_t start, end;
	bool reached;
};

struct slot {			// a word that the dynamic linker fills
	uint64_t at;
	uint32_t symbol;	// 0: with an address of this module
	uint64_t target;
};

struct module {
	char *path;
	const uint8_t *bytes;
	size_t len;
	struct elf_file elf;
	bool elf_read;
	Elf64_Phdr segment[MOST_SEGMENTS];
	size_t segments;
	struct function *function;
	size_t functions;
	struct slot *slot;		// sorted by address
	size_t slots;
	uint64_t symtab, strtab, strsz;	// addresses
	uint32_t symbols;
};

struct todo {
	size_t module, function;
};

struct scanner {
	struct scan *result;
	struct libpath libpath;
	struct module *module;
	size_t modules;
	struct todo *todo;
	size_t todos, room;
	csh handle;
	cs_insn *insn;
	struct string_set wanted;	// imported names that were looked up
};

// The bytes at an address of the module, or NULL; *room: how many follow.
static const uint8_t *at(const struct module *m, uint64_t address, size_t *room)
{
	for (size_t i = 0; i < m->segments; i++) {
		const Elf64_Phdr *s = &m->segment[i];
		if (address >= s->p_vaddr && address - s->p_vaddr < s->p_filesz) {
			*room = (size_t)(s->p_filesz - (address - s->p_vaddr));
			return m->bytes + s->p_offset + (address - s->p_vaddr);
		}
	}
	return NULL;
}

static bool fetch(const struct module *m, uint64_t address, void *out, size_t size)
{
	size_t room;
	const uint8_t *p = at(m, address, &room);

	if (!p || room < size)
		return false;
	memcpy(out, p, size);
	return true;
}

static bool is_code(const struct module *m, uint64_t address)
{
	for (size_t i = 0; i < m->segments; i++)
		if (m->segment[i].p_flags & PF_X && address >= m->segment[i].p_vaddr && address - m->segment[i].p_vaddr < m->segment[i].p_filesz)
			return true;
	return false;
}

static const char *symbol_name(const struct module *m, uint32_t n, Elf64_Sym *sym)
{
	size_t room;
	const uint8_t *s;

	if (n >= m->symbols || !fetch(m, m->symtab + (uint64_t)n * sizeof(*sym), sym, sizeof(*sym)) || sym->st_name >= m->strsz)
		return NULL;
	s = at(m, m->strtab + sym->st_name, &room);
	return s && memchr(s, 0, room) ? (const char *)s : NULL;
}

static int by_start(const void *a, const void *b)
{
	const struct function *x = a, *y = b;

	return x->start < y->start ? -1 : x->start > y->start;
}

static int by_place(const void *a, const void *b)
{
	const struct slot *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

static void add_function(struct module *m, uint64_t start)
{
	if (!is_code(m, start))
		return;
	if (!(m->functions & (m->functions - 1)))
		m->function = xrealloc(m->function, (m->functions ? m->functions * 2 : 1) * sizeof(*m->function));
	m->function[m->functions++] = (struct function){ .start = start };
}

// .eh_frame_hdr: version 1, then a sorted table of (function, entry), each a signed 32-bit offset from the header.
static void find_functions(struct module *m, const Elf64_Phdr *hdr)
{
	uint8_t head[4];
	uint32_t count = 0;
	int32_t entry[2];
	size_t kept = 0;

	if (hdr && fetch(m, hdr->p_vaddr, head, 4) && head[0] == 1 && head[1] == 0x1b && head[2] == 0x03 && head[3] == 0x3b)
		fetch(m, hdr->p_vaddr + 8, &count, 4);
	for (uint32_t i = 0; i < count; i++) {
		if (!fetch(m, hdr->p_vaddr + 12 + (uint64_t)i * 8, entry, 8))
			break;
		add_function(m, hdr->p_vaddr + (uint64_t)(int64_t)entry[0]);
	}
	for (size_t i = 0; i < m->segments; i++)
		if (m->segment[i].p_flags & PF_X)
			add_function(m, m->segment[i].p_vaddr);
	if (m->functions)
		qsort(m->function, m->functions, sizeof(*m->function), by_start);
	for (size_t i = 0; i < m->functions; i++)
		if (!kept || m->function[kept - 1].start != m->function[i].start)
			m->function[kept++] = m->function[i];
	m->functions = kept;
	for (size_t i = 0; i < kept; i++) {
		size_t room = 0;
		at(m, m->function[i].start, &room);
		uint64_t limit = m->function[i].start + room;
		m->function[i].end = i + 1 < kept && m->function[i + 1].start < limit ? m->function[i + 1].start : limit;
	}
}

static void read_relocations(struct module *m, uint64_t table, uint64_t size)
{
	Elf64_Rela r;

	for (uint64_t i = 0; i + sizeof(r) <= size && fetch(m, table + i, &r, sizeof(r)); i += sizeof(r)) {
		uint32_t type = (uint32_t)ELF64_R_TYPE(r.r_info), symbol = (uint32_t)ELF64_R_SYM(r.r_info);
		bool own = type == R_X86_64_RELATIVE || type == R_X86_64_IRELATIVE;

		if (!own && type != R_X86_64_JUMP_SLOT && type != R_X86_64_GLOB_DAT && type != R_X86_64_64)
			continue;
		if (!(m->slots & (m->slots - 1)))
			m->slot = xrealloc(m->slot, (m->slots ? m->slots * 2 : 1) * sizeof(*m->slot));
		m->slot[m->slots++] = (struct slot){ r.r_offset, own ? 0 : symbol, own ? (uint64_t)r.r_addend : 0 };
	}
}

// DT_RELR: an address, or (odd) a bitmap of the 63 words behind the last one.
static void read_relr(struct module *m, uint64_t table, uint64_t size)
{
	uint64_t word, next = 0, target;

	for (uint64_t i = 0; i + 8 <= size && fetch(m, table + i, &word, 8); i += 8) {
		for (unsigned int bit = 0; bit < 64; bit++) {
			uint64_t place = word & 1 ? next + (bit - 1) * 8ul : word;

			if (word & 1 ? !bit || !(word >> bit & 1) : bit)
				continue;
			if (!fetch(m, place, &target, 8) || !is_code(m, target))
				continue;
			if (!(m->slots & (m->slots - 1)))
				m->slot = xrealloc(m->slot, (m->slots ? m->slots * 2 : 1) * sizeof(*m->slot));
			m->slot[m->slots++] = (struct slot){ place, 0, target };
		}
		next = word & 1 ? next + 63 * 8 : word + 8;
	}
}

static void read_dynamic(struct module *m, const Elf64_Phdr *dyn)
{
	uint64_t v[DT_NUM + 8] = { 0 }, rela[4] = { 0 };
	Elf64_Dyn d;

	for (uint64_t i = 0; i + sizeof(d) <= dyn->p_filesz && fetch(m, dyn->p_vaddr + i, &d, sizeof(d)) && d.d_tag != DT_NULL; i += sizeof(d))
		if (d.d_tag >= 0 && d.d_tag < DT_NUM + 8)
			v[d.d_tag] = d.d_un.d_val;
	m->symtab = v[DT_SYMTAB];
	m->strtab = v[DT_STRTAB];
	m->strsz = v[DT_STRSZ];
	// linkers put the names right behind the symbols; nothing says how many symbols there are
	if (m->strtab > m->symtab && (m->strtab - m->symtab) / sizeof(Elf64_Sym) < 1u << 24)
		m->symbols = (uint32_t)((m->strtab - m->symtab) / sizeof(Elf64_Sym));
	rela[0] = v[DT_RELA], rela[1] = v[DT_RELASZ], rela[2] = v[DT_JMPREL], rela[3] = v[DT_PLTRELSZ];
	read_relocations(m, rela[0], rela[1]);
	read_relocations(m, rela[2], rela[3]);
	read_relr(m, v[DT_RELR], v[DT_RELRSZ]);
	if (m->slots)
		qsort(m->slot, m->slots, sizeof(*m->slot), by_place);
}

static int open_module(struct module *m, struct fault *p)
{
	const Elf64_Phdr *frames = NULL, *dynamic = NULL;
	static Elf64_Phdr all[4096];
	Elf64_Ehdr h;
	int err = elf_read(&m->elf, m->bytes, m->len, p);

	if (err)
		return err;
	m->elf_read = true;
	memcpy(&h, m->bytes, sizeof(h));
	for (unsigned int i = 0; i < h.e_phnum && i < 4096; i++) {
		uint64_t offset = h.e_phoff + (uint64_t)i * sizeof(Elf64_Phdr);
		if (offset > m->len || m->len - offset < sizeof(Elf64_Phdr))
			break;
		memcpy(&all[i], m->bytes + offset, sizeof(Elf64_Phdr));
		if (all[i].p_type == PT_GNU_EH_FRAME)
			frames = &all[i];
		if (all[i].p_type == PT_DYNAMIC)
			dynamic = &all[i];
		if (all[i].p_type != PT_LOAD || m->segments == MOST_SEGMENTS)
			continue;
		if (all[i].p_offset > m->len || all[i].p_filesz > m->len - all[i].p_offset || all[i].p_vaddr + all[i].p_filesz < all[i].p_vaddr)
			return fault_set(p, -EINVAL, "a segment lies outside the file");
		m->segment[m->segments++] = all[i];
	}
	find_functions(m, frames);
	if (dynamic)
		read_dynamic(m, dynamic);
	return 0;
}

static void reach_function(struct scanner *s, size_t mod, size_t f)
{
	if (s->module[mod].function[f].reached)
		return;
	s->module[mod].function[f].reached = true;
	if (s->todos == s->room) {
		s->room = s->room ? s->room * 2 : 1024;
		s->todo = xrealloc(s->todo, s->room * sizeof(*s->todo));
	}
	s->todo[s->todos++] = (struct todo){ mod, f };
}

static void reach(struct scanner *s, size_t mod, uint64_t address)
{
	struct module *m = &s->module[mod];
	size_t low = 0, high = m->functions;

	while (low < high) { // the last one that begins at or before the address
		size_t middle = (low + high) / 2;
		if (m->function[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low && address < m->function[low - 1].end)
		reach_function(s, mod, low - 1);
}

static void reach_name(struct scanner *s, const char *name)
{
	Elf64_Sym sym;

	if (!string_set_add(&s->wanted, name, NULL))
		return;
	for (size_t mod = 0; mod < s->modules; mod++)
		for (uint32_t i = 1; i < s->module[mod].symbols; i++) {
			const char *n = symbol_name(&s->module[mod], i, &sym);
			if (n && sym.st_shndx != SHN_UNDEF && !strcmp(n, name)) {
				reach(s, mod, sym.st_value);
				if (ELF64_ST_TYPE(sym.st_info) == STT_FUNC)
					return;
			}
		}
}

static const struct slot *slot_at(const struct module *m, uint64_t address)
{
	struct slot key = { .at = address };

	return m->slots ? bsearch(&key, m->slot, m->slots, sizeof(key), by_place) : NULL;
}

static void reach_slot(struct scanner *s, size_t mod, uint64_t address, uint64_t number)
{
	const struct slot *slot = slot_at(&s->module[mod], address);
	const char *name;
	Elf64_Sym sym;

	if (!slot)
		return;
	if (!slot->symbol) {
		reach(s, mod, slot->target);
		return;
	}
	name = symbol_name(&s->module[mod], slot->symbol, &sym);
	if (!name)
		return;
	if (!strcmp(name, "syscall")) { // its number is the first argument
		if (number < SCAN_CALLS)
			s->result->made[number] = true;
		else
			s->result->indirect = true;
		if (number < SCAN_CALLS && !s->result->where[number])
			s->result->where[number] = xasprintf("%s, by syscall(2)", s->module[mod].path);
		return;
	}
	if (!strcmp(name, "dlopen"))
		s->result->loads = true;
	reach_name(s, name);
}

// A stub of the procedure linkage table at `address`: [endbr64] [bnd] jmp *slot(%rip). Its slot, or 0.
static uint64_t stub_slot(const struct module *m, uint64_t address)
{
	static const uint8_t endbr[] = { 0xf3, 0x0f, 0x1e, 0xfa };
	uint8_t b[16];
	size_t i = 0;
	int32_t offset;

	if (!fetch(m, address, b, sizeof(b)))
		return 0;
	if (!memcmp(b, endbr, 4))
		i = 4;
	if (b[i] == 0xf2)
		i++;
	if (b[i] != 0xff || b[i + 1] != 0x25)
		return 0;
	memcpy(&offset, b + i + 2, 4);
	return address + i + 6 + (uint64_t)(int64_t)offset;
}

enum { EAX, ECX, EDX, EBX, EBP, ESI, EDI, REGISTERS = 15, UNKNOWN_REGISTER = REGISTERS };

// Which of the registers whose constants are followed, by its 32- or 64-bit name.
static unsigned int register_of(x86_reg r)
{
	static const x86_reg names[REGISTERS][2] = {
		{ X86_REG_EAX, X86_REG_RAX }, { X86_REG_ECX, X86_REG_RCX }, { X86_REG_EDX, X86_REG_RDX }, { X86_REG_EBX, X86_REG_RBX },
		{ X86_REG_EBP, X86_REG_RBP }, { X86_REG_ESI, X86_REG_RSI }, { X86_REG_EDI, X86_REG_RDI }, { X86_REG_R8D, X86_REG_R8 },
		{ X86_REG_R9D, X86_REG_R9 }, { X86_REG_R10D, X86_REG_R10 }, { X86_REG_R11D, X86_REG_R11 }, { X86_REG_R12D, X86_REG_R12 },
		{ X86_REG_R13D, X86_REG_R13 }, { X86_REG_R14D, X86_REG_R14 }, { X86_REG_R15D, X86_REG_R15 },
	};

	for (unsigned int i = 0; i < REGISTERS; i++)
		if (r == names[i][0] || r == names[i][1])
			return i;
	return UNKNOWN_REGISTER;
}

// A called function leaves nothing in the registers that are its to change.
static void forget(uint64_t *reg)
{
	for (unsigned int i = 0; i < REGISTERS; i++)
		if (i != EBX && i != EBP && i < 11)
			reg[i] = UINT64_MAX;
}

// Follows constants in registers through a function, and what it calls, jumps to or takes the address of.
static void look_at(struct scanner *s, size_t mod, size_t f)
{
	struct module *m = &s->module[mod];
	uint64_t address = m->function[f].start, end = m->function[f].end, reg[REGISTERS + 1];
	size_t size;
	const uint8_t *code = at(m, address, &size);
	cs_insn *in = s->insn;

	if (!code)
		return;
	memset(reg, 0xff, sizeof(reg));
	if (size > end - address)
		size = (size_t)(end - address);
	while (size) {
		if (!cs.disasm_iter(s->handle, &code, &size, &address, in)) { // data among the code
			code++, size--, address++;
			continue;
		}
		cs_x86 *x = &in->detail->x86;
		uint64_t pointed = 0;
		for (unsigned int i = 0; i < x->op_count; i++)
			if (x->operands[i].type == X86_OP_MEM && x->operands[i].mem.base == X86_REG_RIP)
				pointed = in->address + in->size + (uint64_t)x->operands[i].mem.disp;
		if (in->id == X86_INS_SYSCALL) {
			uint64_t nr = reg[EAX];
			if (nr < SCAN_CALLS) {
				s->result->made[nr] = true;
				if (!s->result->where[nr])
					s->result->where[nr] = xstrdup(m->path);
			} else {
				s->result->unknown++;
			}
			reg[EAX] = reg[ECX] = UINT64_MAX;
			continue;
		}
		bool jumps = cs.insn_group(s->handle, in, X86_GRP_JUMP) || cs.insn_group(s->handle, in, X86_GRP_CALL);
		if (jumps && x->op_count == 1 && x->operands[0].type == X86_OP_IMM) {
			uint64_t target = (uint64_t)x->operands[0].imm;
			if (target < m->function[f].start || target >= m->function[f].end || stub_slot(m, target)) {
				uint64_t slot = stub_slot(m, target);
				if (slot)
					reach_slot(s, mod, slot, reg[EDI]);
				else
					reach(s, mod, target);
			}
			if (in->id == X86_INS_CALL)
				forget(reg);
			continue;
		}
		if (pointed && (jumps || in->id == X86_INS_MOV))
			reach_slot(s, mod, pointed, jumps ? reg[EDI] : UINT64_MAX - 1);
		if (pointed && in->id == X86_INS_LEA && is_code(m, pointed))
			reach(s, mod, pointed);
		if (in->id == X86_INS_CALL)
			forget(reg);
		if (!x->op_count || x->operands[0].type != X86_OP_REG || !(x->operands[0].access & CS_AC_WRITE))
			continue;
		unsigned int to = register_of(x->operands[0].reg);
		if (to == UNKNOWN_REGISTER)
			continue;
		if (in->id == X86_INS_MOV && x->operands[1].type == X86_OP_IMM)
			reg[to] = (uint32_t)x->operands[1].imm;
		else if (in->id == X86_INS_MOV && x->operands[1].type == X86_OP_REG)
			reg[to] = reg[register_of(x->operands[1].reg)];
		else if (in->id == X86_INS_XOR && x->operands[1].type == X86_OP_REG && x->operands[0].reg == x->operands[1].reg)
			reg[to] = 0;
		else
			reg[to] = UINT64_MAX;
	}
}

// Maps the file and adds it; its needed libraries follow by name.
static int add_file(struct scanner *s, const char *path, struct fault *p)
{
	struct module *m;
	struct stat st;
	int fd, err;

	if (s->modules == MOST_MODULES)
		return fault_set(p, -E2BIG, "%s needs more than %d libraries", path, MOST_MODULES);
	errno = 0;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st) || !S_ISREG(st.st_mode) || !st.st_size) {
		err = fault_set(p, errno ? -errno : -EINVAL, "%s: cannot be read as a program", path);
		if (fd >= 0)
			close(fd);
		return err;
	}
	m = &s->module[s->modules];
	*m = (struct module){ .path = xstrdup(path), .len = (size_t)st.st_size };
	m->bytes = mmap(NULL, m->len, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	s->modules++;
	if (m->bytes == MAP_FAILED) {
		m->bytes = NULL;
		return fault_set(p, -errno, "%s: %s", path, strerror(errno));
	}
	string_list_add(&s->result->files, path);
	struct fault why;
	err = open_module(m, &why);
	return err ? fault_set(p, err, "%s: %s", path, why.text) : 0;
}

static int add_needed(struct scanner *s, size_t mod, bool musl, struct fault *p)
{
	int err = 0;
	char *origin = xstrdup(s->module[mod].path), *slash = strrchr(origin, '/');

	if (slash)
		*slash = 0;
	for (size_t i = 0; i < s->module[mod].elf.needed.count && !err; i++) {
		const char *name = s->module[mod].elf.needed.items[i];
		struct library_search search = { .elf = &s->module[mod].elf, .origin = origin, .musl = musl };
		char *path, *passed_over;

		if (musl && (!strcmp(name, "libc.so") || starts_with(name, "libc.musl-")))
			continue;
		if (libpath_find(&s->libpath, &search, name, &path, &passed_over) == LIBRARY_MISSING) {
			free(passed_over);
			err = fault_set(p, -ENOENT, "%s needs %s, which is not on this machine", s->module[mod].path, name);
			break;
		}
		free(passed_over);
		char *real = realpath(path, NULL);
		if (real && !string_list_has(&s->result->files, real))
			err = add_file(s, real, p);
		free(real);
		free(path);
	}
	free(origin);
	return err;
}

static int begin(struct scanner *s, struct scan *result, struct fault *p)
{
	*s = (struct scanner){ .result = result, .module = calloc(MOST_MODULES, sizeof(struct module)) };
	if (!capstone_load())
		return fault_set(p, -ENOENT, "the disassembler libcapstone.so.4 is missing: install Debian's package libcapstone4");
	if (!s->module || cs.open(CS_ARCH_X86, CS_MODE_64, &s->handle) != CS_ERR_OK)
		return fault_set(p, -ENOMEM, "the disassembler does not start");
	cs.option(s->handle, CS_OPT_DETAIL, CS_OPT_ON);
	s->insn = cs.malloc(s->handle);
	return s->insn ? 0 : fault_set(p, -ENOMEM, "out of memory");
}

static void finish(struct scanner *s)
{
	for (size_t i = 0; s->module && i < s->modules; i++) {
		struct module *m = &s->module[i];
		if (m->elf_read)
			elf_free(&m->elf);
		free(m->path);
		free(m->function);
		free(m->slot);
	}
	free(s->module);
	free(s->todo);
	if (s->insn)
		cs.free(s->insn, 1);
	if (s->handle)
		cs.close(&s->handle);
	string_set_free(&s->wanted);
}

static void run(struct scanner *s)
{
	Elf64_Sym sym;
	const char *name;

	// the program, and the dynamic linker, which runs in any case: all of their code
	for (size_t mod = 0; mod < s->modules; mod++) {
		struct module *m = &s->module[mod];
		bool whole = !mod || (s->module[0].elf.interpreter && strstr(m->path, "/ld-"));
		for (size_t f = 0; f < m->functions && whole; f++)
			reach_function(s, mod, f);
		for (size_t i = 0; i < m->slots; i++) // pointers in data
			if (!m->slot[i].symbol)
				reach(s, mod, m->slot[i].target);
			else if (mod == 0 && (name = symbol_name(m, m->slot[i].symbol, &sym)) && strcmp(name, "syscall"))
				reach_name(s, name);
	}
	while (s->todos) {
		struct todo t = s->todo[--s->todos];
		look_at(s, t.module, t.function);
	}
}

int scan_program(struct scan *result, const char *path, struct fault *p)
{
	struct scanner s;
	char *real = realpath(path, NULL);
	bool musl;
	int err;

	*result = (struct scan){ 0 };
	if (!real)
		return fault_set(p, -errno, "%s: %s", path, strerror(errno));
	err = begin(&s, result, p);
	libpath_init(&s.libpath, "");
	if (!err)
		err = add_file(&s, real, p);
	if (!err) {
		const char *ld = s.module[0].elf.interpreter;
		musl = ld && strstr(ld, "ld-musl");
		char *linker = ld ? realpath(ld, NULL) : NULL;
		if (ld && !linker)
			err = fault_set(p, -ENOENT, "%s wants the dynamic linker %s, which is not on this machine", path, ld);
		for (size_t mod = 0; mod < s.modules && !err; mod++)
			err = add_needed(&s, mod, musl, p);
		if (!err && linker && !string_list_has(&result->files, linker))
			err = add_file(&s, linker, p);
		free(linker);
	}
	if (!err)
		run(&s);
	for (size_t i = 0; i < s.modules; i++)
		if (s.module[i].bytes)
			munmap((void *)(uintptr_t)s.module[i].bytes, s.module[i].len);
	finish(&s);
	libpath_free(&s.libpath);
	free(real);
	return err;
}

int scan_bytes(struct scan *result, const void *bytes, size_t len, struct fault *p)
{
	struct scanner s;
	int err;

	*result = (struct scan){ 0 };
	err = begin(&s, result, p);
	if (!err) {
		s.module[0] = (struct module){ .path = xstrdup("-"), .bytes = bytes, .len = len };
		s.modules = 1;
		err = open_module(&s.module[0], p);
	}
	if (!err)
		run(&s);
	finish(&s);
	return err;
}

void scan_free(struct scan *s)
{
	for (size_t i = 0; i < SCAN_CALLS; i++)
		free(s->where[i]);
	string_list_free(&s->files);
}
