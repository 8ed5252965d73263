// SPDX-License-Identifier: Apache-2.0
// SPIFFE identities: given by policy to the attested key alone, and taken for what they are by openssl and by whoever has the trust bundle.
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "attest/cert.h"
#include "init/exchange.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/jwe.h"
#include "lib/jws.h"
#include "tests/broker/harness.h"

#define DOMAIN "example.org"
#define ID "spiffe://" DOMAIN "/web"

static struct run b;
static char folder[128];

static char *in_folder(const char *name)
{
	static char path[4][192];
	static int next;
	char *p = path[next++ % 4];
	snprintf(p, 192, "%s/%s", folder, name);
	return p;
}

// Mints; the answer, opened with the guest's key. NULL: refused, with *status.
static json_t *mint(struct guest *g, const char *body, int *status)
{
	struct http_reply r;
	static char plain[16384];
	size_t len = 0;
	*status = request(&b, "POST", "/kbs/v0/svid", g->cookie, body, &r);
	if (*status)
		return NULL;
	*status = r.status;
	json_t *jwe = r.status == 200 ? json_loadb(r.body, r.body_len, 0, NULL) : NULL, *o = NULL;
	if (jwe && !jwe_decrypt(g->key, jwe, plain, sizeof plain, &len, NULL))
		o = json_loadb(plain, len, 0, NULL);
	json_decref(jwe);
	http_reply_free(&r);
	return o;
}

static json_t *bundle(void)
{
	struct http_reply r;
	json_t *o = NULL;
	if (!request(&b, "GET", "/spiffe/bundle", "", NULL, &r)) {
		o = json_loadb(r.body, r.body_len, 0, NULL);
		http_reply_free(&r);
	}
	return o;
}

static void write_text(const char *name, const char *text)
{
	if (!text || file_write(in_folder(name), text, strlen(text), 0600, false, NULL))
		ok(name, false, "cannot be written");
}

__attribute__((format(printf, 1, 2))) static bool run(const char *format, ...)
{
	char command[1024];
	va_list ap;
	va_start(ap, format);
	vsnprintf(command, sizeof command, format, ap);
	va_end(ap);
	return system(command) == 0;
}

static X509 *read_cert(const char *pem)
{
	struct cert_list l = {.count = 0};
	return pem && !cert_list_add_pem(&l, pem, strlen(pem), NULL) ? l.certs[0] : NULL;
}

static void test_x509(struct guest *g, const json_t *o)
{
	const char *pem = json_string_value(json_object_get(o, "x509_svid")), *id = json_string_value(json_object_get(o, "spiffe_id"));
	ok("svid: it names the identity", id && !strcmp(id, ID), "%s", id ? id : "none");
	write_text("svid.pem", pem);
	write_text("bundle.pem", json_string_value(json_object_get(o, "bundle")));
	ok("svid: openssl verifies it", run("openssl verify -x509_strict -purpose sslserver -CAfile %s %s >/dev/null", in_folder("bundle.pem"), in_folder("svid.pem")) &&
	   run("openssl verify -x509_strict -purpose sslclient -CAfile %s %s >/dev/null", in_folder("bundle.pem"), in_folder("svid.pem")), "no");
	ok("svid: one URI and nothing else names it", run("openssl x509 -in %s -noout -ext subjectAltName | tail -n +2 | grep -qx ' *URI:" ID "'",
							   in_folder("svid.pem")), "no");
	ok("svid: it signs no certificates", run("openssl x509 -in %s -noout -ext basicConstraints,keyUsage | grep -q 'CA:FALSE' && "
						 "! openssl x509 -in %s -noout -ext keyUsage | grep -q 'Certificate Sign'", in_folder("svid.pem"),
						 in_folder("svid.pem")), "no");
	X509 *cert = read_cert(pem);
	ok("svid: it is the attested key's", cert && EVP_PKEY_eq(X509_get0_pubkey(cert), g->key) == 1, "no");
	time_t left = cert ? cert_time(X509_get0_notAfter(cert)) - time(NULL) : 0;
	ok("svid: it is good for an hour", left > 3500 && left <= 3600, "%lld s", (long long)left);
	X509_free(cert);
}

// With what the bundle endpoint publishes, and nothing else.
static void test_bundle(const json_t *o)
{
	json_t *set = bundle(), *key, *body = NULL, *jwts = json_pack("{s:[]}", "keys");
	const char *token = json_string_value(json_object_get(o, "jwt_svid"));
	uint8_t der[2048];
	X509 *root = NULL, *leaf = read_cert(json_string_value(json_object_get(o, "x509_svid")));
	size_t i;
	json_array_foreach(json_object_get(set, "keys"), i, key) {
		const char *use = json_string_value(json_object_get(key, "use")), *x5c = json_string_value(json_array_get(json_object_get(key, "x5c"), 0));
		ssize_t n = x5c ? base64_decode(der, sizeof der, x5c, strlen(x5c), BASE64_STD) : -1;
		const uint8_t *p = der;
		if (use && !strcmp(use, "jwt-svid"))
			json_array_append(json_object_get(jwts, "keys"), key);
		else if (n > 0 && !root)
			root = d2i_X509(NULL, &p, n);
	}
	ok("svid: the bundle's authority signed it", root && leaf && cert_signed_by(leaf, root) && cert_is_authority(root), "no");
	ok("svid: the bundle has a number and says when to come again", json_integer_value(json_object_get(set, "spiffe_sequence")) > 0 &&
	   json_integer_value(json_object_get(set, "spiffe_refresh_hint")) > 0, "no");
	int err = token ? jws_open(token, jws_find_in_set, jwts, &body) : -1;
	const char *sub = json_string_value(json_object_get(body, "sub")), *aud = json_string_value(json_array_get(json_object_get(body, "aud"), 0));
	long long left = (long long)json_integer_value(json_object_get(body, "exp")) - time(NULL);
	ok("svid: the JWT is verified with the bundle", !err && sub && !strcmp(sub, ID) && aud && !strcmp(aud, "db") && left > 200 && left <= 300, "%d %s", err,
	   sub ? sub : "none");
	json_decref(body);
	json_decref(jwts);
	json_decref(set);
	X509_free(root);
	X509_free(leaf);
}

static void refuse(const char *name, struct guest *g, const char *body, int want)
{
	int status;
	json_t *o = mint(g, body, &status);
	ok(name, status == want && !o, "%d", status);
	json_decref(o);
}

static void test_refused(struct guest *g)
{
	struct guest fresh = {.key = NULL};
	refuse("svid: an identity that no policy allows", g, "{\"name\":\"admin\"}", 403);
	refuse("svid: a name that would be another path", g, "{\"name\":\"../admin\"}", 400);
	refuse("svid: a name with a slash", g, "{\"name\":\"web/x\"}", 400);
	refuse("svid: no name", g, "{}", 400);
	refuse("svid: an audience that is no list", g, "{\"name\":\"web\",\"audience\":\"db\"}", 400);
	refuse("svid: no JSON", g, "web", 400);
	guest_begin(&b, "snp", &fresh);
	refuse("svid: who has not attested", &fresh, "{\"name\":\"web\"}", 401);
	guest_free(&fresh);
	set_policy(&b, "spiffe/svid/web", false, machine.measurement_hex);
	refuse("svid: when it is allowed no more", g, "{\"name\":\"web\"}", 403);
	set_policy(&b, "spiffe/svid/web", true, machine.measurement_hex);
}

static void test_rotation(struct guest *g, const json_t *before)
{
	struct http_reply r;
	char headers[256];
	int status;
	snprintf(headers, sizeof headers, "%s", admin_header(&b));
	if (!request(&b, "POST", "/coffer/v0/signing-key", headers, "{\"ring\":\"svid-x509\"}", &r))
		http_reply_free(&r);
	json_t *o = mint(g, "{\"name\":\"web\"}", &status);
	write_text("new.pem", json_string_value(json_object_get(o, "x509_svid")));
	write_text("new-bundle.pem", json_string_value(json_object_get(o, "bundle")));
	write_text("old.pem", json_string_value(json_object_get(before, "x509_svid")));
	ok("svid: after a rotation the bundle verifies old and new", run("openssl verify -x509_strict -CAfile %s %s %s >/dev/null", in_folder("new-bundle.pem"),
									 in_folder("new.pem"), in_folder("old.pem")), "no");
	ok("svid: the new one is another authority's", !run("openssl verify -x509_strict -CAfile %s %s >/dev/null 2>&1", in_folder("bundle.pem"), in_folder("new.pem")),
	   "no");
	json_decref(o);
	run_stop(&b);
	ok("svid: the broker starts again", run_start(&b, "--insecure-accept-simulated", machine.root_pem), "no");
	o = bundle();
	ok("svid: both authorities and the JWT key outlive it", json_array_size(json_object_get(o, "keys")) == 3, "%zu", json_array_size(json_object_get(o, "keys")));
	json_decref(o);
}

// ---- renewal ----

static int evidence_here(const uint8_t report_data[64], struct evidence *out, struct fault *f)
{
	return machine_evidence(&machine, report_data, out, f);
}

// As the enclave does: never over a file that is there.
static int deliver_here(const struct settings_secret *s, const void *bytes, size_t len, struct fault *f)
{
	int fd = open(s->path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, s->mode);
	ssize_t n = fd < 0 ? -1 : write(fd, bytes, len);
	if (fd >= 0)
		close(fd);
	return n == (ssize_t)len ? 0 : fault_errno(f, errno, "cannot write %s", s->path);
}

static void say_nothing(const char *line)
{
	(void)line;
}

static char *read_in(const char *dir, const char *name)
{
	char path[200], *text;
	size_t len;
	snprintf(path, sizeof path, "%s/%s", dir, name);
	return file_read(path, 1 << 16, &text, &len, NULL) ? strdup("") : text;
}

// The broker is away when the time comes, and comes back; of one identity it does not want to know any more. The life is the test's, which has no half
// hour.
static void test_renewal(void)
{
	static const struct attest_ops ops = {evidence_here, NULL, NULL, NULL, say_nothing, NULL, NULL, deliver_here, NULL};
	char dir[160], gone[160], *before, *key, *after;
	struct settings_secret secrets[] = {{.path = gone, .resource = (char *)"spiffe/svid/gone", .mode = 0400},
					    {.path = dir, .resource = (char *)"spiffe/svid/web", .mode = 0400}};
	struct settings s = {.broker_url = b.url, .broker_ca = b.ca, .broker_timeout_s = 60, .secret_count = 2, .secrets = secrets};
	struct exchange *x = NULL;
	struct fault f = {""};
	snprintf(dir, sizeof dir, "%s/identity", world);
	snprintf(gone, sizeof gone, "%s/gone", world);
	mkdir(dir, 0700);
	mkdir(gone, 0700);
	set_policy(&b, "spiffe/svid/gone", true, machine.measurement_hex);
	int err = attest_run(&s, &ops, &x, &f);
	if (!ok("svid: an enclave has its identity in files", !err && x && x->identity_life_s > 3000, "%d %s", err, f.text))
		return;
	set_policy(&b, "spiffe/svid/gone", false, machine.measurement_hex);
	before = read_in(dir, "svid.pem");
	key = read_in(dir, "key.pem");
	ok("svid: the broker goes", !run_stop(&b), "no");
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		x->http = NULL;
		x->identity_life_s = 2;
		if (!exchange_open(x, &f))
			identity_serve(x);
		_exit(1);
	}
	sleep(2);
	after = read_in(dir, "svid.pem");
	ok("svid: nothing is lost meanwhile", !strcmp(before, after), "%s", after);
	ok("svid: it comes back", run_start(&b, "--insecure-accept-simulated", machine.root_pem), "no");
	for (int i = 0; i < 1800 && !strcmp(before, after); i++) {
		usleep(100000);
		free(after);
		after = read_in(dir, "svid.pem");
	}
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	X509 *cert = read_cert(after);
	ok("svid: the certificate is renewed", strcmp(before, after) && cert, "%s", after);
	ok("svid: for the key that is there", cert && EVP_PKEY_eq(X509_get0_pubkey(cert), x->key) == 1, "no");
	free(after);
	after = read_in(dir, "key.pem");
	ok("svid: which stays", *key && !strcmp(key, after), "no");
	X509_free(cert);
	free(before);
	free(after);
	free(key);
	exchange_free(x);
}

int main(void)
{
	struct guest g = {.key = NULL};
	int status;
	world_begin("svid");
	snprintf(folder, sizeof folder, "%s", world);
	if (!run_prepare(&b, "state"))
		return 1;
	run_stays(&b);	// it comes back where it was
	ok("svid: a broker without a trust domain starts", run_start(&b, "--insecure-accept-simulated", machine.root_pem), "no");
	expect("svid: and gives no identities", &b, "GET", "/spiffe/bundle", "", NULL, 404, "spiffe_trust_domain");
	run_stop(&b);
	char path[192];
	snprintf(path, sizeof path, "%s/broker.yaml", b.dir);
	static const char settings[] = "spiffe_trust_domain: " DOMAIN "\n";
	if (file_write(path, settings, sizeof settings - 1, 0600, false, NULL))
		return 1;
	ok("svid: the broker starts", run_start(&b, "--insecure-accept-simulated", machine.root_pem), "no");
	set_policy(&b, "spiffe/svid/web", true, machine.measurement_hex);
	guest_attest(&b, &machine, &g, NULL);
	json_t *o = mint(&g, "{\"name\":\"web\",\"audience\":[\"db\"]}", &status);
	ok("svid: an attested enclave gets its identity", o != NULL, "%d", status);
	if (o) {
		test_x509(&g, o);
		test_bundle(o);
		test_refused(&g);
		test_rotation(&g, o);
	}
	json_decref(o);
	test_renewal();
	ok("svid: it ends well", !run_stop(&b), "no");
	guest_free(&g);
	run_free(&b);
	return world_end();
}
