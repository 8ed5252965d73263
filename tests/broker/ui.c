// SPDX-License-Identifier: Apache-2.0
// The web page: a broker with something to show, and what it answers at /ui/; ui.py looks at it with a browser.
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/keyfile.h"
#include "lib/signkey.h"
#include "tests/broker/harness.h"

static struct run b;

static void fill(void)
{
	static const char note[] = "<script>window.hacked=1</script><img src=x onerror=window.hacked=2>";
	struct broker_client *c = owner(&b);
	struct fault f = {""};
	struct guest g = {0}, stranger = {0};
	struct machine other;
	char secret[100];
	size_t len;
	put_secret(&b, "default/other/two", "somebody else's");
	put_secret(&b, "default/key/one", "a secret");
	ok("a note with HTML in it is stored", c && !broker_client_policy_allow(c, "default/key/one", machine.measurement_hex, note, &f), "%s", f.text);
	broker_client_close(c);
	int status = guest_attest(&b, &machine, &g, NULL);
	ok("an enclave attests and gets it", status == 200 && guest_get(&b, &g, "default/key/one", secret, sizeof secret, &len) == 200, "%d", status);
	other = machine;
	other.measurement[0] ^= 1;
	status = guest_attest(&b, &other, &stranger, NULL);
	ok("another does not", status == 200 && guest_get(&b, &stranger, "default/key/one", secret, sizeof secret, &len) == 403, "%d", status);
	guest_free(&g);
	guest_free(&stranger);
}

// An identity with a key of its own, in world/NAME.key.
static void add_identity(const char *name, const char *role, const char *resources, EVP_PKEY *key)
{
	char pem[SIGNKEY_PEM], path[128], *body;
	struct http_reply reply;
	struct fault f = {""};
	snprintf(path, sizeof path, "%s/%s.key", world, name);
	int err = key ? signkey_pem(key, pem) : -1;
	if (!err)
		err = keyfile_write(path, key, &f);
	json_t *o = json_pack("{s:s, s:s, s:[s], s:s}", "action", "add", "name", name, "roles", role, "key", err ? "" : pem);
	if (resources)
		json_object_set_new(o, "resources", json_pack("[s]", resources));
	body = json_dumps(o, 0);
	json_decref(o);
	if (!err)
		err = request(&b, "POST", "/coffer/v0/identity", admin_header(&b), body, &reply);
	ok("an identity is added", !err && reply.status == 200, "%d %s", err, err ? f.text : reply.body);
	if (!err)
		http_reply_free(&reply);
	free(body);
}

static void test_answers(void)
{
	struct http_reply reply;
	int err = request(&b, "GET", "/ui/", "", NULL, &reply);
	ok("the page is there for everybody", !err && reply.status == 200 && strstr(reply.body, "<script type=\"module\" src=\"app.js\">") && !strstr(reply.body, "http"),
	   "%d", err);
	if (!err)
		http_reply_free(&reply);
	expect("its script", &b, "GET", "/ui/app.js", "", NULL, 200, "textContent");
	expect("nothing else", &b, "GET", "/ui/../master.key", "", NULL, 404, "NotFound");
	expect("without its slash it is sent on", &b, "GET", "/ui", "", NULL, 308, "/ui/");
}

__attribute__((unused)) static void test_browser(void)
{
	int status = -1;
	if (access("/usr/bin/chromium", X_OK) || access("/usr/bin/chromedriver", X_OK) || access("/usr/bin/python3", X_OK)) {
		skip("the page in a browser", "there is no chromium with its driver (chromium, chromium-driver)");
		return;
	}
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		execl("/usr/bin/python3", "python3", "tests/broker/ui.py", b.url, b.dir, world, machine.measurement_hex, (char *)NULL);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	ok("the page in a browser", status == 0, "%d", status);
}

int main(void)
{
	world_begin("ui");
	if (run_prepare(&b, "state") && ok("the broker starts", run_start(&b, "--insecure-accept-simulated", machine.root_pem), "no")) {
		fill();
		add_identity("alice", "admin", NULL, EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"));
		add_identity("edith", "auditor", NULL, EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"));
		add_identity("anna", "approver", NULL, EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"));
		add_identity("oscar", "operator", NULL, EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"));
		add_identity("olga", "owner", "default/key/", EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"));
		test_answers();
#ifndef __SANITIZE_ADDRESS__	// it tests the page, for half a minute; what it asks of the broker others ask, too
		test_browser();
#endif
		ok("it ends well", !run_stop(&b), "no");
	}
	run_free(&b);
	return world_end();
}
