// SPDX-License-Identifier: Apache-2.0
// `coffer verify`: is this evidence genuine, and does it satisfy a policy? Explains the verdict to a person in a page.
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "attest/cert.h"
#include "attest/json.h"
#include "attest/rules.h"
#include "cli/cli.h"
#include "cli/judge.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "ratls/certificate.h"

#define SHOWN_OF_A_ROLE 3

struct request {
	struct judge_files files;
	const char *report_data, *nonce, *gpu_nonce;
	bool json, strict;
};

// What the evidence must be about.
struct bindings {
	uint8_t data[64], nonce[64], gpu_nonce[32];
	size_t data_len, nonce_len, gpu_nonce_len;
};

static const char *text_claim(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));
	return s ? s : "";
}

static void line(const char *what, const char *value)
{
	if (*value)
		printf("  %-14s %s\n", what, value);
}

// What was booted, by role: a few of each. Words that the digest does not prove are in brackets.
static void print_measured(const json_t *measured)
{
	const char *role;
	json_t *events, *e;
	size_t i;
	json_object_foreach((json_t *)measured, role, events) {
		json_array_foreach(events, i, e) {
			bool proved = json_is_true(json_object_get(e, "digest_matches_event"));
			if (i == SHOWN_OF_A_ROLE) {
				printf("  %-14s and %zu more\n", "", json_array_size(events) - i);
				break;
			}
			printf("  %-14s %.16s... %s%.90s%s\n", i ? "" : role, text_claim(e, "digest"), proved ? "" : "(", text_claim(e, "about"),
			       proved ? "" : ")");
		}
	}
}

// A line a device; what it calls itself is from its certificate, the rest from its signed answer.
static void print_gpus(const json_t *gpus)
{
	const json_t *d;
	size_t i;
	json_array_foreach((json_t *)gpus, i, d)
		printf("  %-14s %s, driver %s, VBIOS %s%s\n", i ? "" : "GPU", text_claim(d, "hwmodel"), text_claim(d, "driver_version"),
		       text_claim(d, "vbios_version"), json_is_true(json_object_get(d, "simulated")) ? ", SIMULATED or not proved" : "");
}

// The claims that a person wants first.
static void print_claims(const json_t *c)
{
	const char *debug = text_claim(c, "dbgstat"), *tee = text_claim(c, "tee");
	size_t i;
	json_t *a;
	printf("\nWhat it claims%s\n", !strcmp(tee, "unknown") ? ", on nobody's word" : "");
	line("hardware", !strcmp(tee, "simulated") ? "SIMULATED: whoever owns the machine can sign whatever they like" : tee);
	line("model", text_claim(c, "hwmodel"));
	line("measurement", text_claim(c, "measurement"));
	line("report data", text_claim(c, "report_data"));
	line("debugging", !strcmp(debug, "enabled") ? "ON: the host can look inside" : !strcmp(debug, "disabled-since-boot") ? "off" : debug);
	line("TCB status", text_claim(c, "tcb_status"));
	line("TCB date", text_claim(c, "tcb_date"));
	json_array_foreach(json_object_get(c, "advisory_ids"), i, a)
		line(i ? "" : "advisories", json_string_value(a));
	if (*text_claim(c, "collateral_expires"))
		printf("  %-14s good until %s (%s)\n", "collateral", text_claim(c, "collateral_expires"), text_claim(c, "collateral_expires_first"));
	print_gpus(json_object_get(c, "gpu"));
	print_measured(json_object_get(json_object_get(c, "event_log"), "measured"));
}

// What a failed check means for who reads it, and the way out.
static const struct {
	const char *id, *advice;
} advices[] = {
	{"root", "Not signed by the maker of any hardware: made by somebody else, or on simulated hardware."},
	{"certificate-chain", "Certificates are missing or do not belong together: give them with --collateral."},
	{"certificate-dates", "Certificates have run out or are not valid yet: is the time right (--at)?"},
	{"revocation", "A certificate is revoked, or its list is missing or old: give current collateral (--collateral)."},
	{"tcb-info", "Without what the maker says about this platform nobody knows whether it is sound: give it with --collateral."},
	{"tcb-info-dates", "The collateral is not current at that time: fetch it anew, or judge for the time it is from (--at)."},
	{"qe-identity-dates", "The collateral is not current at that time: fetch it anew, or judge for the time it is from (--at)."},
	{"platform", "The collateral is about another kind of machine, or is missing."},
	{"signature", "The evidence was changed, or was not made by the hardware that it names."},
	{"tcb", "The firmware of this machine is revoked or unknown to its maker: do not trust it."},
	{"tcb_status", "The machine wants an update or another configuration; a policy can accept it (tcb_status)."},
	{"certificate-evidence", "Whoever has this certificate proves nothing about where its key is."},
	{"certificate-signature", "The certificate was changed, or its maker does not have its key."},
	{"certificate-validity", "The certificate has run out or is not valid yet: is the time right (--at)?"},
	{"certificate-key", "The evidence is about another key: it was moved from another certificate into this one."},
	{"nonce", "The certificate was not made for this nonce: perhaps an old one, replayed."},
	{"report-data", "The evidence is about another session or key: perhaps an old one, replayed."},
	{"tpm-nonce", "The quote is of another session: perhaps an old one, replayed."},
	{"tpm-key", "Nothing says that the key is a TPM's: give its certificate and --tpm-root, or list it in the policy (tpm_keys). A broker asks the TPM itself."},
	{"platform-signature", "The platform's key is not endorsed: list its digest in the policy (cca_platform_keys)."},
	{"gpu-root", "The GPU's certificates are not NVIDIA's: made by somebody else, or simulated."},
	{"gpu-signature", "The GPU's measurements were changed, or are another GPU's."},
	{"gpu-nonce", "The GPU answered another session: perhaps an old answer, replayed."},
	{"gpu", "A GPU that is not proved to be NVIDIA's could read what is sent to it."},
	{"event-log", "The log does not belong to this machine or was changed: nothing in it can be believed."},
	{"dbgstat", "The host can look inside: no secret belongs there."},
	{"reference", "The documents of reference values say nothing about this kind of hardware."},
	{"measurement", "Something else runs there than the policy allows, or the reference values."},
	{"tee", "The policy does not accept this kind of hardware, or the hardware is not proved."},
};

static void print_advice(const struct attest_result *r)
{
	bool headed = false;
	for (size_t i = 0; i < sizeof advices / sizeof *advices; i++) {
		const struct attest_check *c = attest_find(r, advices[i].id);
		if (!c || c->outcome != ATTEST_FAILED)
			continue;
		printf("%s  %-20s %s\n", headed ? "" : "\nWhat that means\n", advices[i].id, advices[i].advice);
		headed = true;
	}
}

static void print_checks(const struct attest_result *r)
{
	printf("\nChecks\n");
	for (unsigned int i = 0; i < r->count; i++) {
		const struct attest_check *c = &r->checks[i];
		bool failed = c->outcome == ATTEST_FAILED;
		const char *colour = failed ? cli_red(stdout) : c->outcome == ATTEST_SKIPPED ? cli_yellow(stdout) : cli_green(stdout);
		printf("  %s%-7s%s %-22s %.90s\n", colour, failed ? "FAILED" : c->outcome == ATTEST_SKIPPED ? "skipped" : "ok", cli_plain(stdout),
		       c->id, failed ? "" : c->found);
		if (failed)
			printf("          expected %s\n          found    %s\n", c->expected, c->found);
	}
}

static void print_page(const struct request *q, const char *what, const struct attest_result *r, time_t now)
{
	char stamp[32];
	const char *first = "";
	unsigned int failed = 0, skipped = 0;
	for (unsigned int i = 0; i < r->count; i++) {
		if (!failed && r->checks[i].outcome == ATTEST_FAILED)
			first = r->checks[i].id;
		failed += r->checks[i].outcome == ATTEST_FAILED;
		skipped += r->checks[i].outcome == ATTEST_SKIPPED;
	}
	bool good = attest_passed(r), simulated = !strcmp(text_claim(r->claims, "tee"), "simulated");
	printf("%s%s%s: %s is %s.\n", good ? simulated ? cli_yellow(stdout) : cli_green(stdout) : cli_red(stdout), good ? "ACCEPTED" : "REFUSED",
	       cli_plain(stdout), q->files.evidence.evidence, what);
	if (good)
		printf("All %u checks hold%s%s.\n", r->count - skipped, skipped ? "; not made, for want of what to compare with: see `skipped`" : "",
		       simulated ? ", but the hardware is simulated and proves nothing" : "");
	else
		printf("%u of %u checks failed; the first is `%s`.\n", failed, r->count, first);
	printf("Judged for %s%s, %s.\n", time_text(stamp, now), !strcmp(q->files.at, "recorded") ? " (the bundle's own word for the time)" : "",
	       q->files.policy ? q->files.policy : q->files.reference.file_count ? "without a policy" : "without a policy: any measurement will do");
	print_claims(r->claims);
	print_checks(r);
	if (!good)
		print_advice(r);
}

static int hex_option(const char *name, const char *text, uint8_t *out, size_t size, size_t *len, struct fault *f)
{
	*len = strlen(text) / 2;
	if (*len > size || hex_decode(out, *len, text))
		return fault_set(f, -EINVAL, "--%s takes up to %zu bytes in hex", name, size);
	return 0;
}

static void print_json(const char *what, const struct attest_result *r, time_t now)
{
	char stamp[32];
	json_t *o = json_pack("{s:s, s:s, s:s, s:O, s:o}", "verdict", attest_passed(r) ? "accepted" : "refused", "kind", what,
			      "time", time_text(stamp, now), "claims", r->claims, "checks", attest_checks_json(r));
	char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
	printf("%s\n", text ? text : "{}");
	free(text);
	json_decref(o);
}

// A certificate's own checks, and what its evidence must be bound to.
static int begin_certificate(const struct request *q, X509 *cert, const uint8_t *nonce, size_t nonce_len, struct evidence_input *in, uint8_t data[64],
			     struct attest_result *out, struct fault *f)
{
	struct bundle again;
	struct ratls_cert r;
	if (q->report_data)
		return fault_set(f, -EINVAL, "--report-data is for evidence alone: a certificate's is bound to its key");
	if (bundle_init(&again))
		return fault_set(f, -ENOMEM, "out of memory");
	if (ratls_cert_begin(cert, in->now, &r, &again, data, out)) {
		in->report_data = data;
		if (q->nonce)
			ratls_cert_check_nonce(&r, nonce, nonce_len, out);
	}
	bundle_free(&again);
	return 0;
}

static int read_bindings(const struct request *q, struct bindings *b, struct fault *f)
{
	int err = q->report_data ? hex_option("report-data", q->report_data, b->data, sizeof b->data, &b->data_len, f) : 0;
	if (!err && q->nonce)
		err = hex_option("nonce", q->nonce, b->nonce, sizeof b->nonce, &b->nonce_len, f);
	if (!err && q->gpu_nonce)
		err = hex_option("gpu-nonce", q->gpu_nonce, b->gpu_nonce, sizeof b->gpu_nonce, &b->gpu_nonce_len, f);
	if (!err && q->gpu_nonce && b->gpu_nonce_len != sizeof b->gpu_nonce)
		err = fault_set(f, -EINVAL, "--gpu-nonce takes 32 bytes in hex");
	return err;
}

// 0 accepted, 1 refused, or a negative errno.
static int judge(const struct request *q, struct fault *f)
{
	struct bindings to = {.data_len = 0};
	X509 *cert = NULL;
	struct judge j;
	char what[96];
	int err = judge_begin(&j, &q->files, f);
	if (!err && rules_any(j.policy->json))
		err = fault_set(f, -EINVAL, "%s has rules, which are about resources: coffer policy check %s %s --resource ...", q->files.policy, q->files.policy,
				q->files.evidence.evidence);
	if (!err)
		err = read_bindings(q, &to, f);
	if (!err)
		err = evidence_certificate(q->files.evidence.evidence, &cert, f);
	j.in.strict = q->strict;
	j.in.report_data = q->report_data ? to.data : NULL;	// shorter ones are followed by zeros
	j.in.nonce = q->nonce && !cert ? to.nonce : NULL;
	j.in.nonce_len = to.nonce_len;
	j.in.gpu_nonce = q->gpu_nonce ? to.gpu_nonce : NULL;
	if (!err && cert)
		err = begin_certificate(q, cert, to.nonce, to.nonce_len, &j.in, to.data, j.result, f);
	if (err)
		goto out;
	enum evidence_kind kind = judge_evidence(&j);
	if (q->files.reference.file_count)
		refval_appraise(j.references, j.in.now, j.result);
	snprintf(what, sizeof what, "%s%s", cert ? "a certificate with " : "", evidence_kind_name(kind));
	if (q->json)
		print_json(what, j.result, j.in.now);
	else
		print_page(q, what, j.result, j.in.now);
	err = attest_passed(j.result) ? 0 : 1;
	fflush(stdout);
	evidence_missing(&q->files.evidence, &j.needs);
out:
	X509_free(cert);
	judge_end(&j);
	return err;
}

static int verify(int argc, char **argv)
{
	static const struct option options[] = {
		JUDGE_OPTIONS, {"policy", required_argument, NULL, 'p'}, {"report-data", required_argument, NULL, 'd'}, {"nonce", required_argument, NULL, 'n'},
		{"gpu-root", required_argument, NULL, 'g'}, {"gpu-nonce", required_argument, NULL, 'G'}, {"strict", no_argument, NULL, 's'},
		{"reference-seen", required_argument, NULL, 'S'}, {"json", no_argument, NULL, 'j'}, {0},
	};
	struct request q = {.files.at = "now"};
	struct fault f = {""};
	const char *why;
	int option;

	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'p': q.files.policy = optarg; break;
		case 'd': q.report_data = optarg; break;
		case 'n': q.nonce = optarg; break;
		case 'g': q.files.gpu_root = optarg; break;
		case 'G': q.gpu_nonce = optarg; break;
		case 's': q.strict = true; break;
		case 'S': q.files.reference.seen = optarg; break;
		case 'j': q.json = true; break;
		default:
			if (!judge_option(&q.files, option, optarg, &why))
				return cli_usage(&command_verify, "%s", why);
		}
	}
	if (argc - optind != 1)
		return cli_usage(&command_verify, "name one file: raw evidence, or a bundle");
	if ((why = judge_options_wrong(&q.files)))
		return cli_usage(&command_verify, "%s", why);
	q.files.evidence.evidence = argv[optind];
	int err = judge(&q, &f);
	return err < 0 ? cli_fail(&f) : err ? EXIT_REFUSED : EXIT_OK;
}

const struct command command_verify = {
	"verify", "check attestation evidence of any kind and explain the verdict",
	"usage: coffer verify FILE [--collateral FILE|DIR] [--event-log FILE] [--policy FILE] [--at TIME] [--report-data HEX] [--nonce HEX]\n"
	"                     [--reference FILE... --reference-key KEY... [--reference-seen FILE]] [--strict] [--json]\n\n"
	"FILE is raw evidence (AMD SEV-SNP, Intel SGX and TDX, Azure, Hygon CSV, Arm CCA, TPM, NVIDIA GPUs), a bundle (coffer evidence bundle),\n"
	"or an RA-TLS certificate (PEM, DER), whose evidence must be about its key.\n"
	"Everything is checked here, without a network: chain to the maker's root, revocation, collateral, signatures, TCB, and what the\n"
	"policy asks. Every check is listed, also after one failed.\n\n"
	"--collateral FILE   what belongs to the evidence: a bundle, JSON as tools for Intel's PCCS write it, or certificates in PEM (of SEV-SNP's\n"
	"                    chip or a GPU, and above). Counts before what FILE has\n"
	"--collateral DIR    a folder kept by `coffer collateral`: what the evidence needs is found there; what is missing is said\n"
	"--event-log FILE    a TCG log or CCEL data, to be replayed to the registers of the evidence\n"
	"--policy FILE       YAML: tees, measurements, tcb_status, snp_minimum_tcb, require_revocation... (docs/attestation.md)\n"
	"--reference FILE    signed reference values (coffer reference), which the claims must meet; --reference-key FILE: a public key or\n"
	"                    certificate of who may sign them; --reference-seen FILE: remembers their versions and refuses an older one\n"
	"--at TIME           judge for 2025-06-19T10:16:03Z, or for the time `recorded` in the bundle, instead of now\n"
	"--report-data HEX   what the evidence must be bound to; --nonce HEX: what a TPM's quote or a certificate must be bound to\n"
	"--tpm-root FILE     certificates of makers of TPMs; --tpm-crl FILE: revocation lists (PEM, DER) of them and of the authorities under\n"
	"                    them: with it each certificate up to the root needs a current list by its issuer\n"
	"--gpu-root FILE     certificates of makers of GPUs, beside NVIDIA's, which is known; --gpu-nonce HEX: the nonce of GPUs that stand beside\n"
	"                    other evidence in a bundle (device_evidence_list); of GPUs alone it is --nonce\n"
	"--strict            refuse bytes behind the evidence\n"
	"--insecure-simulated-root FILE   a test root whose evidence counts as `simulated` (the policy must accept that as well)\n\n"
	"Exit codes: 0 accepted, 3 refused, 1 something could not be read, 2 wrong usage.\n",
	verify,
};
