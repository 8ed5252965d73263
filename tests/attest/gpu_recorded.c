// SPDX-License-Identifier: Apache-2.0
// What two real H100 have answered, under NVIDIA's own root: accepted as recorded, refused with whatever differs; and as `coffer verify` sees them.
#include "attest/evidence.h"
#include "attest/gpu.h"
#include "attest/policy.h"
#include "tests/attest/gpu_recorded.h"
#include "tests/attest/vectors.h"
#include "tests/folder.h"

static void judge(const struct recorded *r, const struct cert_list *certs, const char *nonce, bool strict, struct attest_result *out)
{
	uint8_t wanted[GPU_NONCE_BYTES];
	const struct gpu_trust t = {.nonce = wanted, .strict = strict, .now = RECORDED_NOW};
	if (hex_decode(wanted, sizeof wanted, nonce) || attest_result_init(out))
		abort();
	gpu_verify(&t, &(struct gpu_device){r->bytes, r->len, certs, ""}, 1, out);
}

static void test_accepted(const struct recorded *r)
{
	const struct attest_policy real = {.tees = (const char *const[]){"gpu", NULL}};
	struct attest_result out;
	judge(r, &r->certs, r->nonce, false, &out);
	json_object_set_new(out.claims, "tee", json_string("gpu"));
	attest_appraise_platform(&real, &out);
	ok("accepted under NVIDIA's root", attest_passed(&out), "%s", failures(&out));
	const json_t *gpu = json_array_get(json_object_get(out.claims, "gpu"), 0), *m = json_object_get(gpu, "measurements");
	const char *driver = json_string_value(json_object_get(gpu, "driver_version")), *vbios = json_string_value(json_object_get(gpu, "vbios_version"));
	const char *fwid = json_string_value(json_object_get(gpu, "fwid")), *two = json_string_value(json_object_get(m, "2"));
	const char *model = json_string_value(json_object_get(gpu, "hwmodel")), *sku = json_string_value(json_object_get(gpu, "chip_sku"));
	ok("claims as recorded", driver && !strcmp(driver, r->driver) && vbios && !strcmp(vbios, r->vbios) && fwid && !strcmp(fwid, r->fwid) && two &&
	   !strcmp(two, r->second) && json_object_size(m) == r->measured && model && strstr(model, "GH100 A01 GSP FMC LF") && sku &&
	   !strcmp(sku, "882") && json_is_false(json_object_get(gpu, "simulated")), "driver %s, VBIOS %s, %zu measured",
	   driver ? driver : "", vbios ? vbios : "", json_object_size(m));
	attest_result_free(&out);
	judge(r, &r->certs, r->nonce, true, &out);
	ok("strictly", !strcmp(failed_ids(&out), r->trailing ? "gpu-trailing-bytes " : ""), "%s", failures(&out));
	attest_result_free(&out);
}

static void test_nonce(const struct recorded *r, const struct recorded *other)
{
	char near[2 * GPU_NONCE_BYTES + 1];
	struct attest_result out;
	memcpy(near, r->nonce, sizeof near);
	near[63] = near[63] == '0' ? '1' : '0';
	const char *const wrong[] = {other->nonce, near, "0000000000000000000000000000000000000000000000000000000000000000"};
	for (size_t i = 0; i < 3; i++) {
		judge(r, &r->certs, wrong[i], false, &out);
		ok("another nonce", !strcmp(failed_ids(&out), "gpu-nonce "), "%s", failures(&out));
		attest_result_free(&out);
	}
}

static void test_swapped(const struct recorded *r, const struct recorded *other)
{
	struct attest_result out;
	judge(r, &other->certs, r->nonce, false, &out);
	ok("with the other device's certificates", !strcmp(failed_ids(&out), "gpu-firmware gpu-signature "), "%s", failures(&out));
	attest_result_free(&out);
}

// Every 7th byte, from another start in each round, and all of the head, the nonces' neighbourhood and the signature.
static void test_changed(struct recorded *r)
{
	size_t end = r->len - r->trailing;
	unsigned int tried = 0;
	for (size_t i = 0; i < end; i++) {
		struct attest_result out;
		if (i % 7 && i > 64 && i < end - 100)
			continue;
		r->bytes[i] ^= (uint8_t)(1u << i % 8);
		judge(r, &r->certs, r->nonce, false, &out);
		r->bytes[i] ^= (uint8_t)(1u << i % 8);
		bool passed = attest_passed(&out);
		attest_result_free(&out);
		if (passed) {
			ok("a changed byte", false, "number %zu can be changed", i);
			return;
		}
		tried++;
	}
	ok("no byte can be changed", tried > 600, "%u were tried", tried);
}

// A chain without its root, without the device, or with a link from nowhere is none.
static void test_chain(const struct recorded *r)
{
	for (unsigned int drop = 0; drop < r->certs.count; drop++) {
		struct cert_list some = {.count = 0};
		struct attest_result out;
		for (unsigned int i = 0; i < r->certs.count; i++) {
			if (i != drop)
				some.certs[some.count++] = r->certs.certs[i];
		}
		judge(r, &some, r->nonce, false, &out);
		ok("a chain with a certificate missing", !attest_passed(&out), "without number %u it is accepted", drop);
		attest_result_free(&out);
	}
}

// ---- the command ----

static const char *output(const char *line, int *status)
{
	static char text[65536];
	FILE *p = popen(line, "r");
	size_t n = p ? fread(text, 1, sizeof text - 1, p) : 0;
	text[n] = '\0';
	int s = p ? pclose(p) : -1;
	*status = s == -1 ? s : WEXITSTATUS(s);
	return text;
}

static void put_device(json_t *list, const struct recorded *r)
{
	size_t room = 2 * r->len + 2 * r->pem_len + 8;
	char *evidence = malloc(room), *certs = malloc(room);
	if (!evidence || !certs)
		abort();
	base64_encode(evidence, r->bytes, r->len, BASE64_STD);
	base64_encode(certs, r->pem, r->pem_len, BASE64_STD);
	json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "arch", "HOPPER", "uuid", r->name, "evidence", evidence, "certificate", certs));
	free(evidence);
	free(certs);
}

static void test_command(const char *self)
{
	char coffer[512], folder[64], raw[96], pem[96], one[96], both[96], line[2048];
	const struct recorded *r = &recorded[1];
	int s1, s2;
	snprintf(coffer, sizeof coffer, "%.*s/../bin/coffer", (int)(strrchr(self, '/') - self), self);
	if (!ok("coffer is built", !access(coffer, X_OK), "%s is not there", coffer) || !test_folder(folder, "gpu"))
		return;
	snprintf(raw, sizeof raw, "%s/answer.bin", folder);
	snprintf(pem, sizeof pem, "%s/chain.pem", folder);
	snprintf(one, sizeof one, "%s/one.json", folder);
	snprintf(both, sizeof both, "%s/both.json", folder);
	file_write(raw, r->bytes, r->len, 0600, false, NULL);
	file_write(pem, r->pem, r->pem_len, 0600, false, NULL);
	json_t *list = json_array(), *o = json_pack("{s:o}", "device_evidence_list", list);
	put_device(list, &recorded[0]);
	put_device(list, r);
	json_dump_file(o, both, 0);
	json_decref(o);
	snprintf(line, sizeof line, "'%s' evidence bundle %s --collateral %s --output %s 2>&1 && '%s' verify %s --nonce %s 2>&1", coffer, raw, pem,
		 one, coffer, one, r->nonce);
	const char *out = output(line, &s1);
	ok("coffer verify accepts a bundle of it", !s1 && strstr(out, "ACCEPTED") && strstr(out, "driver 580.95.05, VBIOS 96.00.74.00.1a"), "%d: %s",
	   s1, out);
	snprintf(line, sizeof line, "'%s' verify %s --nonce %s 2>&1", coffer, one, recorded[0].nonce);
	out = output(line, &s1);
	ok("and refuses another nonce", s1 == 3 && strstr(out, "REFUSED") && strstr(out, "gpu-nonce"), "%d: %s", s1, out);
	snprintf(line, sizeof line, "'%s' verify %s --collateral %s --nonce %s 2>&1", coffer, raw, pem, r->nonce);
	out = output(line, &s1);
	ok("the answer and the certificates as files", !s1 && strstr(out, "ACCEPTED"), "%d: %s", s1, out);
	snprintf(line, sizeof line, "'%s' verify %s --nonce %s 2>&1", coffer, raw, r->nonce);
	out = output(line, &s1);
	ok("without certificates it is refused", s1 == 3 && strstr(out, "gpu-certificate-chain"), "%d: %s", s1, out);
	snprintf(line, sizeof line, "'%s' verify %s 2>&1", coffer, both);
	out = output(line, &s1);
	ok("two devices in a list", !s1 && strstr(out, "ACCEPTED") && strstr(out, "550.90.07") && strstr(out, "580.95.05"), "%d: %s", s1, out);
	snprintf(line, sizeof line, "'%s' verify %s --nonce %s 2>&1", coffer, both, r->nonce);
	out = output(line, &s2);
	ok("whose nonces differ: one is refused, by name", s2 == 3 && strstr(out, "device 1 (h100-550.90.07)"), "%d: %s", s2, out);
}

int main(int argc, char **argv)
{
	(void)argc;
	recorded_load_all();
	for (size_t i = 0; i < 2; i++) {
		test_accepted(&recorded[i]);
		test_nonce(&recorded[i], &recorded[!i]);
		test_swapped(&recorded[i], &recorded[!i]);
		test_changed(&recorded[i]);
		test_chain(&recorded[i]);
	}
	test_command(argv[0]);
	recorded_free();
	return ok_failed != 0;
}
