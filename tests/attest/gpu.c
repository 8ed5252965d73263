// SPDX-License-Identifier: Apache-2.0
// NVIDIA GPUs: measurements made under a test root, whole and damaged; several devices. Real ones': gpu_recorded.c.
#include <string.h>
#include <unistd.h>

#include "attest/binding.h"
#include "attest/evidence.h"
#include "attest/gpu.h"
#include "attest/policy.h"
#include "attest/refval.h"
#include "attest/spdm.h"
#include "lib/encode.h"
#include "tests/attest/make/gpu.h"
#include "tests/attest/ok.h"
#include "tests/attest/vectors.h"
#include "tests/folder.h"

static uint8_t nonce[32];

static struct gpu_trust trust_of(const struct gpu_made *m)
{
	static X509 *roots[1];
	roots[0] = gpu_made_root();
	memset(nonce, 0x5a, sizeof nonce);
	return (struct gpu_trust){.simulated_roots = roots, .simulated_root_count = 1, .crls = m ? &m->crls : NULL, .nonce = nonce,
				  .strict = true, .now = GPU_MADE_NOW};
}

static void expect(const char *name, const struct gpu_spec *s, const char *failed)
{
	struct gpu_made m;
	struct attest_result out;
	gpu_make(s, &m);
	struct gpu_trust t = trust_of(&m);
	attest_result_init(&out);
	gpu_verify(&t, &(struct gpu_device){m.report, m.len, &m.certs, "one"}, 1, &out);
	ok(name, !strcmp(failed_ids(&out), failed), "%s", failures(&out));
	attest_result_free(&out);
	gpu_made_free(&m);
}

#define CASE(name, failed, ...) \
	do { \
		struct gpu_spec s = gpu_good; \
		__VA_ARGS__; \
		expect(name, &s, failed); \
	} while (0)

static void test_made(void)
{
	static const uint8_t other[32] = {1};
	CASE("a GPU's measurements", "", );
	CASE("a field that is not known", "", s.unknown_field = true);
	CASE("SPDM 1.2", "gpu-format ", s.version = 0x12);
	CASE("another request", "gpu-format ", s.request = 0xe1);
	CASE("another answer", "gpu-format ", s.answer = 0x61);
	CASE("a request for one measurement", "gpu-format ", s.wanted = 3);
	CASE("measurements in another form", "gpu-format ", s.specification = 2);
	CASE("two measurements of one index", "gpu-format ", s.twice = 1);
	CASE("no driver version", "gpu-format ", s.driver = NULL);
	CASE("two driver versions", "gpu-format ", s.driver_twice = true);
	CASE("no VBIOS version", "gpu-format ", s.no_vbios = true);
	CASE("fields longer than the answer", "gpu-format ", s.unsigned_opaque_tail = true);
	CASE("another firmware than the certificate's", "gpu-firmware ", s.other_firmware = true);
	CASE("no firmware id", "gpu-firmware ", s.no_firmware = true);
	CASE("another nonce", "gpu-nonce ", s.nonce = other);
	CASE("an expired certificate", "gpu-certificate-dates ", s.leaf_to = GPU_MADE_NOW - 1);
	CASE("a revoked certificate", "gpu-revocation ", s.revoked = true);
	CASE("an authority's key signed", "gpu-signature ", s.leaf_is_ca = true);
	CASE("bytes behind the signature", "gpu-trailing-bytes ", s.trailing = 1);
}

// Whichever byte of both messages changes, it is noticed.
static void test_bits(void)
{
	struct gpu_made m;
	unsigned int accepted = 0;
	gpu_make(&gpu_good, &m);
	struct gpu_trust t = trust_of(&m);
	for (size_t i = 0; i < m.len; i += i < 64 || i > m.len - 300 ? 1 : 37) {
		struct attest_result out;
		m.report[i] ^= 4;
		attest_result_init(&out);
		gpu_verify(&t, &(struct gpu_device){m.report, m.len, &m.certs, ""}, 1, &out);
		accepted += attest_passed(&out);
		attest_result_free(&out);
		m.report[i] ^= 4;
	}
	ok("no byte can be changed", !accepted, "%u could", accepted);
	accepted = 0;
	for (size_t n = 0; n < m.len; n += n < 64 || n > m.len - 200 ? 1 : 53) {
		struct spdm_measurements parsed;
		uint8_t *cut = malloc(n + 1);
		memcpy(cut, m.report, n);
		accepted += !spdm_parse(cut, n, SPDM_P384_SIGNATURE, &parsed, NULL);
		free(cut);
	}
	ok("messages cut short anywhere are malformed", !accepted, "%u were not", accepted);
	gpu_made_free(&m);
}

static void test_trust(void)
{
	struct gpu_made m;
	struct attest_result out;
	gpu_make(&gpu_good, &m);
	const struct gpu_device d = {m.report, m.len, &m.certs, "one"};
	struct gpu_trust t = trust_of(&m);
	const struct attest_policy real = {.tees = (const char *const[]){"gpu", NULL}};
	attest_result_init(&out);
	gpu_verify(&t, &d, 1, &out);
	attest_appraise_platform(&real, &out);
	ok("a simulated GPU is refused by default", strstr(failed_ids(&out), "gpu ") != NULL, "%s", failed_ids(&out));
	const json_t *gpu = json_array_get(json_object_get(out.claims, "gpu"), 0);
	ok("claims", json_is_true(json_object_get(gpu, "simulated")) && !strcmp(json_string_value(json_object_get(gpu, "driver_version")), "580.95.05") &&
	   !strcmp(json_string_value(json_object_get(gpu, "vbios_version")), "96.00.74.00.1a") &&
	   json_object_size(json_object_get(gpu, "measurements")) == 56, "%zu measurements, driver %s", json_object_size(json_object_get(gpu, "measurements")),
	   json_string_value(json_object_get(gpu, "driver_version")));
	attest_result_free(&out);
	t.simulated_root_count = 0;
	attest_result_init(&out);
	gpu_verify(&t, &d, 1, &out);
	ok("a root that nobody knows", !strcmp(failed_ids(&out), "gpu-root "), "%s", failures(&out));
	attest_result_free(&out);
	t.roots = t.simulated_roots;
	t.root_count = 1;
	t.crls = NULL;
	attest_result_init(&out);
	gpu_verify(&t, &d, 1, &out);
	json_object_set_new(out.claims, "tee", json_string("gpu"));
	attest_appraise_platform(&real, &out);
	ok("a root that the verifier names", attest_passed(&out) && attest_find(&out, "gpu-revocation")->outcome == ATTEST_SKIPPED, "%s", failures(&out));
	attest_result_free(&out);
	gpu_made_free(&m);
}

static void test_several(void)
{
	struct gpu_spec odd = gpu_good;
	struct gpu_made a, b;
	struct attest_result out;
	struct refval_answer answer;
	struct refval_set *set = calloc(1, sizeof *set);
	odd.driver = "570.00.00";
	gpu_make(&gpu_good, &a);
	gpu_make(&odd, &b);
	const struct gpu_made *both[] = {&a, &b};
	char *text = gpu_made_json(both, 2);
	json_t *list = json_loads(text, 0, NULL);
	struct gpu_trust t = trust_of(NULL);
	attest_result_init(&out);
	gpu_verify_json(&t, list, &out);
	ok("two devices as a list", attest_passed(&out) && json_array_size(json_object_get(out.claims, "gpu")) == 2 && out.count < 12, "%s", failures(&out));
	json_t *versions = refval_claim(out.claims, "gpu.driver_version");
	ok("a claim of all devices", json_array_size(versions) == 2 &&
	   refval_lookup(set, "gpu.driver_version", "gpu", versions, GPU_MADE_NOW, &answer) == REFVAL_UNKNOWN, "%zu", json_array_size(versions));
	json_decref(versions);
	attest_result_free(&out);
	json_decref(list);
	free(text);
	const struct gpu_made *same[] = {&a, &b, &a};
	text = gpu_made_json(same, 3);
	list = json_loads(text, 0, NULL);
	attest_result_init(&out);
	gpu_verify_json(&t, list, &out);
	ok("one device twice is not two", !strcmp(failed_ids(&out), "gpu-distinct ") && strstr(attest_find(&out, "gpu-distinct")->found, "1 and 3"), "%s",
	   failures(&out));
	attest_result_free(&out);
	json_decref(list);
	free(text);
	b.report[5] ^= 1;
	text = gpu_made_json(both, 2);
	list = json_loads(text, 0, NULL);
	attest_result_init(&out);
	gpu_verify_json(&t, list, &out);
	ok("one of two is bad", !strcmp(failed_ids(&out), "gpu-signature gpu-nonce ") && strstr(attest_find(&out, "gpu-nonce")->found, "GPU-1"), "%s",
	   failures(&out));
	attest_result_free(&out);
	json_decref(list);
	free(text);
	static const char *const broken[] = {"{}", "{\"device_evidence_list\": []}", "{\"device_evidence_list\": [{}]}", "{\"device_evidence_list\": 3}",
					     "{\"device_evidence_list\": [{\"evidence\": \"!!\", \"certificate\": \"AA==\"}]}"};
	for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
		list = json_loads(broken[i], 0, NULL);
		attest_result_init(&out);
		gpu_verify_json(&t, list, &out);
		ok(broken[i], !strcmp(failed_ids(&out), "gpu-format "), "%s", failures(&out));
		attest_result_free(&out);
		json_decref(list);
	}
	gpu_made_free(&a);
	gpu_made_free(&b);
	free(set);
}

// As files: a device's messages with its certificates, and a list beside nothing else.
static void test_bundle(void)
{
	struct gpu_made m;
	struct attest_result out;
	struct bundle b;
	gpu_make(&gpu_good, &m);
	struct gpu_trust t = trust_of(&m);
	struct evidence_input in = {.bundle = &b, .simulated_roots = t.simulated_roots, .simulated_root_count = 1, .nonce = nonce, .nonce_len = 32,
				    .now = GPU_MADE_NOW};
	bundle_init(&b);
	bundle_put_bytes(&b, "evidence", m.report, m.len);
	bundle_put_text(&b, "certificates", m.pem, strlen(m.pem));
	attest_result_init(&out);
	enum evidence_kind kind = evidence_verify(&in, &out);
	ok("a bundle of one GPU", kind == EVIDENCE_GPU && attest_passed(&out) && !strcmp(claim_of(&out, "tee"), "simulated"), "%d %s", kind, failures(&out));
	attest_result_free(&out);
	in.nonce_len = 20;
	attest_result_init(&out);
	evidence_verify(&in, &out);
	ok("a nonce of another length is not passed over", !strcmp(failed_ids(&out), "nonce-asked "), "%s", failures(&out));
	attest_result_free(&out);
	bundle_free(&b);
	char *text = gpu_made_json((const struct gpu_made *const[]){&m}, 1);
	in.nonce_len = 32;
	int err = bundle_read(&b, (uint8_t *)text, strlen(text), NULL);
	attest_result_init(&out);
	kind = err ? EVIDENCE_UNKNOWN : evidence_verify(&in, &out);
	ok("a list of devices as a bundle", kind == EVIDENCE_GPU && attest_passed(&out), "%d %s", err, failures(&out));
	attest_result_free(&out);
	bundle_free(&b);
	free(text);
	gpu_made_free(&m);
}

static void test_binding(void)
{
	uint8_t with[64], without[64];
	json_t *key = json_pack("{s:s}", "kty", "EC");
	int err = attest_report_data("abc", key, "", with) | attest_report_data("abc", key, NULL, without);
	ok("devices are bound without additional evidence", !err && memcmp(with, without, 64) != 0, "%d", err);
	json_decref(key);
}

// What the command prints of that line, or "".
static const char *output(const char *line)
{
	static char text[16384];
	FILE *p = popen(line, "r");
	size_t n = p ? fread(text, 1, sizeof text - 1, p) : 0;
	text[n] = '\0';
	if (p)
		pclose(p);
	return text;
}

// As a person sees it.
static void test_command(const char *self)
{
	char coffer[512], folder[64], list[96], root[96], line[1200];
	struct gpu_made m;
	snprintf(coffer, sizeof coffer, "%.*s/../bin/coffer", (int)(strrchr(self, '/') - self), self);
	if (access(coffer, X_OK)) {
		ok("coffer verify", false, "the command is not built");
		return;
	}
	if (!test_folder(folder, "gpu"))
		return;
	gpu_make(&gpu_good, &m);
	char *json = gpu_made_json((const struct gpu_made *const[]){&m}, 1), *pem = pki_pem(gpu_made_root(), NULL);
	snprintf(list, sizeof list, "%s/gpu.json", folder);
	snprintf(root, sizeof root, "%s/root.pem", folder);
	file_write(list, json, strlen(json), 0600, false, NULL);
	file_write(root, pem, strlen(pem), 0600, false, NULL);
	snprintf(line, sizeof line, "'%s' verify %s --gpu-root %s --at 2026-01-01T00:00:00Z --nonce %064d 2>&1", coffer, list, root, 0);
	const char *out = output(line);
	ok("coffer verify refuses another nonce and shows the device", strstr(out, "REFUSED") && strstr(out, "gpu-nonce") &&
	   strstr(out, "TEST GSP FMC, driver 580.95.05, VBIOS 96.00.74.00.1a"), "%s", out);
	snprintf(line, sizeof line, "'%s' verify %s --gpu-root %s --at 2026-01-01T00:00:00Z 2>&1", coffer, list, root);
	out = output(line);
	ok("coffer verify accepts one under the root given", strstr(out, "ACCEPTED"), "%s", out);
	snprintf(line, sizeof line, "'%s' evidence show %s 2>&1", coffer, list);
	out = output(line);
	ok("coffer evidence show", strstr(out, "an NVIDIA GPU's measurements") && strstr(out, "\"driver_version\": \"580.95.05\""), "%s", out);
	free(json);
	free(pem);
	gpu_made_free(&m);
}

int main(int argc, char **argv)
{
	(void)argc;
	test_made();
	test_bits();
	test_trust();
	test_several();
	test_bundle();
	test_binding();
	test_command(argv[0]);
	return ok_failed != 0;
}
