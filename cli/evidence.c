// SPDX-License-Identifier: Apache-2.0
// `coffer evidence`: decodes evidence of any kind; packs it with its collateral into one file.
#include "cli/evidence.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "attest/collect.h"
#include "attest/evidence.h"
#include "attest/json.h"
#include "attest/slice.h"
#include "cli/cli.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "ratls/certificate.h"

static const char head[] = "-----BEGIN CERTIFICATE-----";

static bool is_pem(const char *bytes, size_t len) { return len > sizeof head && !memcmp(bytes, head, sizeof head - 1); }

static int read_into(struct bundle *b, const char *path, const char *member, struct fault *f)
{
	struct bundle other;
	char *bytes;
	size_t len;
	int err = file_read(path, BUNDLE_MAX_BYTES, &bytes, &len, f);
	if (err)
		return err;
	if (bundle_looks((uint8_t *)bytes, len)) {
		struct fault why = {""};
		err = bundle_read(&other, (uint8_t *)bytes, len, &why);
		if (err) {
			fault_set(f, err, "%s: %s", path, why.text);
		} else if (!json_object_get(other.json, member) && !json_object_get(other.json, "tpm_quote") &&
			   !json_object_get(other.json, "device_evidence_list")) {
			err = fault_set(f, -EINVAL, "%s has no %s: is it a file of collateral?", path, member);
			bundle_free(&other);
		} else {
			const json_t *time = json_object_get(other.json, "time");
			bundle_merge(b, &other);
			if (time)
				json_object_set(b->json, "time", (json_t *)time);
			bundle_free(&other);
		}
	} else {
		err = bundle_put_bytes(b, member, bytes, len);
	}
	free(bytes);
	return err;
}

// Collateral as a person has it: certificates in PEM (a device's or a chip's, and its makers'), or JSON.
static int read_collateral(struct bundle *b, const char *path, struct fault *f)
{
	struct fault why = {""};
	struct bundle other;
	char *bytes;
	size_t len;
	int err = file_read(path, BUNDLE_MAX_BYTES, &bytes, &len, f);
	if (err)
		return err;
	bool pem = is_pem(bytes, len);
	err = pem ? bundle_init(&other) : bundle_read(&other, (uint8_t *)bytes, len, &why);
	if (!err) {
		if (pem)
			err = bundle_put_text(&other, "certificates", bytes, len);
		if (!err)
			bundle_prefer(b, &other);
		bundle_free(&other);
	}
	free(bytes);
	return err ? fault_set(f, err, "%s: %s", path, pem ? "certificates that cannot be taken" : why.text) : 0;
}

int evidence_certificate(const char *path, X509 **cert, struct fault *f)
{
	struct cert_list l = {.count = 0};
	char *bytes;
	size_t len;
	int err = file_read(path, BUNDLE_MAX_BYTES, &bytes, &len, f);
	*cert = NULL;
	if (err)
		return err;
	// Event logs and reports do not begin like DER's sequence of some kilobytes and end where it says.
	bool pem = is_pem(bytes, len), der = len > 4 && !memcmp(bytes, "\x30\x82", 2);
	if ((pem || der) && !cert_list_add(&l, bytes, len, NULL) && l.count == 1) {
		*cert = l.certs[0];
		l.count = 0;
	}
	cert_list_free(&l);
	free(bytes);
	return 0;
}

// The evidence that a certificate carries; none is the verifier's to refuse.
static int read_certificate(struct bundle *b, const struct evidence_files *files, bool *is, struct fault *f)
{
	struct ratls_cert r;
	X509 *cert;
	int err = evidence_certificate(files->evidence, &cert, f);
	*is = cert;
	if (!err && cert && !ratls_cert_read(cert, &r, NULL))
		err = ratls_cert_bundle(&r, b, f);
	X509_free(cert);
	return err;
}

static bool is_folder(const char *path)
{
	struct stat st;
	return path && !stat(path, &st) && S_ISDIR(st.st_mode);
}

int evidence_load(const struct evidence_files *files, struct bundle *b, struct fault *f)
{
	int err = bundle_init(b);
	if (err)
		return fault_set(f, err, "out of memory");
	bool certificate;
	err = read_certificate(b, files, &certificate, f);
	if (!err && !certificate)
		err = read_into(b, files->evidence, "evidence", f);
	if (!err && files->event_log)
		err = read_into(b, files->event_log, "event_log", f);
	if (!err && files->collateral && !is_folder(files->collateral))
		err = read_collateral(b, files->collateral, f);
	if (err)
		bundle_free(b);
	return err;
}

static const char *store_of(const struct evidence_files *files)
{
	return is_folder(files->collateral) ? files->collateral : files->store;
}

int evidence_add_store(const struct evidence_files *files, struct bundle *b, time_t now, struct collateral_needs *n, struct fault *f)
{
	const char *dir = store_of(files);
	struct collateral_store *s;
	struct fault why = {""};
	memset(n, 0, sizeof *n);
	if (!dir)
		return 0;
	int err = collateral_open(&s, *dir ? dir : NULL, false, f);
	if (err)
		return err;
	// Evidence that is of no known kind is the verifier's to refuse.
	err = collateral_fill(s, b, now, n, &why);
	if (err == -ENOMEM)
		fault_set(f, err, "%s", why.text);
	else
		err = 0;
	collateral_close(s);
	return err;
}

unsigned int evidence_missing(const struct evidence_files *files, const struct collateral_needs *n)
{
	const char *dir = store_of(files);
	unsigned int count = 0;
	char about[200], stamp[32];
	for (unsigned int i = 0; i < n->count; i++) {
		if (n->need[i].state == COLLATERAL_THERE)
			continue;
		count++;
		if (n->need[i].state == COLLATERAL_EXPIRED)
			fprintf(stderr, "coffer: EXPIRED on %s: %s\n", time_text(stamp, n->need[i].expires), collateral_about(&n->need[i].key, about));
		else
			fprintf(stderr, "coffer: missing: %s\n", collateral_about(&n->need[i].key, about));
	}
	if (count)
		fprintf(stderr, "coffer: this fetches it: coffer collateral fetch%s%s %s\n", *dir ? " --store " : "", dir, files->evidence);
	if (*n->note)
		fprintf(stderr, "coffer: missing: %s\n", n->note);
	return count + (*n->note != 0);
}

int evidence_time(const char *text, const struct bundle *b, time_t *t, struct fault *f)
{
	if (!strcmp(text, "now")) {
		*t = time(NULL);
		return 0;
	}
	if (!strcmp(text, "recorded")) {
		*t = bundle_time(b);
		return *t >= 0 ? 0 : fault_set(f, -EINVAL, "the bundle does not say when it was made");
	}
	json_t *s = json_string(text);
	*t = slice_time(s);
	json_decref(s);
	return *t >= 0 ? 0 : fault_set(f, -EINVAL, "'%s' is no time: write it as 2025-06-19T10:16:03Z, or 'recorded', or 'now'", text);
}

int evidence_roots(const char *path, struct cert_list *l, struct fault *f)
{
	char *pem;
	size_t len;
	int err = path ? file_read(path, 1 << 20, &pem, &len, f) : 0;
	if (!path || err)
		return err;
	err = cert_list_add(l, pem, len, f);
	free(pem);
	return err;
}

static int show(const struct evidence_files *files, bool json, struct fault *f)
{
	struct bundle b;
	struct attest_result r;
	int err = evidence_load(files, &b, f);
	if (err)
		return err;
	if (attest_result_init(&r)) {
		bundle_free(&b);
		return fault_set(f, -ENOMEM, "out of memory");
	}
	struct evidence_input in = {.bundle = &b, .now = time(NULL)};
	struct collateral_needs n;
	err = evidence_add_store(files, &b, in.now, &n, f);
	enum evidence_kind kind = evidence_verify(&in, &r);
	X509 *cert = NULL;
	struct ratls_cert ratls;
	const char *in_a = "";
	if (!err && !evidence_certificate(files->evidence, &cert, f) && cert) {
		struct fault why = {""};
		if (ratls_cert_read(cert, &ratls, &why)) {
			err = fault_set(f, -EINVAL, "%s: %s", files->evidence, why.text);
		} else {
			ratls_cert_check(cert, &ratls, in.now, &r);
			in_a = " in an RA-TLS certificate";
		}
	}
	X509_free(cert);
	// Nobody asked whether any of it is true.
	json_object_del(r.claims, "tee");
	json_object_del(r.claims, "tcb_status");
	const char *member;
	json_t *value;
	char *text = json_dumps(r.claims, json ? JSON_COMPACT | JSON_SORT_KEYS : JSON_INDENT(2) | JSON_SORT_KEYS);
	if (err)
		;
	else if (kind == EVIDENCE_UNKNOWN)
		err = fault_set(f, -EINVAL, "%s: not evidence of a kind that is known", files->evidence);
	else if (json)
		printf("{\"kind\":\"%s\",\"verified\":false,\"claims\":%s}\n", evidence_kind_name(kind), text ? text : "null");
	else {
		printf("%s: %s%s. Nothing of this is verified (coffer verify).\n", files->evidence, evidence_kind_name(kind), in_a);
		json_object_foreach(b.json, member, value)
			if (strcmp(member, "evidence"))
				printf("  with %s, %zu characters\n", member, json_string_length(value));
		printf("%s\n", text ? text : "");
	}
	free(text);
	attest_result_free(&r);
	bundle_free(&b);
	return err;
}

int evidence_pack(const struct evidence_files *files, const char *at, const char *output, bool complete, struct fault *f)
{
	struct collateral_needs n;
	struct bundle b;
	char stamp[32];
	time_t t;
	int err = evidence_load(files, &b, f);
	if (err)
		return err;
	err = evidence_time(at, &b, &t, f);
	if (!err)
		err = evidence_add_store(files, &b, t, &n, f);
	if (!err && evidence_missing(files, &n) && complete)
		err = fault_set(f, -ENOENT, "%s: not written: it would not be complete", output);
	if (!err) {
		json_object_set_new(b.json, "format", json_string(BUNDLE_FORMAT));
		json_object_set_new(b.json, "time", json_string(time_text(stamp, t)));
		char *text = json_dumps(b.json, JSON_INDENT(2) | JSON_SORT_KEYS);
		err = text ? file_write(output, text, strlen(text), 0644, false, f) : fault_set(f, -ENOMEM, "out of memory");
		free(text);
	}
	bundle_free(&b);
	return err;
}

// The evidence of the machine that this runs on.
static int collect(int argc, char **argv)
{
	static const struct option options[] = {
		{"report-data", required_argument, NULL, 'd'}, {"output", required_argument, NULL, 'o'}, {"from", required_argument, NULL, 'f'},
		{"privlevel", required_argument, NULL, 'p'}, {"tsm", required_argument, NULL, 't'}, {"csv-device", required_argument, NULL, 'c'},
		{"libos", required_argument, NULL, 'l'}, {"ccel", required_argument, NULL, 'e'}, {"tpm", required_argument, NULL, 'T'},
		{"tpm-log", required_argument, NULL, 'L'}, {0},
	};
	static const char *const sources[] = {"any", "tsm", "csv", "sgx", "tpm"};
	struct collect_places places = {.tsm = NULL};
	const char *output = NULL, *hex = NULL;
	uint8_t data[COLLECT_DATA_BYTES] = {0};
	enum collect_from from = COLLECT_ANY;
	struct fault f = {""};
	struct bundle b;
	char provider[64] = "";
	int option, level = -1;

	optind = 1;
	while ((option = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
		switch (option) {
		case 'd': hex = optarg; break;
		case 'o': output = optarg; break;
		case 'p': level = atoi(optarg); break;
		case 't': places.tsm = optarg; break;
		case 'c': places.csv = optarg; break;
		case 'l': places.libos = optarg; break;
		case 'e': places.ccel = optarg; break;
		case 'T': places.tpm = optarg; break;
		case 'L': places.tpm_log = optarg; break;
		case 'f':
			for (from = COLLECT_TPM; from > COLLECT_ANY && strcmp(sources[from], optarg); from--)
				;
			if (strcmp(sources[from], optarg))
				return cli_usage(&command_evidence, "--from takes any, tsm, csv, sgx or tpm");
			break;
		default: return cli_usage(&command_evidence, "wrong option of collect");
		}
	}
	if (optind != argc || !output || !hex || strlen(hex) > 2 * sizeof data || hex_decode(data, strlen(hex) / 2, hex) || level > 3)
		return cli_usage(&command_evidence, "collect takes --report-data HEX (up to 64 bytes) and --output BUNDLE");
	int err = bundle_init(&b);
	if (!err)
		err = collect_evidence(from, &places, data, level, &b, provider, &f);
	char *text = err ? NULL : json_dumps(b.json, JSON_INDENT(2) | JSON_SORT_KEYS);
	if (!err && !text)
		err = fault_set(&f, -ENOMEM, "out of memory");
	if (!err && !strcmp(output, "-"))
		err = puts(text) < 0 || fflush(stdout) ? fault_errno(&f, errno, "cannot write to standard output") : 0;
	else if (!err)
		err = file_write(output, text, strlen(text), 0644, false, &f);
	if (!err)
		fprintf(stderr, "coffer: evidence by %s\n", provider);
	free(text);
	bundle_free(&b);
	return err ? cli_fail(&f) : EXIT_OK;
}

static int evidence(int argc, char **argv)
{
	static const struct option options[] = {
		{"collateral", required_argument, NULL, 'c'}, {"event-log", required_argument, NULL, 'e'}, {"at", required_argument, NULL, 't'},
		{"output", required_argument, NULL, 'o'}, {"json", no_argument, NULL, 'j'}, {0},
	};
	struct evidence_files files = {.evidence = NULL};
	const char *at = "now", *output = NULL;
	struct fault f = {""};
	bool json = false;
	int option, err;

	if (argc > 1 && !strcmp(argv[1], "collect"))
		return collect(argc - 1, argv + 1);
	optind = 1;
	while ((option = getopt_long(argc, argv, "o:", options, NULL)) != -1) {
		if (option == 'c')
			files.collateral = optarg;
		else if (option == 'e')
			files.event_log = optarg;
		else if (option == 't')
			at = optarg;
		else if (option == 'o')
			output = optarg;
		else if (option == 'j')
			json = true;
		else
			return cli_usage(&command_evidence, "wrong option");
	}
	if (argc - optind != 2 || (strcmp(argv[optind], "show") && strcmp(argv[optind], "bundle")))
		return cli_usage(&command_evidence, "say what to do: show FILE, bundle FILE, collect");
	files.evidence = argv[optind + 1];
	bool packs = !strcmp(argv[optind], "bundle");
	if (packs && !output)
		return cli_usage(&command_evidence, "where to? --output FILE");
	err = packs ? evidence_pack(&files, at, output, false, &f) : show(&files, json, &f);
	return err ? cli_fail(&f) : EXIT_OK;
}

const struct command command_evidence = {
	"evidence", "collect and decode attestation evidence, pack it with its collateral",
	"usage: coffer evidence show FILE [--event-log FILE] [--json]\n"
	"       coffer evidence bundle FILE --output BUNDLE [--collateral FILE] [--event-log FILE] [--at TIME]\n"
	"       coffer evidence collect --report-data HEX --output BUNDLE [--from tsm|csv|sgx|tpm] [--privlevel N]\n\n"
	"show     says what a file is and what it claims; checks nothing. Knows reports and quotes of AMD SEV-SNP, Intel SGX and TDX, Azure,\n"
	"         Hygon CSV, Arm CCA, TPMs and NVIDIA GPUs, event logs (TCG, CCEL), RA-TLS certificates, and bundles\n"
	"bundle   puts evidence, collateral, log and the time (now, or --at 2025-06-19T10:16:03Z) into one file, with which\n"
	"         `coffer verify BUNDLE --at recorded` says the same anywhere and at any time\n"
	"collect  asks the hardware that this runs on for evidence about these data (a digest of a nonce and a key, up to 64 bytes): through\n"
	"         configfs-tsm (TDX, SEV-SNP, CCA, Coffer's enclaves), /dev/csv-guest (Hygon), a library OS's /dev/attestation (SGX), a TPM (a\n"
	"         quote whose nonce is the first 32 bytes; on Azure with the report that its vTPM keeps). With its certificates and event log where\n"
	"         the machine has them. --output - is standard output. --tsm, --csv-device, --libos, --ccel, --tpm (device:PATH, unix:PATH,\n"
	"         tcp:ADDRESS:PORT) and --tpm-log name other places\n\n"
	"--collateral is a bundle, a JSON file as tools for Intel's PCCS write it, certificates in PEM (of SEV-SNP's chip or a GPU, and above), or a\n"
	"folder that `coffer collateral` keeps.\n"
	"docs/attestation.md has the format.\n",
	evidence,
};
