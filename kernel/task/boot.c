// SPDX-License-Identifier: Apache-2.0
// The measured boot block: parses the manifest strictly and computes the enclave's measurement over its bytes.
#include "kernel/include/boot.h"
#include "kernel/include/kstring.h"
#include "kernel/include/log.h"
#include "kernel/include/platform.h"
#include "kernel/include/task.h"
#include "kernel/include/uapi.h"
#include "kernel/lib/sha2.h"

struct boot_info boot_info __attribute__((section(".sealed.large")));

static const char digits[] = "0123456789abcdef";

static void to_hex(char *out, const u8 *in, u32 n)
{
	for (u32 i = 0; i < n; i++) {
		out[2 * i] = digits[in[i] >> 4];
		out[2 * i + 1] = digits[in[i] & 15];
	}
	out[2 * n] = 0;
}

static int from_hex(u8 *out, const char *s, size_t len, u32 n)
{
	if (len != 2 * n)
		return -EINVAL;
	for (u32 i = 0; i < 2 * n; i++) {
		const char *d = strchr(digits, s[i]);
		if (!d || !*d)
			return -EINVAL;
		out[i / 2] = (u8)(out[i / 2] << 4 | (d - digits));
	}
	return 0;
}

static int number(const char *s, size_t len, u64 *v)
{
	char b[24];

	if (!len || len >= sizeof(b))
		return -EINVAL;
	memcpy(b, s, len);
	b[len] = 0;
	return kstrtou64(b, NULL, v);
}

static bool is(const char *s, size_t len, const char *word) { return len == strlen(word) && !memcmp(s, word, len); }

static int ports(const char *s, size_t len, u16 *out, u32 *n)
{
	while (len) {
		const char *plus = memchr(s, '+', len);
		size_t k = plus ? (size_t)(plus - s) : len;
		u64 v;
		if (number(s, k, &v) || !v || v > 65535 || *n == BOOT_MAX_PORTS)
			return -EINVAL;
		out[(*n)++] = (u16)v;
		len -= plus ? k + 1 : k;
		s += plus ? k + 1 : k;
	}
	return 0;
}

// A limit that the owner set.
static int limit(const char *s, size_t len, u32 *out)
{
	u64 n;

	if (number(s, len, &n) || !n || n > U32_MAX)
		return -EINVAL;
	*out = (u32)n;
	return 0;
}

// One measured platform option, key=value.
static int option(const char *s, size_t len)
{
	const char *eq = memchr(s, '=', len);
	size_t kl = eq ? (size_t)(eq - s) : 0, vl = eq ? len - kl - 1 : 0;
	const char *v = eq ? eq + 1 : s;
	u64 n;

	if (!eq)
		return -EINVAL;
	if (is(s, kl, "memory")) {
		if (number(v, vl, &n) || n < (64ul << 20))
			return -EINVAL;
		boot_info.memory_bytes = n;
		return 0;
	}
	if (is(s, kl, "debug")) {
		boot_info.debug = is(v, vl, "1");
		return boot_info.debug || is(v, vl, "0") ? 0 : -EINVAL;
	}
	if (is(s, kl, "rseq")) {
		boot_info.rseq = is(v, vl, "1");
		return boot_info.rseq || is(v, vl, "0") ? 0 : -EINVAL;
	}
	if (is(s, kl, "cpus"))
		return limit(v, vl, &boot_info.cpus);
	if (is(s, kl, "processes"))
		return limit(v, vl, &boot_info.processes);
	if (is(s, kl, "descriptors"))
		return limit(v, vl, &boot_info.descriptors);
	if (is(s, kl, "files"))
		return limit(v, vl, &boot_info.files);
	if (is(s, kl, "exec")) {
		boot_info.exec = is(v, vl, "1");
		return boot_info.exec ? 0 : -EINVAL;
	}
	if (is(s, kl, "listen"))
		return ports(v, vl, boot_info.listen_ports, &boot_info.nlisten);
	if (is(s, kl, "shield"))
		return ports(v, vl, boot_info.shield_ports, &boot_info.nshield);
	if (is(s, kl, "gateway")) {
		boot_info.gateway = is(v, vl, "1");
		return boot_info.gateway ? 0 : -EINVAL;
	}
	if (is(s, kl, "connect")) {
		boot_info.allow_connect = is(v, vl, "any");
		return boot_info.allow_connect || is(v, vl, "none") || is(v, vl, "listed") ? 0 : -EINVAL; // what is listed the gateway reaches
	}
	return -EINVAL;
}

static int options(const char *s, size_t len)
{
	while (len) {
		const char *c = memchr(s, ',', len);
		size_t k = c ? (size_t)(c - s) : len;
		if (option(s, k)) {
			pr_err("manifest: unknown platform option '%.40s'\n", s);
			return -EINVAL;
		}
		len -= c ? k + 1 : k;
		s += c ? k + 1 : k;
	}
	return 0;
}

int boot_parse(void)
{
	static const char *const keys[] = { "coffer-manifest: ", "platform: ", "kernel: ", "image-root: ", "image-blocks: ", "config: ", "init: ", "options: " };
	const char *s = boot_info.manifest;
	u8 digest[48];

	if (sha384(boot_info.manifest, boot_info.manifest_len, boot_info.measurement))
		return -EINVAL;
	to_hex(boot_info.measurement_hex, boot_info.measurement, 48);
	for (u32 i = 0; i < ARRAY_SIZE(keys); i++) {
		const char *nl = strchr(s, '\n');
		size_t kl = strlen(keys[i]);
		int r = 0;
		if (!nl || strncmp(s, keys[i], kl)) {
			pr_err("manifest: line %u is not '%s...'\n", i + 1, keys[i]);
			return -EINVAL;
		}
		const char *v = s + kl;
		size_t vl = (size_t)(nl - v);
		switch (i) {
		case 0: r = is(v, vl, "1") ? 0 : -EINVAL; break;
		case 1: r = is(v, vl, "process") ? 0 : -EINVAL; break;
		case 3: r = from_hex(boot_info.image_root, v, vl, 32); break;
		case 4: r = number(v, vl, &boot_info.image_blocks); break;
		case 7: r = options(v, vl); break;
		default: r = from_hex(digest, v, vl, 48); break;
		}
		if (r) {
			pr_err("manifest: bad value of '%s'\n", keys[i]);
			return r;
		}
		s = nl + 1;
	}
	return *s ? -EINVAL : 0;
}

static bool program_started;

bool boot_before_program(void) { return !__atomic_load_n(&program_started, __ATOMIC_ACQUIRE); }

bool boot_reaches_host(void) { return boot_before_program() || curproc->helper; }

void boot_exec(const char *name)
{
	if (boot_before_program() && strcmp(name, "/.coffer/init") && strcmp(name, "/.coffer/init-attest") && strcmp(name, "/.coffer/gateway")) {
		__atomic_store_n(&program_started, true, __ATOMIC_RELEASE);
		pf_program_started();
	}
}
