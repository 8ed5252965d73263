// SPDX-License-Identifier: Apache-2.0
// `coffer reference launch`: what a virtual machine will be measured as, from what it will be started with.
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "attest/digest.h"
#include "attest/eventlog.h"
#include "attest/json.h"
#include "attest/launch.h"
#include "attest/pe.h"
#include "cli/cli.h"
#include "cli/reference.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/sha.h"

#define FILE_MAX (1u << 30)
#define VALUES_MAX 9

struct blob {
	char *bytes;
	size_t len;
};

struct request {
	const char *tee, *firmware, *kernel, *initrd, *cmdline, *event_log, *add, *key, *name, *note;
	unsigned int vcpus;
	const char *vcpu;
	uint64_t features;
	enum launch_vmm vmm;
	bool two_pass, json;
};

struct found {
	struct refval_new values[VALUES_MAX];
	unsigned int count;
};

static void put(struct found *v, const char *name, const uint8_t *digest)
{
	char hex[2 * LAUNCH_DIGEST + 1];
	v->values[v->count++] = (struct refval_new){.name = name, .value = json_string(hex_encode(hex, digest, LAUNCH_DIGEST)), .from = -1, .until = -1};
}

static int read_blob(const char *path, struct blob *b, struct fault *f)
{
	return path ? file_read(path, FILE_MAX, &b->bytes, &b->len, f) : 0;
}

static int snp(const struct request *q, const struct launch_firmware *fw, const struct blob *kernel, const struct blob *initrd, struct found *v,
	       struct fault *f)
{
	struct launch_snp in = {.fw = fw, .kernel = kernel->bytes, .kernel_len = kernel->len, .initrd = initrd->bytes, .initrd_len = initrd->len,
				.cmdline = q->cmdline, .vcpus = q->vcpus, .features = q->features, .vmm = q->vmm};
	uint8_t digest[LAUNCH_DIGEST];
	int err = q->vmm == LAUNCH_EC2 ? 0 : launch_vcpu(q->vcpu, &in.vcpu, f);
	if (!err)
		err = launch_snp(&in, digest, f);
	if (!err)
		put(v, "measurement", digest);
	return err;
}

// UEFI hands the kernel its command line in UTF-16, and the kernel measures it as it came. The firmware puts in front where the initrd is.
static int cmdline_digest(const char *cmdline, bool initrd, uint8_t out[LAUNCH_DIGEST], struct fault *f)
{
	const char *parts[] = {initrd ? "initrd=initrd " : "", cmdline};
	uint8_t *wide = calloc(strlen(cmdline) + 32, 2);
	size_t n = 0;
	if (!wide)
		return fault_set(f, -ENOMEM, "out of memory");
	for (int i = 0; i < 2; i++) {
		for (const char *s = parts[i]; *s; s++)
			wide[2 * n++] = (uint8_t)*s;
	}
	sha_384(wide, 2 * n + 2, out);
	free(wide);
	return 0;
}

// A log that was given must agree with the files that were given.
static int in_log(const json_t *log, const char *role, const uint8_t *digest, struct fault *f)
{
	char hex[2 * LAUNCH_DIGEST + 1];
	const json_t *events = json_object_get(json_object_get(log, "measured"), role);
	hex_encode(hex, digest, LAUNCH_DIGEST);
	if (!log)
		return 0;
	for (size_t i = 0; i < json_array_size(events); i++) {
		const char *s = json_string_value(json_object_get(json_array_get(events, i), "digest"));
		if (s && !strcmp(s, hex))
			return 0;
	}
	return fault_set(f, -EBADMSG, "the event log is of another boot: it shows no %s %.32s...", role, hex);
}

static int booted(const struct request *q, const json_t *log, const struct blob *kernel, const struct blob *initrd, struct found *v, struct fault *f)
{
	uint8_t digest[LAUNCH_DIGEST];
	struct fault why = {""};
	int err = 0;
	if (q->kernel) {
		err = pe_digest(kernel->bytes, kernel->len, TPM_SHA384, digest, &why);
		if (err)
			return fault_set(f, err, "%s: %.200s", q->kernel, why.text);
		put(v, "event_log.measured.kernel", digest);
		err = in_log(log, "kernel", digest, f);
	}
	if (!err && q->initrd) {
		sha_384(initrd->bytes, initrd->len, digest);
		put(v, "event_log.measured.initrd", digest);
		err = in_log(log, "initrd", digest, f);
	}
	if (!err && q->cmdline) {
		err = cmdline_digest(q->cmdline, q->initrd, digest, f);
		if (!err)
			put(v, "event_log.measured.cmdline", digest);
		if (!err)
			err = in_log(log, "cmdline", digest, f);
	}
	return err;
}

static int registers(const struct request *q, const struct blob *log, struct found *v, struct fault *f)
{
	static const char *const names[] = {"tdx.rtmr_0", "tdx.rtmr_1", "tdx.rtmr_2", "tdx.rtmr_3"};
	struct eventlog_registers r;
	struct fault why = {""};
	int err = eventlog_replay((const uint8_t *)log->bytes, log->len, TPM_SHA384, &r, &why);
	if (err)
		return fault_set(f, err, "%s: %.200s", q->event_log, why.text);
	for (int i = 0; i < 4; i++)	// the log counts MRTD as register 0
		put(v, names[i], r.value[i + 1]);
	return 0;
}

static int tdx(const struct request *q, const struct launch_firmware *fw, const struct blob *kernel, const struct blob *initrd, struct found *v,
	       struct fault *f)
{
	uint8_t digest[LAUNCH_DIGEST];
	struct blob log = {NULL, 0};
	json_t *claims = NULL;
	int err = 0;
	if (q->firmware) {
		err = launch_tdx(fw, q->two_pass, digest, f);
		if (!err)
			put(v, "tdx.mr_td", digest);
	}
	if (!err)
		err = read_blob(q->event_log, &log, f);
	if (!err && q->event_log) {
		err = registers(q, &log, v, f);
		claims = err ? NULL : eventlog_claims((const uint8_t *)log.bytes, log.len, TPM_SHA384, f);
		if (!err && !claims)
			err = -EINVAL;
	}
	if (!err)
		err = booted(q, claims, kernel, initrd, v, f);
	json_decref(claims);
	free(log.bytes);
	return err;
}

static void print(const struct request *q, const struct found *v)
{
	json_t *o = json_object();
	for (unsigned int i = 0; i < v->count; i++) {
		if (!q->json)
			printf("%s=%s\n", v->values[i].name, json_string_value(v->values[i].value));
		json_object_set(o, v->values[i].name, v->values[i].value);
	}
	char *text = q->json ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	if (text)
		printf("%s\n", text);
	free(text);
	json_decref(o);
}

static int add(const struct request *q, struct found *v, struct fault *f)
{
	const struct reference_change c = {.file = q->add, .key = q->key, .name = q->name, .values = v->values, .count = v->count};
	for (unsigned int i = 0; i < v->count; i++) {
		v->values[i].tee = q->tee;
		v->values[i].note = q->note;
	}
	int err = reference_change(&c, time(NULL), f);
	if (err >= 0 && !q->json)
		printf("%s %s\n", q->add, err ? "has them now, in a new version" : "has them already");
	return err < 0 ? err : 0;
}

static int compute(const struct request *q, struct fault *f)
{
	struct launch_firmware *fw = calloc(1, sizeof *fw);
	struct blob firmware = {NULL, 0}, kernel = {NULL, 0}, initrd = {NULL, 0};
	struct found v = {.count = 0};
	struct fault why = {""};
	int err = fw ? read_blob(q->firmware, &firmware, f) : fault_set(f, -ENOMEM, "out of memory");
	if (!err && q->firmware) {
		err = launch_firmware_read(firmware.bytes, firmware.len, fw, &why);
		if (err)
			fault_set(f, err, "%s: %.300s", q->firmware, why.text);
	}
	if (!err)
		err = read_blob(q->kernel, &kernel, f);
	if (!err)
		err = read_blob(q->initrd, &initrd, f);
	if (!err)
		err = !strcmp(q->tee, "snp") ? snp(q, fw, &kernel, &initrd, &v, f) : tdx(q, fw, &kernel, &initrd, &v, f);
	if (!err)
		print(q, &v);
	if (!err && q->add)
		err = add(q, &v, f);
	for (unsigned int i = 0; i < v.count; i++)
		json_decref(v.values[i].value);
	free(fw);
	free(firmware.bytes);
	free(kernel.bytes);
	free(initrd.bytes);
	return err;
}

static int wrong(const struct request *q)
{
	bool is_snp = q->tee && !strcmp(q->tee, "snp");
	if (!q->tee || (!is_snp && strcmp(q->tee, "tdx")))
		return cli_usage(&command_reference, "which hardware? coffer reference launch snp|tdx --firmware FILE ...");
	if (is_snp && (!q->firmware || (q->vmm != LAUNCH_EC2 && !q->vcpu)))
		return cli_usage(&command_reference, "name what is measured: --firmware FILE --vcpus N --vcpu-type TYPE");
	if (!is_snp && !q->firmware && !q->event_log && !q->kernel && !q->initrd && !q->cmdline)
		return cli_usage(&command_reference, "name what is measured: --firmware FILE, --event-log FILE, --kernel FILE...");
	if (is_snp && (q->event_log || q->two_pass))
		return cli_usage(&command_reference, "SEV-SNP has one digest: --event-log and --two-pass belong to tdx");
	if (is_snp && !q->kernel && (q->initrd || q->cmdline))
		return cli_usage(&command_reference, "initrd and command line are measured with a kernel: --kernel FILE");
	if (q->add && (!q->key || !q->name))
		return cli_usage(&command_reference, "--add FILE needs --key KEY, who signs, and --name NAME, for a document that is new");
	for (const char *s = q->cmdline; s && *s; s++) {
		if (*s < ' ' || *s > '~')
			return cli_usage(&command_reference, "a command line of ASCII, please");
	}
	return 0;
}

int reference_launch(int argc, char **argv)
{
	static const struct option options[] = {
		{"firmware", required_argument, NULL, 'f'}, {"kernel", required_argument, NULL, 'k'}, {"initrd", required_argument, NULL, 'i'},
		{"cmdline", required_argument, NULL, 'c'}, {"event-log", required_argument, NULL, 'e'}, {"vcpus", required_argument, NULL, 'v'},
		{"vcpu-type", required_argument, NULL, 't'}, {"features", required_argument, NULL, 'g'}, {"vmm", required_argument, NULL, 'm'},
		{"two-pass", no_argument, NULL, '2'}, {"add", required_argument, NULL, 'a'}, {"key", required_argument, NULL, 'K'},
		{"name", required_argument, NULL, 'n'}, {"note", required_argument, NULL, 'N'}, {"json", no_argument, NULL, 'j'}, {0},
	};
	struct request q = {.vcpus = 1, .features = 1};
	struct fault f = {""};
	char *end;
	int option, err;

	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'f': q.firmware = optarg; break;
		case 'k': q.kernel = optarg; break;
		case 'i': q.initrd = optarg; break;
		case 'c': q.cmdline = optarg; break;
		case 'e': q.event_log = optarg; break;
		case 't': q.vcpu = optarg; break;
		case '2': q.two_pass = true; break;
		case 'a': q.add = optarg; break;
		case 'K': q.key = optarg; break;
		case 'n': q.name = optarg; break;
		case 'N': q.note = optarg; break;
		case 'j': q.json = true; break;
		case 'v':
			q.vcpus = (unsigned int)strtoul(optarg, &end, 10);
			if (*end || !q.vcpus || q.vcpus > LAUNCH_MAX_VCPUS)
				return cli_usage(&command_reference, "--vcpus takes 1 to %d", LAUNCH_MAX_VCPUS);
			break;
		case 'g':
			q.features = strtoull(optarg, &end, 0);
			if (*end || !(q.features & 1))
				return cli_usage(&command_reference, "--features takes a number such as 0x1 (SNP itself, which must be on)");
			break;
		case 'm':
			if (strcmp(optarg, "qemu") && strcmp(optarg, "ec2"))
				return cli_usage(&command_reference, "--vmm takes qemu or ec2");
			q.vmm = *optarg == 'e' ? LAUNCH_EC2 : LAUNCH_QEMU;
			break;
		default: return cli_usage(&command_reference, "wrong option");
		}
	}
	q.tee = argc - optind == 1 ? argv[optind] : NULL;
	err = wrong(&q);
	if (err)
		return err;
	err = compute(&q, &f);
	return err ? cli_fail(&f) : EXIT_OK;
}
