// SPDX-License-Identifier: Apache-2.0
// GPUs beside the CPU's evidence: in the request as clients of the KBS protocol write them, bound to the session, in the token as submodules, and
// where rules ask for them.
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "attest/binding.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/jwe.h"
#include "tests/attest/make/gpu.h"
#include "tests/broker/harness.h"

#define RESOURCE "default/secret/one"

static struct run b;
static char roots[160], policy[160];

static const char rules[] =
	"conditions:\n"
	"  gpu: {claim: gpu_count, is: 1}\n"
	"rules:\n"
	"  - name: with a GPU\n"
	"    resources: [default/secret/*]\n"
	"    allow_when: [gpu]\n";

// What is sent beside the evidence. `wrong`: the GPU's nonce is another session's.
static char *devices(const struct guest *g, const json_t *jwk, bool wrong, const char *format)
{
	uint8_t data[64];
	struct gpu_spec s = gpu_good;
	struct gpu_made m;
	if (attest_report_data(g->nonce, jwk, NULL, data))
		abort();
	data[0] ^= wrong;
	s.nonce = data;
	s.leaf_to = time(NULL) + 86400;
	gpu_make(&s, &m);
	char *list = gpu_made_json((const struct gpu_made *const[]){&m}, 1), *text;
	if (asprintf(&text, format, list) < 0)
		abort();
	free(list);
	gpu_made_free(&m);
	return text;
}

// `bound`: what the CPU's evidence is made over, `sent` in the request.
static int attest(struct guest *g, const json_t *jwk, const char *bound, const char *sent, struct http_reply *r)
{
	uint8_t data[64];
	struct evidence e = {.chain = {.count = 0}};
	struct fault f = {""};
	if (attest_report_data(g->nonce, jwk, bound, data) || machine_evidence(&machine, data, &e, &f))
		abort();
	char *text = guest_body(g->key, g->nonce, &e);	// takes the chain
	json_t *o = json_loads(text, 0, NULL);
	free(text);
	json_object_set_new(json_object_get(o, "tee-evidence"), "additional_evidence", json_string(sent));
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	int err = request(&b, "POST", "/kbs/v0/attest", g->cookie, text, r);
	free(text);
	return err;
}

static json_t *submods(const char *answer)
{
	static char text[65536];
	json_t *o = json_loads(answer, 0, NULL);
	const char *token = json_string_value(json_object_get(o, "token")), *dot = token ? strchr(token, '.') : NULL;
	ssize_t n = dot ? base64_decode(text, sizeof text, dot + 1, strcspn(dot + 1, "."), BASE64_URL) : -1;
	json_t *body = n > 0 ? json_loadb(text, (size_t)n, 0, NULL) : NULL, *out = json_incref(json_object_get(body, "submods"));
	json_decref(body);
	json_decref(o);
	return out;
}

static void get(const char *name, const struct guest *g, const char *answer, int want)
{
	char plain[64] = "";
	size_t len = 0;
	int status = guest_get(&b, g, RESOURCE, plain, sizeof plain - 1, &len);
	ok(name, status == want, "%d", status);
	if (!answer)
		return;
	json_t *o = json_loads(answer, 0, NULL);
	const char *token = json_string_value(json_object_get(o, "token"));
	struct http_reply r;
	char *headers;
	if (!token || asprintf(&headers, "Authorization: Bearer %s\r\n", token) < 0)
		abort();
	int err = request(&b, "GET", "/kbs/v0/resource/" RESOURCE, headers, NULL, &r);
	ok("devices: the token says the same to the rules", !err && r.status == want, "%d %s", err ? err : r.status, err ? "" : r.body);
	if (!err)
		http_reply_free(&r);
	free(headers);
	json_decref(o);
}

static void one(const char *name, const char *format, bool wrong, bool unbound, int want, const char *says)
{
	struct guest g = {.key = NULL};
	struct http_reply r;
	guest_begin(&b, "snp", &g);
	json_t *jwk = jwk_from_key(g.key);
	char *sent = devices(&g, jwk, wrong, format);
	int err = attest(&g, jwk, unbound ? "" : sent, sent, &r);
	ok(name, !err && r.status == want && strstr(r.body, says), "%d %.600s", err ? err : r.status, err ? "" : r.body);
	if (!err && r.status == 200) {
		json_t *s = submods(r.body), *gpu = json_object_get(json_object_get(s, "gpu0"), "ear.veraison.annotated-evidence");
		ok("devices: the token has a submodule for the GPU", json_string_value(json_object_get(gpu, "driver_version")) && !json_object_get(s, "gpu1") &&
		   !json_object_get(json_object_get(json_object_get(s, "cpu0"), "ear.veraison.annotated-evidence"), "gpu"), "no");
		json_decref(s);
		get("devices: a rule that asks for a GPU", &g, r.body, 200);
	}
	if (!err)
		http_reply_free(&r);
	free(sent);
	json_decref(jwk);
	guest_free(&g);
}

// Without a root that the GPU's certificates end in, and with one that the operator named as its maker's.
static void test_roots(const char *gpu_pem)
{
	char file[160];
	snprintf(file, sizeof file, "%s/gpu.pem", world);
	if (file_write(file, gpu_pem, strlen(gpu_pem), 0600, false, NULL))
		abort();
	ok("devices: the broker starts without a test root of GPUs", run_start(&b, "--insecure-accept-simulated", machine.root_pem, "--policy", policy), "no");
	one("devices: a GPU under an unknown root", "{\"nvidia\":[\"gpu\",%s]}", false, false, 403, "gpu-root");
	ok("devices: it ends well", !run_stop(&b), "no");
	ok("devices: it starts with gpu_roots", run_start(&b, "--insecure-accept-simulated", machine.root_pem, "--policy", policy, "--gpu-roots", file), "no");
	one("devices: a GPU under a root of gpu_roots", "{\"nvidia\":[\"gpu\",%s]}", false, false, 200, "token");
	ok("devices: it ends well", !run_stop(&b), "no");
	ok("devices: it starts with no file of roots", !run_start(&b, "--insecure-accept-simulated", machine.root_pem, "--gpu-roots", policy), "it does");
	waitpid(b.pid, NULL, 0);
}

int main(void)
{
	struct guest g = {.key = NULL};
	char *pem, *both;
	size_t len;
	world_begin("devices");
	X509 *gpu_root = gpu_made_root();
	char *gpu_pem = pki_pem(gpu_root, NULL);
	snprintf(roots, sizeof roots, "%s/roots.pem", world);
	snprintf(policy, sizeof policy, "%s/policy.yaml", world);
	if (file_read(machine.root_pem, 1 << 20, &pem, &len, NULL) || asprintf(&both, "%s%s", pem, gpu_pem) < 0 ||
	    file_write(roots, both, strlen(both), 0600, false, NULL) || file_write(policy, rules, sizeof rules - 1, 0600, false, NULL) ||
	    !run_prepare(&b, "state"))
		return 1;
	ok("devices: the broker starts", run_start(&b, "--insecure-accept-simulated", roots, "--policy", policy), "no");
	put_secret(&b, RESOURCE, "secret");
	one("devices: a GPU beside the CPU", "{\"nvidia\":[\"gpu\",%s]}", false, false, 200, "token");
	one("devices: as earlier clients write it", "{\"nvidia\":%s}", false, false, 200, "token");
	one("devices: a GPU of another session", "{\"nvidia\":[\"gpu\",%s]}", true, false, 403, "gpu-nonce");
	one("devices: a GPU that the CPU's evidence does not cover", "{\"nvidia\":[\"gpu\",%s]}", false, true, 403, "report-data");
	one("devices: hardware that nobody knows", "{\"nvidia-dpu\":%s}", false, false, 400, "supported: nvidia");
	one("devices: no list", "{\"nvidia\":[%s]}", false, false, 400, "malformed");
	int status = guest_attest(&b, &machine, &g, NULL);
	ok("devices: without a GPU", status == 200, "%d", status);
	get("devices: it is refused what needs one", &g, NULL, 403);
	guest_free(&g);
	ok("devices: it ends well", !run_stop(&b), "no");
	test_roots(gpu_pem);
	run_free(&b);
	free(pem);
	free(both);
	free(gpu_pem);
	return world_end();
}
