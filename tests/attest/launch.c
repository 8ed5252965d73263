// SPDX-License-Identifier: Apache-2.0
// Launch digests computed beforehand: against answers that others published, against firmware and programs of Debian, and against what real
// machines signed.
#include "attest/launch.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attest/dcap_quote.h"
#include "attest/digest.h"
#include "attest/pe.h"
#include "lib/encode.h"
#include "tests/attest/ok.h"
#include "tests/attest/vectors.h"
#include "tests/folder.h"

#define DEBIAN_OVMF "/usr/share/ovmf/OVMF.fd"
#define DEBIAN_PE "/usr/libexec/fwupd/efi/fwupdx64.efi.signed"

static char folder[64], coffer[512];

// The tables of edk2's OvmfPkgX64 and AmdSevX64.
static const struct launch_section ovmfx64[] = {
	{.gpa = 0x800000, .size = 0x9000, .type = 1}, {.gpa = 0x80a000, .size = 0x3000, .type = 1}, {.gpa = 0x80d000, .size = 0x1000, .type = 2},
	{.gpa = 0x80e000, .size = 0x1000, .type = 3}, {.gpa = 0x80f000, .size = 0x11000, .type = 1},
};
static const struct launch_section amdsev[] = {
	{.gpa = 0x800000, .size = 0x9000, .type = 1}, {.gpa = 0x80a000, .size = 0x3000, .type = 1}, {.gpa = 0x80d000, .size = 0x1000, .type = 2},
	{.gpa = 0x80e000, .size = 0x1000, .type = 3}, {.gpa = 0x80f000, .size = 0x1000, .type = 0x10}, {.gpa = 0x810000, .size = 0x10000, .type = 1},
};

static void make_firmware(struct launch_firmware *fw, const struct launch_section *s, unsigned int n, uint32_t hash_table)
{
	memset(fw, 0, sizeof *fw);
	fw->snp = true;
	fw->reset = 0x80b004;
	fw->hash_table = hash_table;
	memcpy(fw->snp_sections, s, n * sizeof *s);
	fw->snp_count = n;
}

// What the tests of virtee/sev-snp-measure and its port to Go expect (Apache-2.0): digests of firmware, and of guests that boot with it.
static void test_published(void)
{
	static const char small[] = "cab7e085874b3acfdbe2d96dcaa3125111f00c35c6fc9708464c2ae74bfdb048a198cb9a9ccae0b3e5e1a33f5f249819";
	static const char suffix[] = "edcf6d1c57ce868a167c990f58c8667c698269ef9e0803246419eea914186343054d557e1f17acd93b032c106bc70d25";
	static const char image[] = "2027a27bb9f7acfd280e4c7bd68a73973b94bf0756e5b282e004b9395f597b8d0eb4defa7d8f6549375aa4d2b146f0f3";
	static const struct { const char *name, *seed; bool kernels; const char *cmdline; unsigned int vcpus; uint64_t features; enum launch_vmm vmm; const char *want; } rows[] = {
		{"QEMU, kernel, DebugSwap", small, true, "", 1, 0x21, LAUNCH_QEMU,
		 "aa6f24465c304e3ad553a18069510996fc92a84f48ae2140cb95dfbd422cdb14087588fb6eec89ef0a65e6d376d9a300"},
		{"QEMU, kernel", small, true, "", 1, 1, LAUNCH_QEMU,
		 "3c018b826531c5f625f10004d51ee51ab5dbfaf1fdd79998ab649cff11b4afbdb2f50941d2a23b5d77fe00cf988242e7"},
		{"QEMU, kernel, command line, DebugSwap", suffix, true, "console=ttyS0 loglevel=7", 1, 0x21, LAUNCH_QEMU,
		 "2b9ca4d24c46845280fdca6f0ca0edf0f704bf179243e5c1b139acf3668ce7bc040e12d16b2ee8738aeaa39faddc8912"},
		{"QEMU, kernel, command line", suffix, true, "console=ttyS0 loglevel=7", 1, 1, LAUNCH_QEMU,
		 "72b3f3c1ed0df9e5279eb2317a9861be3b878537e8513b318b49c1e184f6228e3ff367d133a8688f430e412ba66f558f"},
		{"QEMU, no kernel", suffix, true, NULL, 1, 0x21, LAUNCH_QEMU,
		 "d35ca073e73701aa476d9d1b2feeee9efd935b7ec9dc43a0105857f506addb48ba3a1d443e5c10db430ad1a436ac5b2c"},
		{"QEMU, four processors", suffix, true, "", 4, 0x21, LAUNCH_QEMU,
		 "6258fc4d3c60d6964de64811587a903f309b9391efdccd448bb8bc39b78c1d153378077ca37e32d06d6ead319a5c7bce"},
		{"QEMU, four processors, SNP alone", suffix, true, "", 4, 1, LAUNCH_QEMU,
		 "74b2f532253c8214df9998ba8df305aa98eb1733c0010014c5ed728b8d1a9fa83df0a0caf047e9cee14087cc79bbc7c9"},
		{"EC2, kernel", suffix, true, "", 1, 1, LAUNCH_EC2,
		 "760b6e51039d2d6c1fc6d38ca5c387967d158e0294883e4522c36f89bd61bfc9cdb975cd1ceedffbe1b23b1daf4e3f42"},
		{"EC2, kernel, DebugSwap", suffix, true, "", 1, 0x21, LAUNCH_EC2,
		 "cd4a4690a1f679ac8f3d6e446aab8d0061d535cc94615d98c7d7dbe4b16dbceeaf7fc7944e7874b202e27041f179e7e6"},
		{"EC2, two processors", image, false, NULL, 2, 1, LAUNCH_EC2,
		 "c2c84b9364fc9f0f54b04534768c860c6e0e386ad98b96e8b98eca46ac8971d05c531ba48373f054c880cfd1f4a0a84e"},
	};
	static struct launch_firmware fw;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint8_t seed[LAUNCH_DIGEST], out[LAUNCH_DIGEST];
		char hex[2 * LAUNCH_DIGEST + 1], label[96];
		struct fault f = {""};
		if (rows[i].kernels)
			make_firmware(&fw, amdsev, 6, 0x80fc00);
		else
			make_firmware(&fw, ovmfx64, 5, 0);
		if (hex_decode(seed, sizeof seed, rows[i].seed))
			abort();
		struct launch_snp in = {.fw = &fw, .so_far = seed, .kernel = rows[i].cmdline ? "" : NULL, .cmdline = rows[i].cmdline, .vcpus = rows[i].vcpus,
					.features = rows[i].features, .vmm = rows[i].vmm};
		int err = launch_vcpu("EPYC-v4", &in.vcpu, &f);
		if (!err)
			err = launch_snp(&in, out, &f);
		snprintf(label, sizeof label, "launch: a published digest: %s", rows[i].name);
		ok(label, !err && !strcmp(hex_encode(hex, out, sizeof out), rows[i].want), "%d %s, %s", err, f.text, hex);
	}
}

static void test_processors(void)
{
	static const struct { const char *name; uint32_t want; } good[] = {
		{"EPYC", 0x800f12}, {"EPYC-v4", 0x800f12}, {"EPYC-IBPB", 0x800f12}, {"EPYC-Rome-v3", 0x830f10}, {"EPYC-Milan", 0xa00f11}, {"EPYC-Milan-v2", 0xa00f11},
		{"EPYC-Genoa-v1", 0xa10f10}, {"EPYC-Turin", 0xb00f00}, {"25-1-1", 0xa00f11}, {"15-2-3", 0xf23},
	};
	static const char *const bad[] = {"", "EPYC-", "EPYC-v", "EPYC-vx", "EPYC-Milano", "EPYC-Milan-v", "25-1", "25-1-1x", "25-256-1", "25-1-16", "Skylake"};
	struct fault f = {""};
	char label[96];
	uint32_t sig;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		snprintf(label, sizeof label, "launch: processor %s", good[i].name);
		sig = 0;
		ok(label, !launch_vcpu(good[i].name, &sig, &f) && sig == good[i].want, "%x %s", sig, f.text);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		snprintf(label, sizeof label, "launch: no processor '%s'", bad[i]);
		ok(label, launch_vcpu(bad[i], &sig, &f) == -ENOENT, "%x", sig);
	}
}

static size_t put32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
	return 4;
}

// One entry of the list, written from its end to its beginning. Returns where the next one ends.
static uint8_t *entry(uint8_t *end, const char *guid, uint32_t word, bool footer)
{
	if (hex_decode(end - 16, 16, guid))
		abort();
	unsigned int size = footer ? word : 22;
	end[-18] = (uint8_t)size;
	end[-17] = (uint8_t)(size >> 8);
	if (!footer)
		put32(end - 22, word);
	return end - (footer ? 18 : 22);
}

#define IMAGE 8192
#define SEV_AT 0x1000	// offsets of the tables
#define TDX_AT 0x1200

static void make_image(uint8_t *b)
{
	for (int i = 0; i < IMAGE; i++)
		b[i] = (uint8_t)(i * 7 + i / 256);
	uint8_t *p = b + SEV_AT;
	memcpy(p, "ASEV", 4);
	p += 4 + put32(p + 4, 16 + 12 * 6);
	p += put32(p, 1);
	p += put32(p, 6);
	for (int i = 0; i < 6; i++) {
		p += put32(p, (uint32_t)amdsev[i].gpa);
		p += put32(p, (uint32_t)amdsev[i].size);
		p += put32(p, amdsev[i].type);
	}
	static const uint32_t tdx[3][8] = {	// offset, bytes, address, size, type, attributes
		{0, IMAGE, 0xffffe000, 0, IMAGE, 0, 0, 1}, {0, 0, 0x810000, 0, 0x3000, 0, 3, 0}, {0, 0, 0x900000, 0, 0x2000, 0, 4, 2},
	};
	p = b + TDX_AT;
	memcpy(p, "TDVF", 4);
	p += 4 + put32(p + 4, 16 + 32 * 3);
	p += put32(p, 1);
	p += put32(p, 3);
	for (int i = 0; i < 24; i++)
		p += put32(p, tdx[i / 8][i % 8]);
	p = b + IMAGE - 32;
	p = entry(p, "de82b596b21ff745baeaa366c55a082d", 18 + 4 * 22, true);
	p = entry(p, "35657ae44a989847865e4685a7bf8ec2", IMAGE - TDX_AT, false);
	p = entry(p, "666588dc4a989847a75e5585a7bf67cc", IMAGE - SEV_AT, false);
	p = entry(p, "de71f7007e1acb4f890e68c77e2fb44e", 0x80b004, false);
	entry(p, "1f3755723b3a044b927b1da6efa8d454", 0x80fc00, false);
}

static void refused(const char *name, size_t at, uint32_t value, int size, const char *why)
{
	static struct launch_firmware fw;
	uint8_t b[IMAGE];
	char label[96];
	struct fault f = {""};
	make_image(b);
	for (int i = 0; i < size; i++)
		b[at + (size_t)i] = (uint8_t)(value >> 8 * i);
	int err = launch_firmware_read(b, IMAGE, &fw, &f);
	snprintf(label, sizeof label, "launch: no firmware: %s", name);
	ok(label, err == -EINVAL && strstr(f.text, why), "%d %s", err, f.text);
}

static void test_tables(void)
{
	static struct launch_firmware fw, other;
	uint8_t b[IMAGE], a[LAUNCH_DIGEST], c[LAUNCH_DIGEST];
	struct fault f = {""};
	make_image(b);
	int err = launch_firmware_read(b, IMAGE, &fw, &f);
	ok("launch: the tables of a firmware", !err && fw.snp && fw.tdx && fw.reset == 0x80b004 && fw.hash_table == 0x80fc00 && fw.snp_count == 6 &&
	   !memcmp(fw.snp_sections, amdsev, sizeof amdsev) && fw.tdx_count == 3 && fw.tdx_sections[2].attributes == 2, "%d %s", err, f.text);
	struct launch_snp in = {.fw = &fw, .kernel = "k", .kernel_len = 1, .vcpus = 1, .features = 1};
	const struct launch_snp with = in;
	launch_snp(&in, a, &f);
	in.initrd = "i";
	in.initrd_len = 1;
	launch_snp(&in, c, &f);
	ok("launch: an initrd counts", memcmp(a, c, sizeof a), "it does not");
	in = with;
	in.cmdline = "x";
	launch_snp(&in, c, &f);
	ok("launch: a command line counts", memcmp(a, c, sizeof a), "it does not");
	in = with;
	in.vcpu = 1;
	launch_snp(&in, c, &f);
	ok("launch: the kind of processor counts", memcmp(a, c, sizeof a), "it does not");
	make_firmware(&other, ovmfx64, 5, 0);
	in = with;
	in.fw = &other;
	in.so_far = a;
	ok("launch: a kernel that the firmware cannot measure", launch_snp(&in, c, &f) == -EINVAL && strstr(f.text, "disks only"), "%s", f.text);
	other.reset = 0;
	in = (struct launch_snp){.fw = &other, .so_far = a, .vcpus = 2, .features = 1};
	ok("launch: a firmware for one processor", launch_snp(&in, c, &f) == -EINVAL && strstr(f.text, "one only"), "%s", f.text);
	in.vcpus = 0;
	ok("launch: no processor at all", launch_snp(&in, c, &f) == -EINVAL, "%s", f.text);
	other.snp_sections[0].type = 9;
	in.vcpus = 1;
	ok("launch: a section of an unknown kind", launch_snp(&in, c, &f) == -EINVAL && strstr(f.text, "unknown kind 9"), "%s", f.text);
	ok("launch: no metadata for TDX", launch_tdx(&other, false, c, &f) == -EINVAL, "%s", f.text);
	launch_tdx(&fw, false, a, &f);
	launch_tdx(&fw, true, c, &f);
	ok("launch: the order of adding counts", memcmp(a, c, sizeof a), "it does not");

	const size_t end = IMAGE - 32;
	refused("no footer", end - 1, 0, 1, "no table of GUIDs");
	refused("a list longer than the file", end - 18, 0xffff, 2, "bytes long");
	refused("a list shorter than its footer", end - 18, 17, 2, "bytes long");
	refused("an entry shorter than itself", end - 18 - 18, 17, 2, "malformed");
	refused("an entry longer than the list", end - 18 - 18, 0x7fff, 2, "malformed");
	refused("TDX metadata outside the file", end - 18 - 22, 0x7fffffff, 4, "TDX metadata are malformed");
	refused("TDX metadata at the end of the file", end - 18 - 22, 8, 4, "TDX metadata are malformed");
	refused("TDX metadata of version 2", TDX_AT + 8, 2, 4, "another version");
	refused("too many TDX sections", TDX_AT + 12, 1000, 4, "1000 sections");
	refused("a TDX section outside the file", TDX_AT + 16, IMAGE + 1, 4, "section 0");
	refused("a TDX section that ends outside the file", TDX_AT + 16, 1, 4, "section 0");
	refused("a TDX section of half a page", TDX_AT + 16 + 16, 100, 4, "section 0");
	refused("a TDX section beyond all memory", TDX_AT + 16 + 32 + 20, 1, 4, "section 1");
	refused("SEV metadata of version 2", SEV_AT + 8, 2, 4, "another version");
	refused("too many SEV sections", SEV_AT + 12, 65, 4, "65 sections");
	refused("more SEV sections than there is room for", SEV_AT + 12, 7, 4, "7 sections");
	refused("a SEV section of half a page", SEV_AT + 16 + 4, 0x800, 4, "section 0");
	refused("a SEV section of 4 GiB", SEV_AT + 16 + 4, 0xfffff000, 4, "section 0");
	ok("launch: no firmware: half a page", launch_firmware_read(b, 2048, &fw, &f) == -EINVAL, "taken");
	memset(b, 0, sizeof b);
	entry(b + IMAGE - 32, "de82b596b21ff745baeaa366c55a082d", 18, true);
	ok("launch: no firmware: no metadata at all", launch_firmware_read(b, IMAGE, &fw, &f) == -EINVAL && strstr(f.text, "neither"), "%s", f.text);
}

// MRTD of Debian's firmware, by the few lines of Python that follow the TDX module's documentation.
static const char oracle[] =
	"import hashlib, struct, sys\n"
	"f = open('" DEBIAN_OVMF "', 'rb').read()\n"
	"at = f.rindex(b'TDVF' + struct.pack('<III', 16 + 32 * 6, 1, 6))\n"
	"h = hashlib.sha384()\n"
	"for i in range(6):\n"
	"    off, raw, gpa, size, kind, attr = struct.unpack_from('<IIQQII', f, at + 16 + 32 * i)\n"
	"    data = f[off:off + raw].ljust(size, b'\\0')\n"
	"    for page in range(0, size, 4096):\n"
	"        if not attr & 2: h.update(struct.pack('<16sQ104x', b'MEM.PAGE.ADD', gpa + page))\n"
	"        for c in range(page, page + 4096, 256) if attr & 1 else ():\n"
	"            h.update(struct.pack('<16sQ104x', b'MR.EXTEND', gpa + c) + data[c:c + 256])\n"
	"print(h.hexdigest())\n";

// Runs commands in the folder; $C is coffer.
static void expect(const char *name, const char *commands, int code, const char *text)
{
	static char out[64 << 10], line[4096];
	snprintf(line, sizeof line, "cd %s && C=%s && { %s; } 2>&1", folder, coffer, commands);
	FILE *p = popen(line, "r");
	size_t n = p ? fread(out, 1, sizeof out - 1, p) : 0;
	out[n] = '\0';
	int status = p ? pclose(p) : -1, rc = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	ok(name, rc == code && strstr(out, text), "exit code %d: %s", rc, out);
}

static void test_debian(void)
{
	char path[128];
	if (access(DEBIAN_OVMF, R_OK)) {
		skip("coffer reference launch", "the package ovmf is not installed");
		return;
	}
	snprintf(path, sizeof path, "%s/oracle.py", folder);
	if (file_write(path, oracle, strlen(oracle), 0600, false, NULL))
		abort();
	expect("coffer reference launch tdx: Debian's firmware", "echo $(/usr/bin/python3 oracle.py) >want; $C reference launch tdx --firmware " DEBIAN_OVMF " >have; "
	       "[ \"tdx.mr_td=$(cat want)\" = \"$(cat have)\" ] && cat have || { cat want have; false; }", 0, "tdx.mr_td=");
	expect("coffer reference launch snp: Debian's firmware", "$C reference launch snp --firmware " DEBIAN_OVMF " --vcpus 2 --vcpu-type EPYC-Milan --json", 0,
	       "{\"measurement\":\"");
	expect("coffer reference launch snp: it boots from disks only", "$C reference launch snp --firmware " DEBIAN_OVMF " --vcpu-type EPYC --kernel /dev/null", 1,
	       "disks only");
	expect("coffer reference launch --add", "$C reference keygen k && $C reference launch snp --firmware " DEBIAN_OVMF " --vcpu-type EPYC-Genoa --add d.ref --key k "
	       "--name guests --note 'Genoa, 1 vCPU' && $C reference verify d.ref --key k.pub", 0, "Genoa, 1 vCPU");
	expect("coffer reference launch --add, again", "$C reference launch snp --firmware " DEBIAN_OVMF " --vcpu-type EPYC-Genoa --add d.ref --key k --name guests", 0,
	       "has them already");
	expect("coffer reference launch: no firmware", "$C reference launch tdx --firmware oracle.py", 1, "not a firmware");
	expect("coffer reference launch: no hardware", "$C reference launch sgx --firmware oracle.py", 2, "which hardware");
	expect("coffer reference launch: no processor", "$C reference launch snp --firmware " DEBIAN_OVMF, 2, "--vcpu-type");
	expect("coffer reference launch: SNP off", "$C reference launch snp --firmware x --vcpu-type EPYC --features 0x20", 2, "must be on");
}

// The digest of a signed program stands in its signature, where its maker put it.
static void test_programs(void)
{
	static const uint8_t before[] = {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20};
	uint8_t digest[DIGEST_MAX];
	struct fault f = {""};
	char *b;
	size_t len;
	if (file_read(DEBIAN_PE, 8 << 20, &b, &len, NULL)) {
		skip("launch: a signed program's digest", "the package fwupd-amd64-signed is not installed");
		return;
	}
	const uint8_t *at = memmem(b, len, before, sizeof before);
	int err = pe_digest(b, len, TPM_SHA256, digest, &f);
	ok("launch: a signed program's digest", !err && at && !memcmp(at + sizeof before, digest, 32), "%d %s", err, f.text);
	size_t bad = 0;
	for (size_t n = 0; n < len; n += n < 1024 ? 1 : 997) {
		char *cut = malloc(n + 1);	// so that sanitizers see where it ends
		memcpy(cut, b, n);
		bad += pe_digest(cut, n, TPM_SHA384, digest, &f) == 0;
		free(cut);
	}
	ok("launch: a program that is cut short", !bad, "%zu were taken", bad);
	free(b);
	ok("launch: no program", pe_digest("MZ", 2, TPM_SHA384, digest, &f) == -EINVAL, "taken");
}

// A genuine quote and its log: the registers come out as the hardware signed them.
static void test_registers(void)
{
	size_t len, log_len;
	struct dcap_quote q;
	char *quote = vector_read("tdx/gcp-ccel/cos-113-tdx-quote.dat", &len), *log = vector_read("tdx/gcp-ccel/ccel_data.dat", &log_len), path[128];
	char want[1024], hex[97];
	size_t n = 0;
	if (!quote || !log || access(coffer, X_OK)) {
		skip("coffer reference launch tdx --event-log", "the vectors are not here");
	} else if (!dcap_quote_parse((uint8_t *)quote, len, &q, NULL)) {
		snprintf(path, sizeof path, "%s/log", folder);
		if (file_write(path, log, log_len, 0600, false, NULL))
			abort();
		for (int i = 0; i < 4; i++)
			n += (size_t)snprintf(want + n, sizeof want - n, "tdx.rtmr_%d=%s\n", i, hex_encode(hex, q.td.rtmr[i], 48));
		expect("coffer reference launch tdx: the registers of a real machine", "$C reference launch tdx --event-log log", 0, want);
		// The same by the verifier's claims; without collateral other checks fail.
		snprintf(path, sizeof path, "%s/quote", folder);
		if (file_write(path, quote, len, 0600, false, NULL))
			abort();
		expect("coffer reference launch tdx: the quote meets them", "$C reference keygen r && $C reference launch tdx --event-log log --add r.ref --key r --name r && "
		       "$C verify quote --event-log log --reference r.ref --reference-key r.pub >page; grep -c '^  ok      tdx.rtmr_[0-3] ' page", 0, "\n4\n");
		expect("coffer reference launch tdx: an initrd that the log does not show", "$C reference launch tdx --event-log log --initrd log", 1, "another boot");
	}
	free(quote);
	free(log);
}

int main(int argc, char **argv)
{
	char *slash = strrchr(argv[0], '/'), here[256];
	(void)argc;
	if (!getcwd(here, sizeof here))
		return 1;
	bool absolute = argv[0][0] == '/';
	snprintf(coffer, sizeof coffer, "%s%s%.*s../bin/coffer", absolute ? "" : here, absolute ? "" : "/", slash ? (int)(slash + 1 - argv[0]) : 0, argv[0]);
	if (!test_folder(folder, "launch"))
		return 1;
	test_published();
	test_processors();
	test_tables();
	test_debian();
	test_programs();
	test_registers();
	return ok_failed != 0;
}
