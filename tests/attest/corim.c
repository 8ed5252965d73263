// SPDX-License-Identifier: Apache-2.0
// CoRIM: the examples of drafts and of other implementations, signed under test keys; everything wrong that can be; and the command.
#include "attest/corim.h"

#include <errno.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/file.h"
#include "lib/jwe.h"
#include "tests/attest/make/diag.h"
#include "tests/attest/ok.h"
#include "tests/folder.h"

#define NOW 1767225600	// 2026-01-01
#define HEADER "{1: -7, 3: \"application/rim+cbor\", 8: << {0: {0: \"ACME\"}, 1: {0: 1(1700000000), 1: 1(1800000000)}} >>}"
#define TAG(profile, triples) "501({0: \"acme-1\", 3: " profile ", 4: {0: 1(1700000000), 1: 1(1800000000)}, 1: [506(<< {1: {0: \"tag\"}, 4: " triples "} >>)]})"
#define A32 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define B32 "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define A48 A32 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define SNP_CLASS "{0: {0: 37(h'd05e6d1b9f464ae2a610ce3e6ee7e153')}}"
#define SNP(measurements) TAG("32(\"http://amd.com/please-permalink-me\")", "{0: [[" SNP_CLASS ", [" measurements "]]]}")

static struct dsse_key key, other;
static char folder[64], coffer[512];

static int read_as(const char *manifest, const char *header, const struct dsse_key *k, time_t now, struct corim *c, struct fault *f)
{
	static struct diag payload, whole;
	diag_make(&payload, manifest);
	diag_sign(&whole, header, &payload, key.key);
	return corim_read(whole.b, whole.n, k, 1, now, c, f);
}

// "name=value name>=3 name=value/mask", in the order of the manifest.
static const char *values(const struct corim *c)
{
	static char text[4096];
	size_t n = 0, i;
	json_t *row;
	text[0] = '\0';
	json_array_foreach(c->values, i, row) {
		const json_t *least = json_object_get(row, "minimum"), *v = least ? least : json_object_get(row, "value"), *mask = json_object_get(row, "mask");
		char *s = json_is_string(v) ? strdup(json_string_value(v)) : json_dumps(v, JSON_ENCODE_ANY);
		n += (size_t)snprintf(text + n, sizeof text - n, "%s%s%s%s%s%s", i ? " " : "", json_string_value(json_object_get(row, "name")), least ? ">=" : "=", s,
				      mask ? "/" : "", mask ? json_string_value(mask) : "");
		free(s);
	}
	return text;
}

static void expect(const char *name, const char *manifest, const char *tee, size_t left_out, const char *want)
{
	struct corim c = {.values = NULL};
	struct fault f = {""};
	char label[128];
	int err = read_as(manifest, HEADER, &key, NOW, &c, &f);
	const json_t *first = json_array_get(c.values, 0);
	const char *t = json_string_value(json_object_get(first, "tee"));
	snprintf(label, sizeof label, "corim: %s", name);
	char *out = json_dumps(c.left_out, JSON_ENCODE_ANY);
	ok(label, !err && !strcmp(values(&c), want) && json_array_size(c.left_out) == left_out && (!first || (t ? tee && !strcmp(t, tee) : !tee)),
	   "%d %s; %s; left out: %s", err, f.text, err ? "" : values(&c), out ? out : "");
	free(out);
	if (!err)
		corim_free(&c);
}

static void test_profiles(void)
{
	expect("SEV-SNP, guest", SNP("{0: 0, 1: {2: [[7, h'" A48 "']], 1: 553(4), 3: {-2: false, -3: false}, 4: 560(h'00112233445566778899aabbccddeeff')}}, {0: 2, 1: {4: 0}},"
	       "{0: 5, 1: {4: 560(h'" A48 "')}}, {0: 8, 1: {0: {0: \"1.55.21\", 1: 16384}}}"), "snp", 0,
	       "measurement=" A48 " snp.guest_svn>=4 snp.policy_migrate_ma=false snp.policy_debug_allowed=false snp.family_id=00112233445566778899aabbccddeeff"
	       " snp.vmpl=0 snp.id_key_digest=" A48 " snp.current_firmware=1.55.21");
	expect("SEV-SNP, TCB as minimum", SNP("{0: 7, 1: {1: 553(15066229603414573059)}}"), "snp", 0, // microcode 209, SNP 22, TEE 0, boot loader 3
	       "snp.reported_tcb.bootloader>=3 snp.reported_tcb.tee>=0 snp.reported_tcb.snp>=22 snp.reported_tcb.microcode>=209");
	expect("SEV-SNP, TCB of Turin", SNP("{0: 9, 1: {1: 552(5188146770781274369)}}"), "snp", 0, // microcode 72, SNP 3, TEE 2, boot loader 1, FMC 1
	       "snp.committed_tcb.fmc=1 snp.committed_tcb.bootloader=1 snp.committed_tcb.tee=2 snp.committed_tcb.snp=3 snp.committed_tcb.microcode=72");
	expect("SEV-SNP, chip", TAG("32(\"x\")", "{0: [[{0: {0: 37(h'd05e6d1b9f464ae2a610ce3e6ee7e153')}, 1: 560(h'" A32 B32 "')}, [{0: 0, 1: {2: [[7, h'" A48 "']]}}]]]}"),
	       "snp", 0, "snp.chip_id=" A32 B32 " measurement=" A48);
	expect("SEV-SNP, what has no counterpart", SNP("{0: 4, 1: {4: 560(h'00')}}, {0: 0, 1: {2: [[7, h'" A48 "']], 6: h'001122334455'}}, {0: 7, 1: {1: 552(0)}}"), "snp", 3,
	       "measurement=" A48);
	expect("Intel, quoting enclave (the draft's example)", TAG("111(h'6086480186F84D011001')",
	       "{0: [[{0: {0: 111(h'6086480186F84D0102030401'), 1: \"Intel Corporation\", 2: \"SGX QE TCB\"}}, [{1: {-81: h'A0B0C0D000000000', -85: 1,"
	       "-84: 60020([6, [[1, h'A314FC2DC663AE7A6B6BC6787594057396E6B3F569CD50FD5DDB4D1BBAFD2B6A']]]), -86: 60010([2, 11]), -88: 60021([6, [\"UpToDate\"]])},"
	       "2: [554(\"key\")]}]]]}"), "sgx", 2,
	       "quote.qe_mrsigner=a314fc2dc663ae7a6b6bc6787594057396e6b3f569cd50fd5ddb4d1bbafd2b6a tcb.evaluation_number>=11 tcb_status=UpToDate");
	expect("Intel, TDX module and TD", TAG("111(h'6086480186F84D011001')",
	       "{0: [[{0: {1: \"Intel Corporation\", 2: \"TDX SEAM\"}}, [{1: {-83: [[7, h'" A48 "']], -82: 563([h'0000000000000000', h'ffffffffffffffff'])}}]],"
	       "[{0: {1: \"Intel Corporation\", 2: \"TDX TD\"}}, [{1: {-83: [7, h'" A48 "'], 14: {2: [[7, h'" A48 "']]}}}]]]}"), "tdx", 0,
	       "tdx.mr_seam=" A48 " tdx.seam_attributes=0000000000000000/ffffffffffffffff tdx.mr_td=" A48 " tdx.rtmr_2=" A48);
	expect("Intel, provisioning enclave", TAG("111(h'00')", "{0: [[{0: {1: \"Intel Corporation\", 2: \"SGX PCE TCB\"}}, [{1: {-73: 60010([1, 10]), -80: h'0000'}}]]]}"), "sgx",
	       0, "platform.pce_svn>=11 platform.pce_id=0000");
	expect("Arm CCA, platform", TAG("\"tag:arm.com,2025:cca_platform#1.0.0\"", "{0: [[{0: {0: 560(h'" A32 "')}}, [{0: \"cca.software-component\","
	       "1: {2: [[1, h'" B32 "']], 11: \"RSE_BL1_2\", 13: [560(h'" A32 "')]}}, {0: \"cca.software-component\", 1: {2: [[\"sha-256\", h'" A32 "']], 11: \"RSE_BL2\","
	       "0: {0: \"1.2\"}}}, {0: \"cca.platform-config\", 1: {4: 560(h'cafe')}}]]],"
	       "3: [[{0: {0: 560(h'" A32 "')}}, [554(\"-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEW1BvqF+/ry8BWa7ZEMU1xYYHEQ8B\n"
	       "lLT4MFHOaO+ICTtIvrEeEpr/sfTAP66H2hCHdb5HEXKtRKod6QLcOLPA1Q==\n-----END PUBLIC KEY-----\")]]]}"), "cca", 0,
	       "cca.platform.implementation_id=" A32 " cca.platform.software_components.RSE_BL1_2=" B32 " cca.platform.software_components.RSE_BL1_2.signer_id=" A32
	       " cca.platform.software_components.RSE_BL2=" A32 " cca.platform.software_components.RSE_BL2.version=1.2 cca.platform.config=cafe");
	expect("Arm CCA, platform, older form", TAG("32(\"http://arm.com/cca/ssd/1\")", "{0: [[{0: {0: 600(h'" A32 "')}, 1: 550(h'01" A32 "')},"
	       "[{0: 601({1: \"BL\", 4: \"3.4.2\", 5: h'" B32 "'}), 1: {2: [[1, h'" A32 "']]}}]]]}"), "cca", 0,
	       "cca.platform.implementation_id=" A32 " cca.platform.instance_id=01" A32 " cca.platform.software_components.BL=" A32
	       " cca.platform.software_components.BL.signer_id=" B32 " cca.platform.software_components.BL.version=3.4.2");
	expect("Arm CCA, realm", TAG("\"tag:arm.com,2025:cca_realm#1.0.0\"", "{0: [[{0: {0: 560(h'" A32 "')}}, [{0: \"cca.rim\", 1: {2: [[1, h'" A32 "']]}},"
	       "{0: \"cca.rem3\", 1: {2: [[1, h'" B32 "']]}}, {0: \"cca.rpv\", 1: {4: 560(h'5468')}}]]]}"), "cca", 0,
	       "measurement=" A32 " cca.realm.rem3=" B32 " cca.realm.personalization_value=5468");
	expect("Arm CCA, realm, older form", TAG("32(\"http://arm.com/cca/realm/1\")", "{0: [[{0: {1: \"Worload Inc\"}}, [{1: {14: {\"rim\": [[1, h'" A32 "']],"
	       "\"rem0\": [[1, h'" B32 "']]}}}]]]}"), "cca", 0, "measurement=" A32 " cca.realm.rem0=" B32);
	expect("Arm PSA (the draft's example)", TAG("32(\"tag:arm.com,2025:psa#1.0.0\")", "{0: [[{0: {0: 560(h'61636d652d696d706c656d656e746174 696f6e2d69642d303030303030303031')}},"
	       "[{0: \"psa.software-component\", 1: {2: [[\"sha-256\", h'9a271f2a916b0b6ee6cecb2426f0b320 6ef074578be55d9bc94f6f3fe3ab86aa']], 11: \"PRoT\","
	       "13: [560(h'5378796307535df3ec8d8b15a2 e2dc5641419c3d3060cfe32238 c0fa973f7aa3')]}}]]]}"), "psa", 0,
	       "psa.implementation_id=61636d652d696d706c656d656e746174696f6e2d69642d303030303030303031"
	       " psa.software_components.PRoT=9a271f2a916b0b6ee6cecb2426f0b3206ef074578be55d9bc94f6f3fe3ab86aa"
	       " psa.software_components.PRoT.signer_id=5378796307535df3ec8d8b15a2e2dc5641419c3d3060cfe32238c0fa973f7aa3");
	expect("an environment of nobody's (the draft's first example)", "501({0: h'284e6c3e5d9f4f6b851f5a4247f243a7', 1: [506(<< {1: {0: h'3f06af63a93c11e4979700505690773f'},"
	       "2: [{0: \"ACME Inc.\", 1: 32(\"https://acme.example\"), 2: [0]}], 4: {0: [[{0: {0: 37(h'67b28b6c34cc40a19117ab5b05911e37'), 1: \"ACME Inc.\","
	       "2: \"ACME RoadRunner\", 3: 1}}, [{1: {0: {0: \"1.0.0\", 1: 16384}, 2: [[1, h'44aa336af4cb14a879432e53dd6571c7fa9bccafb75f488259262d6ea3a4d91b']]}}]]]}} >>)]})",
	       NULL, 4, "");
	expect("a class with a layer", TAG("111(h'00')", "{0: [[{0: {1: \"Intel Corporation\", 2: \"SGX PCE TCB\", 3: 1}}, [{1: {-80: h'0000'}}]]]}"), "sgx", 1,
	       "platform.pce_id=0000");
	expect("endorsements restrict nothing", TAG("\"x\"", "{1: [[" SNP_CLASS ", [{1: {1: 552(3)}}]]]}"), NULL, 0, "");
	expect("a tag of another kind", "501({0: \"a\", 1: [505(<<{}>>)]})", NULL, 1, "");
	expect("components whose name is no path", TAG("\"tag:arm.com,2025:cca_platform#1.0.0\"", "{0: [[{0: {1: \"x\"}}, [{0: \"cca.software-component\","
	       "1: {2: [[1, h'" B32 "']], 11: \"TF-A 2.8\"}}]]]}"), NULL, 1, "");
}

static void test_signature(void)
{
	static struct diag payload, whole, bad;
	struct corim c = {.values = NULL};
	struct fault f = {""};
	const char *good = SNP("{0: 0, 1: {2: [[7, h'" A48 "']]}}");
	ok("corim: another key", read_as(good, HEADER, &other, NOW, &c, &f) == -EBADMSG, "%s", f.text);
	diag_make(&payload, good);
	ok("corim: unsigned", corim_read(payload.b, payload.n, &key, 1, NOW, &c, &f) == -EBADMSG && strstr(f.text, "not signed"), "%s", f.text);
	ok("corim: no key", (diag_sign(&whole, HEADER, &payload, key.key), corim_read(whole.b, whole.n, NULL, 0, NOW, &c, &f)) == -EBADMSG, "%s", f.text);
	size_t missed = 0;
	for (size_t i = 0; i < 8 * whole.n; i++) {
		memcpy(&bad, &whole, sizeof bad);
		bad.b[i / 8] ^= (uint8_t)(1 << i % 8);
		if (!corim_read(bad.b, bad.n, &key, 1, NOW, &c, &f)) {
			missed++;
			corim_free(&c);
		}
	}
	ok("corim: any changed bit", !missed, "%zu were not noticed", missed);
	for (size_t i = 0; i < whole.n; i++)
		missed += !corim_read(whole.b, i, &key, 1, NOW, &c, &f);
	ok("corim: cut anywhere", !missed, "%zu were not noticed", missed);
	bad.n = 0;
	memcpy(bad.b, "\xd9\x01\xf4\xd9\x01\xf6", 6);
	memcpy(bad.b + 6, whole.b, whole.n);
	int err = corim_read(bad.b, whole.n + 6, &key, 1, NOW, &c, &f);
	if (ok("corim: tags of older drafts", !err, "%d %s", err, f.text))
		corim_free(&c);
	ok("corim: before its time", read_as(good, HEADER, &key, 1600000000, &c, &f) == -ESTALE, "%s", f.text);
	ok("corim: after its time", read_as(good, "{1: -7}", &key, 1900000000, &c, &f) == -ESTALE && strstr(f.text, "the manifest held"), "%s", f.text);
	ok("corim: after its signature's time", read_as("501({0: \"a\", 1: []})", HEADER, &key, 1900000000, &c, &f) == -ESTALE && strstr(f.text, "the signature held"), "%s",
	   f.text);
	ok("corim: a signature over something else", read_as(good, "{1: -7, 3: \"application/cwt\"}", &key, NOW, &c, &f) == -EINVAL && strstr(f.text, "application/cwt"), "%s",
	   f.text);
	ok("corim: critical headers", read_as(good, "{1: -7, 2: [99], 99: 1}", &key, NOW, &c, &f) == -EINVAL && strstr(f.text, "critical"), "%s", f.text);
}

static void test_malformed(void)
{
	static const struct { const char *name, *manifest; } rows[] = {
		{"no map", "501([])"}, {"no tags", "501({0: \"a\"})"}, {"tags that are no list", "501({0: \"a\", 1: {}})"}, {"a tag that is no bytes' content", "501({1: [506(h'ff')]})"},
		{"a tag without triples", "501({1: [506(<<{1: {}}>>)]})"}, {"triples that are no map", "501({1: [506(<<{4: []}>>)]})"},
		{"references that are no list", "501({1: [506(<<{4: {0: {}}}>>)]})"}, {"a triple of three", "501({1: [506(<<{4: {0: [[{}, [], 1]]}}>>)]})"},
		{"an environment that is no map", "501({1: [506(<<{4: {0: [[1, []]]}}>>)]})"}, {"measurements that are no list", "501({1: [506(<<{4: {0: [[{}, {}]]}}>>)]})"},
		{"a measurement without values", "501({1: [506(<<{4: {0: [[{}, [{0: 1}]]]}}>>)]})"}, {"values that are no map", "501({1: [506(<<{4: {0: [[{}, [{1: 1}]]]}}>>)]})"},
		{"a member given twice", "501({1: [], 1: []})"}, {"a time that is text", "501({1: [], 4: {1: \"soon\"}})"}, {"a time without end", "501({1: [], 4: {0: 1(5)}})"},
		{"keys that are no list", "501({1: [506(<<{4: {3: [[{}, 1]]}}>>)]})"},
	};
	struct corim c = {.values = NULL};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		struct fault f = {""};
		char label[96];
		int err = read_as(rows[i].manifest, HEADER, &key, NOW, &c, &f);
		snprintf(label, sizeof label, "corim: malformed: %s", rows[i].name);
		ok(label, err == -EINVAL && *f.text, "%d %s", err, f.text);
		if (!err)
			corim_free(&c);
	}
}

static void command(const char *name, const char *commands, int code, const char *text)
{
	static char out[64 << 10], line[2048];
	snprintf(line, sizeof line, "cd %s && C=%s && { %s; } 2>&1", folder, coffer, commands);
	FILE *p = popen(line, "r");
	size_t n = p ? fread(out, 1, sizeof out - 1, p) : 0;
	out[n] = '\0';
	int status = p ? pclose(p) : -1, rc = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	ok(name, rc == code && strstr(out, text), "exit code %d: %s", rc, out);
}

static void write_manifest(const char *name, const char *manifest)
{
	static struct diag payload, whole;
	char path[128];
	diag_make(&payload, manifest);
	diag_sign(&whole, HEADER, &payload, key.key);
	snprintf(path, sizeof path, "%s/%s", folder, name);
	if (file_write(path, whole.b, whole.n, 0600, false, NULL))
		abort();
}

static void test_command(void)
{
	char path[128];
	if (access(coffer, X_OK)) {
		ok("coffer reference import", false, "the command is not built");
		return;
	}
	write_manifest("good.corim", SNP("{0: 0, 1: {2: [[7, h'" A48 "']], 1: 553(4)}}"));
	write_manifest("part.corim", SNP("{0: 0, 1: {2: [[7, h'" A48 "']], 6: h'00'}}"));
	snprintf(path, sizeof path, "%s/maker.pub", folder);
	FILE *p = fopen(path, "w");
	PEM_write_PUBKEY(p, key.key);
	fclose(p);
#define IMPORT "$C reference import --at 2026-01-01T00:00:00Z --corim-key maker.pub "
	command("coffer reference import", "$C reference keygen own && " IMPORT "good.corim --add d.ref --key own --name vendor && "
		"$C reference verify d.ref --key own.pub --at 2026-01-01T00:00:01Z", 0, "snp.guest_svn>=4  on snp");
	command("coffer reference import: its own end is kept", "$C reference show d.ref", 0, "until 2027-01-15T08:00:00Z");
	command("coffer reference import: JSON", IMPORT "good.corim --json", 0, "\"profile\":\"http://amd.com/please-permalink-me\"");
	command("coffer reference import: what is not understood", IMPORT "part.corim --add d.ref --key own --name vendor", 1, "--insecure-partial");
	command("coffer reference import --insecure-partial", IMPORT "part.corim --insecure-partial --add e.ref --key own --name vendor", 0, "LEFT OUT");
	command("coffer reference import: another key", "$C reference import good.corim --corim-key own.pub", 3, "none of the keys");
	command("coffer reference import: no manifest", IMPORT "maker.pub", 1, "maker.pub");
	command("coffer reference import: no key", "$C reference import good.corim", 2, "--corim-key");
}

int main(int argc, char **argv)
{
	char *slash = strrchr(argv[0], '/'), here[256];
	struct fault f = {""};
	(void)argc;
	if (!getcwd(here, sizeof here))
		return 1;
	bool absolute = argv[0][0] == '/';
	snprintf(coffer, sizeof coffer, "%s%s%.*s../bin/coffer", absolute ? "" : here, absolute ? "" : "/", slash ? (int)(slash + 1 - argv[0]) : 0, argv[0]);
	if (!test_folder(folder, "corim") || dsse_key_of(jwk_new_key("P-256"), &key, &f) || dsse_key_of(jwk_new_key("P-256"), &other, &f))
		return 1;
	test_profiles();
	test_signature();
	test_malformed();
	test_command();
	dsse_key_free(&key);
	dsse_key_free(&other);
	return ok_failed != 0;
}
