// SPDX-License-Identifier: Apache-2.0
// The store of collateral: items by their makers' paths, what is refused, what replaces what, and that evidence of each kind verifies with
// what the store adds. All under test roots; what real machines sent is in collateral_tool.c.
#include "attest/collateral.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "attest/evidence.h"
#include "attest/json.h"
#include "lib/file.h"
#include "tests/attest/make/dcap.h"
#include "tests/attest/make/snp.h"
#include "tests/attest/ok.h"
#include "tests/attest/vectors.h"
#include "tests/folder.h"

static char folder[64];

#define HWID_64 "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static void test_keys(void)
{
	static const struct { const char *text, *path, *name; } good[] = {
		{"/sgx/certification/v4/tcb?fmspc=00906ed50000", "/sgx/certification/v4/tcb?fmspc=00906ED50000", "sgx-tcb-00906ED50000-standard"},
		{"/tdx/certification/v4/tcb?update=early&fmspc=00806F050000", "/tdx/certification/v4/tcb?fmspc=00806F050000&update=early",
		 "tdx-tcb-00806F050000-early"},
		{"/tdx/certification/v4/qe/identity?update=standard", "/tdx/certification/v4/qe/identity", "tdx-qe-standard"},
		{"/sgx/certification/v4/pckcrl?ca=platform&encoding=pem", "/sgx/certification/v4/pckcrl?ca=platform&encoding=der", "sgx-pck-crl-platform"},
		{"/sgx/certification/v4/rootcacrl", "/IntelSGXRootCA.der", "sgx-root-crl"},
		{"/IntelSGXRootCA.der", "/IntelSGXRootCA.der", "sgx-root-crl"},
		{"/vcek/v1/Milan/" HWID_64 "?ucodeSPL=219&blSPL=4&teeSPL=00&snpSPL=24",
		 "/vcek/v1/Milan/" HWID_64 "?blSPL=04&teeSPL=00&snpSPL=24&ucodeSPL=219", "vcek-Milan-" HWID_64 "-4-0-24-219"},
		{"/vcek/v1/Turin/0011223344556677?fmcSPL=1&blSPL=1&teeSPL=1&snpSPL=4&ucodeSPL=80",
		 "/vcek/v1/Turin/0011223344556677?fmcSPL=01&blSPL=01&teeSPL=01&snpSPL=04&ucodeSPL=80", "vcek-Turin-0011223344556677-1-1-1-4-80"},
		{"/vlek/v1/Genoa/cert_chain", "/vlek/v1/Genoa/cert_chain", "amd-vlek-Genoa-chain"},
		{"/vcek/v1/Milan/crl", "/vcek/v1/Milan/crl", "amd-vcek-Milan-crl"},
		{"/hsk_cek?snumber=TMCA1234", "/hsk_cek?snumber=TMCA1234", "hygon-hsk-cek-TMCA1234"},
	};
	static const char *const bad[] = {
		"", "/", "sgx/certification/v4/tcb?fmspc=00906ED50000", "/sgx/certification/v4/tcb", "/sgx/certification/v4/tcb?fmspc=00906ED5000",
		"/sgx/certification/v4/tcb?fmspc=00906ED5000g", "/sgx/certification/v4/tcb?fmspc=00906ED50000&fmspc=00906ED50000",
		"/sgx/certification/v4/tcb?fmspc=00906ED50000&tcbEvaluationDataNumber=17", "/sgx/certification/v4/tcb?fmspc=00906ED50000&update=late",
		"/sgx/certification/v3/tcb?fmspc=00906ED50000", "/tdx/certification/v4/pckcrl?ca=platform", "/sgx/certification/v4/pckcrl?ca=root",
		"/sgx/certification/v4/../../../etc/passwd", "/vcek/v1/Rome/crl", "/vcek/v1/Milan", "/vcek/v1/Milan/", "/vcek/v1/Milan/../crl",
		"/vcek/v1/Milan/0011223344556677?blSPL=1&teeSPL=1&snpSPL=4&ucodeSPL=80", "/vcek/v1/Milan/" HWID_64 "?blSPL=256&teeSPL=0&snpSPL=24&ucodeSPL=219",
		"/vcek/v1/Milan/" HWID_64 "?blSPL=-1&teeSPL=0&snpSPL=24&ucodeSPL=219", "/vlek/v1/Milan/" HWID_64 "?blSPL=4&teeSPL=0&snpSPL=24&ucodeSPL=219",
		"/hsk_cek?snumber=../x", "/hsk_cek?snumber=", "/hrk?x=1", "/vcek/v1/Milan/crl?a&b&c&d&e&f&g&h&i",
	};
	struct collateral_key k, again;
	struct fault f = {""};
	bool same = true;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		int err = collateral_key_read(good[i].text, &k, &f);
		ok(good[i].name, !err && !strcmp(k.path, good[i].path) && !strcmp(k.name, good[i].name), "%s %s %s", f.text, k.path, k.name);
		same &= !collateral_key_read(k.path, &again, &f) && !strcmp(k.name, again.name) && !strcmp(k.path, again.path);
	}
	ok("collateral: a canonical path stays as it is", same, "it changes");
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		char label[200];
		snprintf(label, sizeof label, "collateral: no item '%.150s'", bad[i]);
		ok(label, collateral_key_read(bad[i], &k, &f) == -EINVAL, "read as %s", k.name);
	}
}

static struct collateral_store *new_store(const char *name)
{
	char path[128];
	struct collateral_store *s;
	struct fault f = {""};
	snprintf(path, sizeof path, "%s/%s", folder, name);
	if (!ok("collateral: a new store", !collateral_open(&s, path, true, &f), "%s", f.text))
		exit(1);
	return s;
}

static int put(struct collateral_store *s, const char *path, const void *body, size_t len, const char *chain, struct fault *f)
{
	struct collateral_item i = {.fetched = MADE_NOW, .source = "a test"};
	int err = collateral_key_read(path, &i.key, f);
	if (!err)
		err = collateral_item_set(&i, body, len, chain, chain ? strlen(chain) : 0, f);
	if (!err) {
		err = collateral_put(s, &i, f);
		collateral_item_free(&i);
	}
	return err;
}

static void put_all(struct collateral_store *s, const struct made *m, bool tdx)
{
	struct fault f = {""};
	int err = put(s, tdx ? "/tdx/certification/v4/tcb?fmspc=00806F050000" : "/sgx/certification/v4/tcb?fmspc=00806F050000", m->tcb, strlen(m->tcb),
		      m->tcb_chain, &f);
	if (!err)
		err = put(s, tdx ? "/tdx/certification/v4/qe/identity" : "/sgx/certification/v4/qe/identity", m->qe, strlen(m->qe), m->tcb_chain, &f);
	if (!err)
		err = put(s, "/sgx/certification/v4/pckcrl?ca=platform", m->pck_crl, m->parts.pck_crl.len, m->crl_chain, &f);
	if (!err)
		err = put(s, "/IntelSGXRootCA.der", m->root_crl, m->parts.root_crl.len, NULL, &f);
	ok("collateral: all of Intel's kept", !err, "%s", f.text);
}

// Verifies what is in the bundle; the ids of the failed checks.
static const char *judge(struct bundle *b, X509 *root, time_t now)
{
	static char text[1024];
	struct attest_result r;
	struct evidence_input in = {.bundle = b, .simulated_roots = &root, .simulated_root_count = 1, .now = now};
	attest_result_init(&r);
	evidence_verify(&in, &r);
	snprintf(text, sizeof text, "%s", failed_ids(&r));
	attest_result_free(&r);
	return text;
}

static void test_intel(bool tdx)
{
	struct collateral_store *s = new_store(tdx ? "tdx" : "sgx");
	struct collateral_needs n;
	struct bundle b;
	struct made m, old;
	struct fault f = {""};
	made_make(tdx ? &made_tdx : &made_sgx, &m);
	bundle_init(&b);
	bundle_put_bytes(&b, "evidence", m.quote, m.quote_len);
	int err = collateral_fill(s, &b, MADE_NOW, &n, &f);
	ok("collateral: what a quote needs is missing", !err && n.count == 4 && !n.note[0] && n.need[0].state == COLLATERAL_MISSING &&
	   n.need[3].state == COLLATERAL_MISSING && !strcmp(n.need[0].key.name, tdx ? "tdx-tcb-00806F050000-standard" : "sgx-tcb-00806F050000-standard"),
	   "%s %u %s", f.text, n.count, n.need[0].key.name);
	ok("collateral: without it a quote is refused", strstr(judge(&b, made_root(), MADE_NOW), "tcb-info"), "it is not");
	put_all(s, &m, tdx);
	err = collateral_fill(s, &b, MADE_NOW, &n, &f);
	bool there = !err;
	for (unsigned int i = 0; i < n.count; i++)
		there &= n.need[i].state == COLLATERAL_THERE;
	ok("collateral: all is there", there && n.count == 4, "%s", f.text);
	ok("collateral: a quote verifies with what the store adds", !*judge(&b, made_root(), MADE_NOW), "%s", judge(&b, made_root(), MADE_NOW));
	collateral_fill(s, &b, MADE_NOW + 40 * MADE_DAY, &n, &f);
	ok("collateral: what is in the bundle, and has expired in the store", n.need[0].state == COLLATERAL_THERE && n.need[0].in_bundle, "%d", n.need[0].state);
	bundle_free(&b);
	bundle_init(&b);
	bundle_put_bytes(&b, "evidence", m.quote, m.quote_len);
	collateral_fill(s, &b, MADE_NOW + 40 * MADE_DAY, &n, &f);
	ok("collateral: what has expired is said, and is given all the same", n.need[0].state == COLLATERAL_EXPIRED && n.need[0].expires == MADE_NOW + 29 * MADE_DAY &&
	   json_object_get(b.json, "tcb_info"), "%d", n.need[0].state);

	// Of another authority's list, of another platform, older, changed: none of it replaces what is there.
	struct dcap_spec spec = tdx ? made_tdx : made_sgx;
	spec.tcb_issued -= MADE_DAY;
	spec.crl_from -= MADE_DAY;
	made_make(&spec, &old);
	const char *tcb = tdx ? "/tdx/certification/v4/tcb?fmspc=00806F050000" : "/sgx/certification/v4/tcb?fmspc=00806F050000";
	ok("collateral: an older statement does not replace a newer one", put(s, tcb, old.tcb, strlen(old.tcb), old.tcb_chain, &f) == -ESTALE, "%s", f.text);
	ok("collateral: nor does an older list", put(s, "/IntelSGXRootCA.der", old.root_crl, old.parts.root_crl.len, NULL, &f) == -ESTALE, "%s", f.text);
	ok("collateral: a statement about another platform", put(s, "/sgx/certification/v4/tcb?fmspc=00906ED50000", m.tcb, strlen(m.tcb), m.tcb_chain, &f) ==
	   -EINVAL, "%s", f.text);
	ok("collateral: a list of another authority", put(s, "/sgx/certification/v4/pckcrl?ca=processor", m.pck_crl, m.parts.pck_crl.len, m.crl_chain, &f) ==
	   -EINVAL, "%s", f.text);
	ok("collateral: a list under another's chain", put(s, "/sgx/certification/v4/pckcrl?ca=platform", m.pck_crl, m.parts.pck_crl.len, old.crl_chain, &f) ==
	   -EBADMSG, "%s", f.text);
	ok("collateral: a page in place of an answer", put(s, tcb, "<html>Log in</html>", 19, m.tcb_chain, &f) < 0, "kept");
	ok("collateral: a statement without its chain", put(s, tcb, m.tcb, strlen(m.tcb), NULL, &f) == -EBADMSG, "%s", f.text);
	char *changed = strdup(m.tcb);
	*strstr(changed, "UpToDate") = 'V';
	ok("collateral: a statement that was changed", put(s, tcb, changed, strlen(changed), m.tcb_chain, &f) == -EBADMSG, "%s", f.text);
	ok("collateral: the same again is taken", !put(s, tcb, m.tcb, strlen(m.tcb), m.tcb_chain, &f), "%s", f.text);
	bundle_free(&b);
	bundle_init(&b);
	bundle_put_bytes(&b, "evidence", m.quote, m.quote_len);
	collateral_fill(s, &b, MADE_NOW, &n, &f);
	ok("collateral: and after all of that the quote verifies", !*judge(&b, made_root(), MADE_NOW), "%s", judge(&b, made_root(), MADE_NOW));
	free(changed);
	bundle_free(&b);
	made_free(&m);
	made_free(&old);
	collateral_close(s);
}

// Early statements and standard ones side by side; lists that nobody proves.
static void test_which_counts(void)
{
	struct collateral_store *s = new_store("which");
	struct collateral_needs n;
	struct bundle b;
	struct made m, early, ahead;
	struct fault f = {""};
	struct dcap_spec spec = made_tdx;
	made_make(&spec, &m);
	spec.tcb_next = MADE_NOW + MADE_DAY;
	made_make(&spec, &early);
	spec = made_tdx;
	spec.crl_from = MADE_NOW + 60ll * 365 * MADE_DAY;
	spec.crl_to = spec.crl_from + MADE_DAY;
	made_make(&spec, &ahead);
	ok("collateral: a list from a time that has not come", !put(s, "/IntelSGXRootCA.der", ahead.root_crl, ahead.parts.root_crl.len, NULL, &f), "%s", f.text);
	put_all(s, &m, true);	// it does not keep out the true one
	ok("collateral: it pushes out none that has", put(s, "/IntelSGXRootCA.der", ahead.root_crl, ahead.parts.root_crl.len, NULL, &f) == -ESTALE &&
	   strstr(f.text, "has not come"), "%s", f.text);
	int err = put(s, "/tdx/certification/v4/tcb?fmspc=00806F050000&update=early", early.tcb, strlen(early.tcb), early.tcb_chain, &f);
	for (int later = 0; later < 2; later++) {
		bundle_init(&b);
		bundle_put_bytes(&b, "evidence", m.quote, m.quote_len);
		time_t now = MADE_NOW + (later ? 10 * MADE_DAY : 0);
		if (!err)
			err = collateral_fill(s, &b, now, &n, &f);
		ok(later ? "collateral: an early statement that has expired gives way to the standard one" : "collateral: an early statement counts before the standard one",
		   !err && n.need[0].key.early == !later && n.need[0].state == COLLATERAL_THERE && !*judge(&b, made_root(), now), "%s %d %d %s", f.text,
		   n.need[0].key.early, n.need[0].state, judge(&b, made_root(), now));
		bundle_free(&b);
	}
	made_free(&m);
	made_free(&early);
	made_free(&ahead);
	collateral_close(s);
}

static char *hex_id(const uint8_t *report, size_t n)
{
	static char hex[129];
	for (size_t i = 0; i < n; i++)
		sprintf(hex + 2 * i, "%02x", report[0x1a0 + i]);
	return hex;
}

static void test_amd(const char *name, const struct snp_spec *spec, const char *product, bool with_table)
{
	struct collateral_store *s = new_store(name);
	struct collateral_needs n;
	struct snp_made m;
	struct bundle b;
	struct fault f = {""};
	uint8_t evidence[SNP_REPORT_BYTES + 8192], *der = NULL;
	char path[COLLATERAL_MAX_PATH], fmc[16] = "", label[100];
	size_t crl_len, len = SNP_REPORT_BYTES;
	snp_make(spec, &m);
	memcpy(evidence, m.report, SNP_REPORT_BYTES);
	if (with_table) {
		memcpy(evidence + len, m.table, m.table_len);
		len += m.table_len;
	}
	bundle_init(&b);
	bundle_put_bytes(&b, "evidence", evidence, len);
	int err = collateral_fill(s, &b, SNP_MADE_NOW, &n, &f);
	snprintf(label, sizeof label, "collateral: what %s needs", name);
	if (with_table)
		ok(label, !err && n.count == 1 && n.need[0].key.kind == COLLATERAL_AMD_CRL, "%s %u", f.text, n.count);
	else
		ok(label, !err && (n.count == 3 || *n.note), "%s %u %s", f.text, n.count, n.note);
	if (spec->turin)
		snprintf(fmc, sizeof fmc, "fmcSPL=%d&", spec->tcb[0]);
	snprintf(path, sizeof path, "/vcek/v1/%s/%s?%sblSPL=%d&teeSPL=%d&snpSPL=%d&ucodeSPL=%d", product, hex_id(m.report, spec->turin ? 8 : 64), fmc,
		 spec->tcb[1], spec->tcb[2], spec->tcb[3], spec->tcb[4]);
	int der_len = i2d_X509(m.chain.certs[0], &der);
	if (!with_table)
		err = put(s, path, der, (size_t)der_len, NULL, &f);
	char *pem = pki_pem(m.chain.certs[2], m.chain.certs[1], NULL);	// the other way round
	snprintf(path, sizeof path, "/vcek/v1/%s/cert_chain", product);
	if (!err)
		err = put(s, path, pem, strlen(pem), NULL, &f);
	uint8_t *crl = pki_crl_der(m.crl, &crl_len);
	m.crl = NULL;	// it frees it
	snprintf(path, sizeof path, "/vcek/v1/%s/crl", product);
	if (!err)
		err = put(s, path, crl, crl_len, NULL, &f);
	if (!err)
		err = collateral_fill(s, &b, SNP_MADE_NOW, &n, &f);
	const char *failed = judge(&b, snp_made_root(), SNP_MADE_NOW);
	snprintf(label, sizeof label, "collateral: %s verifies with what the store adds", name);
	ok(label, !err && !*failed, "%s %s", f.text, failed);
	ok("collateral: and its revocation list was used", json_object_get(b.json, "crl") != NULL, "it was not");
	if (!with_table) {
		snprintf(path, sizeof path, "/vcek/v1/%s/%s?%sblSPL=%d&teeSPL=%d&snpSPL=%d&ucodeSPL=%d", product, hex_id(m.report, spec->turin ? 8 : 64), fmc,
			 spec->tcb[1] + 1, spec->tcb[2], spec->tcb[3], spec->tcb[4]);
		char *other = strstr(path, product);
		memcpy(other, *product == 'G' ? "Milan" : "Genoa", 5);
		ok("collateral: a certificate of another product", strlen(product) != 5 || put(s, path, der, (size_t)der_len, NULL, &f) == -EINVAL, "%s", f.text);
		memcpy(other, product, 5);
		ok("collateral: a certificate of other firmware", put(s, path, der, (size_t)der_len, NULL, &f) == -EINVAL, "%s", f.text);
	}
	OPENSSL_free(der);
	free(pem);
	free(crl);
	bundle_free(&b);
	snp_made_free(&m);
	collateral_close(s);
}

static void test_hidden_chip(void)
{
	struct collateral_needs n;
	struct snp_spec spec = snp_genoa;
	struct snp_made m;
	struct bundle b;
	struct fault f = {""};
	spec.masked = true;
	snp_make(&spec, &m);
	bundle_init(&b);
	bundle_put_bytes(&b, "evidence", m.report, SNP_REPORT_BYTES);
	int err = collateral_needs(&b, NULL, &n, &f);
	ok("collateral: a hidden chip cannot be asked for, and that is said", !err && n.count == 2 && strstr(n.note, "hides its chip"), "%u %s", n.count, n.note);
	bundle_free(&b);
	snp_made_free(&m);
	spec = snp_milan;
	spec.vlek = true;
	snp_make(&spec, &m);
	bundle_init(&b);
	bundle_put_bytes(&b, "evidence", m.report, SNP_REPORT_BYTES);
	err = collateral_needs(&b, NULL, &n, &f);
	ok("collateral: nor a VLEK", !err && strstr(n.note, "VLEK") && !strcmp(n.need[0].key.name, "amd-vlek-Milan-chain"), "%u %s", n.count, n.note);
	bundle_free(&b);
	snp_made_free(&m);
}

static int count_items(void *ctx, const char *file, const struct collateral_item *i, const char *why)
{
	int *counts = ctx;
	(void)file;
	(void)why;
	counts[i ? 0 : 1]++;
	return 0;
}

// Files that somebody damaged, and a disk without room.
static void test_damage(void)
{
	struct collateral_store *s = new_store("damage");
	struct collateral_item i;
	struct collateral_key k, tcb;
	struct fault f = {""};
	struct made m;
	char path[400], *text, sub[80];
	size_t len;
	int counts[2] = {0, 0}, held = 0, tried = 0;
	made_make(&made_tdx, &m);
	put_all(s, &m, true);
	collateral_key_read("/tdx/certification/v4/tcb?fmspc=00806F050000", &tcb, &f);
	collateral_key_read("/tdx/certification/v4/qe/identity", &k, &f);
	snprintf(path, sizeof path, "%s/%s.json", collateral_dir(s), tcb.name);
	file_read(path, 1 << 20, &text, &len, &f);
	for (size_t cut = 0; cut < len; cut += 1 + len / 200) {
		file_write(path, text, cut, 0644, false, NULL);
		held += collateral_get(s, &tcb, &i, &f) != 0;
		tried++;
	}
	ok("collateral: a file that is cut short is damaged, wherever", held == tried && tried > 100, "%d of %d refused", held, tried);
	collateral_each(s, count_items, counts, &f);
	ok("collateral: and is listed as that", counts[0] == 3 && counts[1] == 1, "%d, %d", counts[0], counts[1]);
	snprintf(path, sizeof path, "%s/%s.json", collateral_dir(s), k.name);
	file_write(path, text, len, 0644, false, NULL);
	ok("collateral: an item under another's name is none", collateral_get(s, &k, &i, &f) == -EINVAL && strstr(f.text, "another item"), "%s", f.text);
	ok("collateral: what is damaged can be replaced", !put(s, k.path, m.qe, strlen(m.qe), m.tcb_chain, &f), "%s", f.text);
	put(s, tcb.path, m.tcb, strlen(m.tcb), m.tcb_chain, &f);

	struct rlimit was, tight = {1000, RLIM_INFINITY};
	getrlimit(RLIMIT_FSIZE, &was);
	tight.rlim_max = was.rlim_max;
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &tight);
	int err = put(s, tcb.path, m.tcb, strlen(m.tcb), m.tcb_chain, &f);
	setrlimit(RLIMIT_FSIZE, &was);
	ok("collateral: no room: an error", err == -EFBIG, "%d %s", err, f.text);
	err = collateral_get(s, &tcb, &i, &f);
	ok("collateral: no room: what was there stays", !err && i.body_len == strlen(m.tcb), "%s", f.text);
	if (!err)
		collateral_item_free(&i);
	counts[0] = counts[1] = 0;
	collateral_each(s, count_items, counts, &f);
	ok("collateral: no room: no file is left over", counts[0] == 4 && !counts[1], "%d, %d", counts[0], counts[1]);
	snprintf(sub, sizeof sub, "%s/none", folder);
	struct collateral_store *none;
	ok("collateral: a store that is not there", collateral_open(&none, sub, false, &f) == -ENOENT, "%s", f.text);
	// What was read lately is not taken for what is there now.
	struct timespec t[2] = {{.tv_nsec = UTIME_NOW}, {.tv_nsec = UTIME_NOW}};
	snprintf(path, sizeof path, "%s/%s.json", collateral_dir(s), tcb.name);
	bool good = !collateral_get(s, &tcb, &i, &f);
	if (good)
		collateral_item_free(&i);
	utimensat(AT_FDCWD, path, t, 0);
	good &= !collateral_get(s, &tcb, &i, &f);
	if (good)
		collateral_item_free(&i);
	file_write(path, text, len - 2, 0644, false, NULL);
	ok("collateral: a file that changed is read again", good && collateral_get(s, &tcb, &i, &f) == -EINVAL, "%s", f.text);
	unlink(path);
	ok("collateral: and one that went is gone", collateral_get(s, &tcb, &i, &f) == -ENOENT, "%s", f.text);
	free(text);
	made_free(&m);
	collateral_close(s);
}

int main(void)
{
	if (!test_folder(folder, "collateral"))
		return 1;
	test_keys();
	test_intel(true);
	test_intel(false);
	test_which_counts();
	test_amd("Milan", &snp_milan, "Milan", false);
	test_amd("Genoa", &snp_genoa, "Genoa", false);
	test_amd("Turin", &snp_turin, "Turin", false);
	test_amd("Genoa with certificates", &snp_genoa, "Genoa", true);
	test_hidden_chip();
	test_damage();
	return ok_failed != 0;
}
