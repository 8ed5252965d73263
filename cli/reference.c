// SPDX-License-Identifier: Apache-2.0
// `coffer reference`: signed documents of what verifiers should find.
#include "cli/reference.h"

#include <errno.h>
#include <getopt.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "attest/json.h"
#include "attest/slice.h"
#include "cli/cli.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/jwe.h"

#define MAX_WORDS 1024
#define DAY 86400

struct request {
	const char *file, *key, *from_key, *name, *tee, *note, *reason;
	struct reference_files seen;	// of `verify`
	time_t from, until, at;
	bool json;
	char **words;
	unsigned int word_count;
};

static const struct verb {
	const char *name;
	int (*run)(const struct request *q, struct fault *f);
	bool signs;
	unsigned int least, most;	// words behind the file
} verbs[];

static time_t time_option(const char *text)
{
	json_t *s = json_string(text);
	time_t t = slice_time(s);
	json_decref(s);
	return t;
}

static int keygen(const struct request *q, struct fault *f)
{
	EVP_PKEY *key = jwk_new_key("P-256");
	BIO *private = BIO_new(BIO_s_secmem()), *public = BIO_new(BIO_s_mem());
	struct dsse_key named = {NULL, ""};
	char path[4096], *text;
	long len;
	int err = 0;
	if (!key || !private || !public || PEM_write_bio_PKCS8PrivateKey(private, key, NULL, NULL, 0, NULL, NULL) != 1 ||
	    PEM_write_bio_PUBKEY(public, key) != 1 || EVP_PKEY_up_ref(key) != 1) {
		err = fault_set(f, -ENOMEM, "cannot make a key");
		goto out;
	}
	err = dsse_key_of(key, &named, f);
	len = BIO_get_mem_data(private, &text);
	if (!err)
		err = file_write(q->file, text, (size_t)len, 0600, true, f);
	snprintf(path, sizeof path, "%s.pub", q->file);
	len = BIO_get_mem_data(public, &text);
	if (!err)
		err = file_write(path, text, (size_t)len, 0644, true, f);
	if (!err)
		printf("Made the key %s\n  private  %s: keep it in a safe place\n  public   %s: for who verifies\n", named.id, q->file, path);
	dsse_key_free(&named);
out:
	BIO_free(private);
	BIO_free(public);
	EVP_PKEY_free(key);
	return err;
}

// Opens what is to be changed, as its signer's work, and signs what became of it.
static int edit(const struct request *q, int (*change)(const struct request *q, json_t *body, struct fault *f), struct fault *f)
{
	struct dsse_key key = {NULL, ""}, old = {NULL, ""};
	struct refval_doc d = {.json = NULL};
	struct fault why = {""};
	char *text = NULL, *sealed = NULL;
	size_t len;
	int err = reference_private_key(q->key, &key, f);
	if (!err && q->from_key)
		err = reference_public_key(q->from_key, &old, f);
	if (!err)
		err = file_read(q->file, DSSE_MAX_BYTES, &text, &len, f);
	if (err)
		goto out;
	err = refval_open(text, len, q->from_key ? &old : &key, 1, &d, &why);
	if (err) {
		fault_set(f, err, "%s: %.800s%s", q->file, why.text, err == -EBADMSG && !q->from_key ? " (--from-key names its signer's)" : "");
		goto out;
	}
	err = change(q, d.json, f);
	if (err)
		goto out;
	err = refval_sign(d.json, &key, time(NULL), &sealed, f);
	if (!err)
		err = file_write(q->file, sealed, strlen(sealed), 0644, false, f);
	if (!err)
		printf("Signed %s version %lld of %s\n", q->file, (long long)json_integer_value(json_object_get(d.json, "version")), d.name);
out:
	free(text);
	free(sealed);
	refval_close(&d);
	dsse_key_free(&key);
	dsse_key_free(&old);
	return err;
}

static int put_words(const struct request *q, json_t *body, bool own_times, struct fault *f)
{
	int err = 0;
	for (unsigned int i = 0; i < q->word_count && !err; i++) {
		struct refval_new v;
		err = refval_parse(q->words[i], &v, f);
		if (err)
			break;
		v.tee = q->tee;
		v.note = q->note;
		v.from = own_times ? q->from : -1;
		v.until = own_times ? q->until : -1;
		err = refval_put(body, &v, f);
		if (!err)
			printf("%s has that value already\n", v.name);
		err = err < 0 ? err : 0;
		json_decref(v.value);
	}
	return err;
}

static int create(const struct request *q, struct fault *f)
{
	struct dsse_key key = {NULL, ""};
	char *text = NULL;
	time_t now = time(NULL), from = q->from >= 0 ? q->from : now;
	json_t *body = refval_body(q->name ? q->name : "", from, q->until >= 0 ? q->until : from + 365 * DAY);
	int err = reference_private_key(q->key, &key, f);
	if (!err)
		err = body ? put_words(q, body, false, f) : fault_set(f, -EINVAL, "the name is not text");
	if (!err)
		err = refval_sign(body, &key, now, &text, f);
	if (!err)
		err = file_write(q->file, text, strlen(text), 0644, true, f);
	if (!err)
		printf("Signed %s version 1 of %s\n  holds until %s\n  key         %s\n", q->file, q->name, slice_text(body, "not_after"), key.id);
	free(text);
	json_decref(body);
	dsse_key_free(&key);
	return err;
}

static int add_to(const struct request *q, json_t *body, struct fault *f)
{
	return put_words(q, body, true, f);
}

static int revoke_in(const struct request *q, json_t *body, struct fault *f)
{
	int err = 0;
	for (unsigned int i = 0; i < q->word_count && err >= 0; i++) {
		struct refval_new v = {.name = q->words[i]};
		if (strchr(q->words[i], '='))
			err = refval_parse(q->words[i], &v, f);
		if (!err)
			err = refval_revoke(body, v.name, v.value, q->reason, time(NULL), f);
		json_decref(v.value);
		if (err > 0)
			printf("Revoked %d of %s\n", err, v.name);
		err = err < 0 ? err : 0;
	}
	return err;
}

static int renew_in(const struct request *q, json_t *body, struct fault *f)
{
	if (q->from < 0 && q->until < 0)
		return fault_set(f, -EINVAL, "until when? --not-after TIME or --days N");
	if (q->from >= 0)
		set_time(body, "not_before", q->from);
	if (q->until >= 0)
		set_time(body, "not_after", q->until);
	return 0;
}

static int add(const struct request *q, struct fault *f)
{
	return edit(q, add_to, f);
}

static int revoke(const struct request *q, struct fault *f)
{
	return edit(q, revoke_in, f);
}

static int renew(const struct request *q, struct fault *f)
{
	return edit(q, renew_in, f);
}

static void print_document(const struct refval_doc *d)
{
	char a[32], b[32], text[400];
	printf("%s version %lld, issued %s\nholds from %s until %s\n", d->name, (long long)d->version, slice_text(d->json, "issued"),
	       time_text(a, d->from), time_text(b, d->until));
	for (unsigned int i = 0; i < d->count; i++) {
		const struct refval *v = &d->values[i];
		bool revoked = v->revoked >= 0;
		printf("  %s%s%s%s%s%s%s\n", revoked ? cli_red(stdout) : "", v->name, refval_text(v, text, sizeof text), revoked ? cli_plain(stdout) : "",
		       v->tee ? "  on " : "", v->tee ? v->tee : "", revoked ? "  REVOKED" : "");
		if (*v->note)
			printf("      %s\n", v->note);
		if (revoked)
			printf("      revoked %s%s%s\n", time_text(a, v->revoked), *v->reason ? ": " : "", v->reason);
		if (v->from >= 0)
			printf("      from %s\n", time_text(a, v->from));
		if (v->until >= 0)
			printf("      until %s\n", time_text(a, v->until));
	}
}

static int show(const struct request *q, struct fault *f)
{
	struct refval_doc d;
	struct fault why = {""};
	char *text;
	size_t len;
	int err = file_read(q->file, DSSE_MAX_BYTES, &text, &len, f);
	if (err)
		return err;
	err = refval_open_unverified(text, len, &d, &why);
	free(text);
	if (err)
		return fault_set(f, err, "%s: %.900s", q->file, why.text);
	if (q->json) {
		text = json_dumps(d.json, JSON_COMPACT | JSON_SORT_KEYS);
		printf("{\"verified\":false,\"document\":%s}\n", text ? text : "null");
		free(text);
	} else {
		printf("%s: nothing of this is verified (coffer reference verify).\n", q->file);
		print_document(&d);
	}
	refval_close(&d);
	return 0;
}

static int verify(const struct request *q, struct fault *f)
{
	struct refval_set *s = calloc(1, sizeof *s);
	struct reference_files files = q->seen;
	if (!s)
		return fault_set(f, -ENOMEM, "out of memory");
	files.files[0] = q->file;
	files.file_count = 1;
	int err = reference_load(&files, q->at >= 0 ? q->at : time(NULL), s, f);
	const struct refval_doc *d = &s->docs[0];
	bool refused = err == -EBADMSG || err == -ESTALE;
	if (q->json && (!err || refused)) {
		json_t *o = err ? json_pack("{s:s, s:s}", "verdict", "refused", "why", f->text)
				: json_pack("{s:s, s:s, s:s, s:O}", "verdict", "accepted", "signer", d->signer, "digest", d->digest, "document", d->json);
		char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
		printf("%s\n", text ? text : "{}");
		free(text);
		json_decref(o);
	} else if (!err) {
		printf("%sACCEPTED%s: %s is signed by %s and holds.\n", cli_green(stdout), cli_plain(stdout), q->file, d->signer);
		print_document(d);
	} else if (refused) {
		printf("%sREFUSED%s: %s\n", cli_red(stdout), cli_plain(stdout), f->text);
	}
	refval_set_free(s);
	free(s);
	return refused ? EXIT_REFUSED : err;
}

static const struct verb verbs[] = {
	{"keygen", keygen, false, 0, 0}, {"create", create, true, 0, MAX_WORDS}, {"add", add, true, 1, MAX_WORDS}, {"revoke", revoke, true, 1, MAX_WORDS},
	{"renew", renew, true, 0, 0}, {"show", show, false, 0, 0}, {"verify", verify, false, 0, 0},
};

static int run(const struct verb *v, struct request *q)
{
	struct fault f = {""};
	if (v->signs && q->seen.key_count != 1)
		return cli_usage(&command_reference, "whose work is it? --key FILE, the private key of who signs");
	if (v->run == verify && !q->seen.key_count)
		return cli_usage(&command_reference, "who may have signed it? --key FILE, a public key or certificate");
	if (v->run == create && !q->name)
		return cli_usage(&command_reference, "a document has a name, by which its versions are known: --name NAME");
	q->key = q->seen.keys[0];
	int err = v->run(q, &f);
	return err < 0 ? cli_fail(&f) : err;
}

static int reference(int argc, char **argv)
{
	static const struct option options[] = {
		{"key", required_argument, NULL, 'k'}, {"from-key", required_argument, NULL, 'K'}, {"name", required_argument, NULL, 'n'},
		{"not-before", required_argument, NULL, 'b'}, {"not-after", required_argument, NULL, 'a'}, {"days", required_argument, NULL, 'd'},
		{"tee", required_argument, NULL, 't'}, {"note", required_argument, NULL, 'N'}, {"reason", required_argument, NULL, 'r'},
		{"at", required_argument, NULL, 'A'}, {"seen", required_argument, NULL, 's'}, {"json", no_argument, NULL, 'j'}, {0},
	};
	struct request q = {.from = -1, .until = -1, .at = -1};
	const struct verb *v = NULL;
	long days;
	char *end;
	int option;

	if (argc > 1 && !strcmp(argv[1], "launch"))
		return reference_launch(argc - 1, argv + 1);
	if (argc > 1 && !strcmp(argv[1], "import"))
		return reference_import(argc - 1, argv + 1);
	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		time_t t = option == 'b' || option == 'a' || option == 'A' ? time_option(optarg) : 0;
		if (t < 0)
			return cli_usage(&command_reference, "'%s' is no time: write it as 2026-01-31T00:00:00Z", optarg);
		switch (option) {
		case 'k':
			if (q.seen.key_count == REFERENCE_MAX_FILES)
				return cli_usage(&command_reference, "more than %d keys", REFERENCE_MAX_FILES);
			q.seen.keys[q.seen.key_count++] = optarg;
			break;
		case 'K': q.from_key = optarg; break;
		case 'n': q.name = optarg; break;
		case 'b': q.from = t; break;
		case 'a': q.until = t; break;
		case 'A': q.at = t; break;
		case 'd':
			days = strtol(optarg, &end, 10);
			if (*end || days < 1 || days > 36500)
				return cli_usage(&command_reference, "--days takes 1 to 36500");
			q.until = time(NULL) + days * DAY;
			break;
		case 't': q.tee = optarg; break;
		case 'N': q.note = optarg; break;
		case 'r': q.reason = optarg; break;
		case 's': q.seen.seen = optarg; break;
		case 'j': q.json = true; break;
		default: return cli_usage(&command_reference, "wrong option");
		}
	}
	for (size_t i = 0; optind < argc && i < sizeof verbs / sizeof *verbs; i++)
		if (!strcmp(verbs[i].name, argv[optind]))
			v = &verbs[i];
	if (!v || argc - optind < 2)
		return cli_usage(&command_reference, "say what to do with which file: keygen, create, add, revoke, renew, show, verify or import FILE; or launch snp|tdx");
	q.file = argv[optind + 1];
	q.words = argv + optind + 2;
	q.word_count = (unsigned int)(argc - optind - 2);
	if (q.word_count < v->least || q.word_count > v->most)
		return cli_usage(&command_reference, "wrong number of arguments for '%s'", v->name);
	return run(v, &q);
}

const struct command command_reference = {
	"reference", "make, sign and check reference values: what a verifier should find",
	"usage: coffer reference keygen KEY                             a new key pair: KEY and KEY.pub\n"
	"       coffer reference create FILE --key KEY --name NAME [--not-before TIME] [--not-after TIME | --days N] [VALUE...]\n"
	"       coffer reference add FILE --key KEY [--tee TEE] [--note TEXT] [--not-before TIME] [--not-after TIME] VALUE...\n"
	"       coffer reference revoke FILE --key KEY [--reason TEXT] VALUE|NAME...\n"
	"       coffer reference renew FILE --key KEY --not-after TIME | --days N\n"
	"       coffer reference show FILE [--json]\n"
	"       coffer reference verify FILE --key PUBLIC... [--at TIME] [--seen FILE] [--json]\n"
	"       coffer reference import CORIM --corim-key PUBLIC... [--add FILE --key KEY --name NAME] [--at TIME] [--insecure-partial] [--json]\n"
	"       coffer reference launch snp --firmware OVMF --vcpus N --vcpu-type TYPE [--features N] [--vmm qemu|ec2]\n"
	"                               [--kernel FILE [--initrd FILE] [--cmdline TEXT]]\n"
	"       coffer reference launch tdx [--firmware OVMF [--two-pass]] [--event-log FILE] [--kernel FILE] [--initrd FILE] [--cmdline TEXT]\n"
	"                               both: [--add FILE --key KEY --name NAME [--note TEXT]] [--json]\n\n"
	"A document names claims by their path and says what they may be: measurement=3fa1..., tdx.rtmr_1=..., snp.reported_tcb.microcode>=72,\n"
	"tdx.td_attributes=0000001000000000/ffffffffffffffff (value and mask). Several values of one name are alternatives; of several minima the\n"
	"highest counts. Each change makes the next version, signed anew. `coffer verify --reference FILE --reference-key KEY.pub` compares.\n\n"
	"      --key FILE      the private key of who signs (PEM: P-256, P-384, Ed25519); for verify the public keys that may have signed\n"
	"      --from-key FILE who signed the document until now, when that was another key\n"
	"      --name NAME     what it is about; versions count under this name\n"
	"      --tee TEE       the values hold on this hardware only: snp, tdx, sgx, csv, cca, tpm, gpu\n"
	"      --not-before TIME, --not-after TIME   2026-01-31T00:00:00Z: when the document holds (create, renew), or the values do (add)\n"
	"      --days N        until N days from now (create without it: 365)\n"
	"      --seen FILE     remembers the version met last of each document; an older one is refused\n\n"
	"import reads a signed CoRIM (CBOR, COSE_Sign1) with profiles of SEV-SNP, Intel, Arm CCA or PSA, shows it as values of ours, and puts them into\n"
	"a document. What is not understood refuses the whole, unless --insecure-partial leaves it out.\n"
	"launch computes what a virtual machine will be measured as: SNP's launch digest; TDX's MRTD, RTMRs as an event log (CCEL) gives them, and\n"
	"the digests of kernel, initrd and command line as events show them, which must be in the log when there is one. TYPE is EPYC-Milan,\n"
	"EPYC-Genoa... or FAMILY-MODEL-STEPPING. --add puts the values into a document.\n\n"
	"Exit codes: 0 done, 3 refused (verify: not signed by these keys, not valid now, older than seen), 1 failed, 2 wrong usage.\n",
	reference,
};
