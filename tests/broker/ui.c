// SPDX-License-Identifier: Apache-2.0
// The web page: a broker with something to show, and what it answers at /ui/; ui.py looks at it with a browser.
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

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

static void test_browser(void)
{
	char key[] = "-";
	int status = -1;
	if (access("/usr/bin/chromium", X_OK) || access("/usr/bin/chromedriver", X_OK) || access("/usr/bin/python3", X_OK)) {
		skip("the page in a browser", "there is no chromium with its driver (chromium, chromium-driver)");
		return;
	}
	fflush(stdout);
	pid_t pid = fork();
	if (pid == 0) {
		execl("/usr/bin/python3", "python3", "tests/broker/ui.py", b.url, b.dir, world, machine.measurement_hex, key, (char *)NULL);
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
		test_answers();
		test_browser();
		ok("it ends well", !run_stop(&b), "no");
	}
	run_free(&b);
	return world_end();
}
