// SPDX-License-Identifier: Apache-2.0
// Collecting evidence: against a file system in user space that plays configfs-tsm as Linux has it (entries made by mkdir, inputs counted
// in `generation`), well and badly, with reports of the simulated TEE and quotes under a test root; and what is said where hardware is missing.
#define FUSE_USE_VERSION 35
#include "attest/collect.h"

#include <errno.h>
#include <fuse3/fuse.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "attest/dcap.h"
#include "attest/evidence.h"
#include "attest/simtee.h"
#include "lib/file.h"
#include "tests/attest/make/dcap.h"
#include "tests/attest/ok.h"
#include "tests/attest/vectors.h"
#include "tests/folder.h"

static char folder[64], simtee[80];

// The kernels that are played, by their folder.
enum { TDX, SNP, DEAF, RACING_ONCE, RACING, BROKEN, OTHER, KERNELS };
static const char *const kernels[] = {"tdx", "snp", "deaf", "racing-once", "racing", "broken", "other"};
static const char *const files[] = {"inblob", "outblob", "auxblob", "generation", "provider", "privlevel"};
enum { INBLOB, OUTBLOB, AUXBLOB, GENERATION, PROVIDER, PRIVLEVEL, FILES };

static struct {
	char entry[64];
	uint8_t in[64];
	unsigned int generation;
	bool raced;
} state[KERNELS];

// "/KERNEL[/ENTRY[/FILE]]"; -1 for what is not given, entry -1 when it does not exist.
static int parts(const char *path, int *kernel, int *entry, int *file)
{
	char k[32] = "", e[64] = "", f[32] = "";
	*kernel = *entry = *file = -1;
	int n = sscanf(path, "/%31[^/]/%63[^/]/%31[^/]", k, e, f);
	for (int i = 0; i < KERNELS; i++) {
		if (!strcmp(k, kernels[i]))
			*kernel = i;
	}
	if (n < 1)
		return 0;
	if (*kernel < 0)
		return -ENOENT;
	if (n >= 2 && strcmp(state[*kernel].entry, e))
		return -ENOENT;
	if (n >= 2)
		*entry = 0;
	for (int i = 0; i < FILES; i++) {
		if (!strcmp(f, files[i]))
			*file = i;
	}
	return n == 3 && *file < 0 ? -ENOENT : 0;
}

static int fake_getattr(const char *path, struct stat *st, struct fuse_file_info *fi)
{
	int k, e, f, err = parts(path, &k, &e, &f);
	(void)fi;
	memset(st, 0, sizeof *st);
	st->st_nlink = 1;
	st->st_uid = getuid();
	st->st_mode = f >= 0 ? S_IFREG | (f == INBLOB || f == PRIVLEVEL ? 0200 : 0400) : S_IFDIR | 0755;
	return err;
}

static int fake_mkdir(const char *path, mode_t mode)
{
	char k[32] = "", e[64] = "";
	(void)mode;
	if (sscanf(path, "/%31[^/]/%63[^/]", k, e) != 2)
		return -EPERM;
	for (int i = 0; i < KERNELS; i++) {
		if (!strcmp(k, kernels[i])) {
			memset(&state[i], 0, sizeof state[i]);
			strcpy(state[i].entry, e);
			return 0;
		}
	}
	return -ENOENT;
}

static int fake_rmdir(const char *path)
{
	int k, e, f, err = parts(path, &k, &e, &f);
	if (err || e < 0 || f >= 0)
		return err ? err : -EPERM;
	state[k].entry[0] = '\0';
	return 0;
}

static int fake_open(const char *path, struct fuse_file_info *fi)
{
	int k, e, f, err = parts(path, &k, &e, &f);
	fi->direct_io = 1;
	return err ? err : f < 0 ? -EISDIR : 0;
}

static int fake_write(const char *path, const char *bytes, size_t n, off_t off, struct fuse_file_info *fi)
{
	int k, e, f, err = parts(path, &k, &e, &f);
	(void)fi;
	if (err || (f != INBLOB && f != PRIVLEVEL) || off || n > 64)
		return err ? err : -EINVAL;
	if (f == INBLOB)
		memcpy(state[k].in, bytes, n);
	state[k].generation += k != DEAF;
	return (int)n;
}

// What the kernel gives in that file; malloc.
static int content(int k, int f, char **out, size_t *len)
{
	static struct made m;
	static uint8_t report[SIMTEE_REPORT_BYTES], measurement[48] = {0xe1};
	struct dcap_spec spec = made_tdx;
	char *chain = NULL;
	if (f == GENERATION || f == PROVIDER) {
		*len = (size_t)(f == PROVIDER ? asprintf(out, "%s\n", k == SNP ? "sev_guest" : "tdx_guest") : asprintf(out, "%u\n", state[k].generation));
		return 0;
	}
	if (f == AUXBLOB && k != SNP)
		return -ENXIO;
	if (k == BROKEN)
		return -EIO;
	if (k == SNP) {
		int err = simtee_report(simtee, measurement, state[k].in, false, report, &chain);
		if (err)
			return err;
		*len = f == OUTBLOB ? sizeof report : strlen(chain);
		*out = malloc(*len);
		memcpy(*out, f == OUTBLOB ? (char *)report : chain, *len);
		free(chain);
		return 0;
	}
	spec.has_bound = true;
	memcpy(spec.bound, state[k].in, 64);
	spec.bound[0] ^= k == OTHER;
	made_make(&spec, &m);
	*out = malloc(m.quote_len);
	memcpy(*out, m.quote, *len = m.quote_len);
	made_free(&m);
	if (k == RACING || (k == RACING_ONCE && !state[k].raced))
		state[k].generation++;
	state[k].raced = true;
	return 0;
}

static int fake_read(const char *path, char *buf, size_t size, off_t off, struct fuse_file_info *fi)
{
	// A quote is read in pieces, and made once.
	static char *last;
	static size_t last_len;
	int k, e, f, err = parts(path, &k, &e, &f);
	(void)fi;
	if (!err && !off) {
		free(last);
		last = NULL;
		last_len = 0;
		err = content(k, f, &last, &last_len);
	}
	if (err)
		return err;
	size_t n = (size_t)off >= last_len ? 0 : last_len - (size_t)off;
	n = n < size ? n : size;
	memcpy(buf, last + off, n);
	return (int)n;
}

static const struct fuse_operations fake = {
	.getattr = fake_getattr, .mkdir = fake_mkdir, .rmdir = fake_rmdir, .open = fake_open, .read = fake_read, .write = fake_write,
};

// The fake kernel in a process of its own; 0: it cannot be had here.
static pid_t play(const char *where)
{
	int ready[2];
	char byte = 0;
	made_root();	// the same for both
	if (pipe(ready))
		abort();
	pid_t pid = fork();
	if (!pid) {
		char name[] = "tsm", *argv[] = {name, NULL};
		struct fuse_args args = FUSE_ARGS_INIT(1, argv);
		struct fuse *f = fuse_new(&args, &fake, sizeof fake, NULL);
		close(ready[0]);
		if (!f || fuse_mount(f, where))
			_exit(1);
		fuse_set_signal_handlers(fuse_get_session(f));
		if (write(ready[1], "r", 1) == 1)
			fuse_loop(f);
		fuse_unmount(f);
		_exit(0);
	}
	close(ready[1]);
	bool good = read(ready[0], &byte, 1) == 1;
	close(ready[0]);
	if (!good)
		waitpid(pid, NULL, 0);
	return good ? pid : 0;
}

static int collect(int kernel, const uint8_t data[64], int level, struct bundle *b, struct fault *f)
{
	char base[128], entry[160], provider[64];
	struct collect_places places = {.tsm = base, .csv = "/nowhere/csv-guest", .libos = "/nowhere/attestation", .sgx = "/nowhere/sgx"};
	char log[128];
	snprintf(base, sizeof base, "%s/tsm/%s", folder, kernels[kernel]);
	snprintf(log, sizeof log, "%s/ccel", folder);
	places.ccel = log;
	f->text[0] = '\0';
	bundle_init(b);
	int err = collect_evidence(COLLECT_ANY, &places, data, level, b, provider, f);
	snprintf(entry, sizeof entry, "%s/coffer-%d", base, (int)getpid());
	ok("collect: no entry is left behind", !access(base, F_OK) && access(entry, F_OK), "%s is there", entry);
	return err;
}

static void test_tsm(void)
{
	uint8_t data[64];
	struct bundle b;
	struct fault f = {""};
	struct dcap_quote q;
	size_t len;
	memset(data, 0x5a, sizeof data);
	char log[128];
	snprintf(log, sizeof log, "%s/ccel", folder);
	file_write(log, "a log", 5, 0600, false, NULL);
	int err = collect(TDX, data, -1, &b, &f);
	const uint8_t *e = bundle_bytes(&b, "evidence", &len);
	ok("collect: a TDX quote by configfs-tsm", !err && e && !dcap_quote_parse(e, len, &q, NULL) && q.is_tdx && !memcmp(q.report_data, data, 64), "%s", f.text);
	ok("collect: with its event log", json_object_get(b.json, "event_log") && bundle_time(&b) > 0, "none");
	bundle_free(&b);

	err = collect(SNP, data, 0, &b, &f);
	struct attest_result r;
	char root_path[200], *pem;
	struct cert_list roots = {.count = 0};
	attest_result_init(&r);
	if (err || simtee_root_path(simtee, root_path, sizeof root_path) || file_read(root_path, 1 << 16, &pem, &len, &f) || cert_list_add(&roots, pem, len, &f)) {
		ok("collect: an SNP report by configfs-tsm", false, "%d %s", err, f.text);
		return;
	}
	const struct evidence_input in = {.bundle = &b, .report_data = data, .simulated_roots = roots.certs, .simulated_root_count = 1, .now = time(NULL)};
	evidence_verify(&in, &r);
	ok("collect: an SNP report with its certificates verifies", attest_passed(&r) && !strcmp(claim_of(&r, "tee"), "simulated"), "%s", failures(&r));
	ok("collect: without a log that is not its", !json_object_get(b.json, "event_log"), "it has one");
	attest_result_free(&r);
	cert_list_free(&roots);
	free(pem);
	bundle_free(&b);

	err = collect(RACING_ONCE, data, -1, &b, &f);
	ok("collect: somebody came between once: tried again", !err, "%s", f.text);
	bundle_free(&b);
	err = collect(RACING, data, -1, &b, &f);
	ok("collect: somebody comes between always", err == -EAGAIN && strstr(f.text, "somebody else writes"), "%d %s", err, f.text);
	bundle_free(&b);
	err = collect(DEAF, data, -1, &b, &f);
	ok("collect: a kernel that takes no input", err == -EIO && strstr(f.text, "did not take the report data"), "%d %s", err, f.text);
	bundle_free(&b);
	err = collect(BROKEN, data, -1, &b, &f);
	ok("collect: a kernel that gives nothing", err == -EIO && strstr(f.text, "outblob"), "%d %s", err, f.text);
	bundle_free(&b);
	err = collect(OTHER, data, -1, &b, &f);
	ok("collect: a quote about something else", err == -EIO && strstr(f.text, "about something else"), "%d %s", err, f.text);
	bundle_free(&b);
}

static void missing(const char *name, enum collect_from from, const struct collect_places *p, int code, const char *text)
{
	static const uint8_t data[64];
	struct fault f = {""};
	struct bundle b;
	char provider[64];
	bundle_init(&b);
	int err = collect_evidence(from, p, data, -1, &b, provider, &f);
	ok(name, err == code && strstr(f.text, text), "%d %s", err, f.text);
	bundle_free(&b);
}

static void test_missing(void)
{
	char libos[128], data[160], quote[160];
	struct collect_places p = {.tsm = "/nowhere/tsm", .csv = "/nowhere/csv-guest", .libos = "/nowhere/attestation", .sgx = "/nowhere/sgx"};
	missing("collect: nothing there: all that was looked for is named", COLLECT_ANY, &p, -ENODEV,
		"offers no evidence: no /nowhere/tsm (the module of the guest's hardware, and configfs mounted, make it); no /nowhere/csv-guest");
	missing("collect: no CSV guest", COLLECT_CSV, &p, -ENODEV, "the module csv-guest makes it");
	p.csv = "/dev/null";
	missing("collect: a device that is none", COLLECT_CSV, &p, -ENOTTY, "/dev/null is no CSV guest's device");
	p.sgx = "/dev/null";
	missing("collect: SGX outside of an enclave", COLLECT_SGX, &p, -ENODEV, "an SGX quote is made inside an enclave, about itself");
	snprintf(libos, sizeof libos, "%s/attestation", folder);
	snprintf(data, sizeof data, "%s/user_report_data", libos);
	snprintf(quote, sizeof quote, "%s/quote", libos);
	mkdir(libos, 0755);
	p.libos = libos;
	missing("collect: a library OS without evidence", COLLECT_SGX, &p, -ENOENT, "user_report_data");
	struct dcap_spec spec = made_sgx;
	struct made m;
	spec.has_bound = true;
	made_make(&spec, &m);
	file_write(data, "", 0, 0600, false, NULL);
	file_write(quote, m.quote, m.quote_len, 0600, false, NULL);
	struct fault f = {""};
	struct bundle b;
	char provider[64];
	bundle_init(&b);
	int err = collect_evidence(COLLECT_SGX, &p, spec.bound, -1, &b, provider, &f);
	ok("collect: an SGX quote of a library OS", !err && !strcmp(provider, "sgx"), "%s", f.text);
	bundle_free(&b);
	file_write(quote, "nothing", 7, 0600, false, NULL);
	missing("collect: what is no evidence", COLLECT_SGX, &p, -EIO, "7 bytes that are no evidence of a known kind");
	made_free(&m);
}

int main(void)
{
	char where[80];
	if (!test_folder(folder, "collect"))
		return 1;
	snprintf(simtee, sizeof simtee, "%s/simtee", folder);
	snprintf(where, sizeof where, "%s/tsm", folder);
	mkdir(where, 0755);
	test_missing();
	pid_t kernel = access("/dev/fuse", R_OK | W_OK) ? 0 : play(where);
	if (kernel) {
		test_tsm();
		kill(kernel, SIGTERM);
		waitpid(kernel, NULL, 0);
	} else {
		skip("collect: configfs-tsm", "no file systems in user space here");
	}
	return ok_failed != 0;
}
