// SPDX-License-Identifier: Apache-2.0
// Configurations of TNG: what is carried over, and that of everything else something is said.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/attest/ok.h"
#include "tunnel/import.h"

struct expected {
	const char *name, *json;
	const char *yaml[12];	// pieces of what is written, in this order
	const char *notes[12];	// "field: outcome"
};

static const struct expected cases[] = {
	{"mapping",
	 "{\"add_ingress\": [{\"mapping\": {\"in\": {\"port\": 10001}, \"out\": {\"host\": \"db.example\", \"port\": 20001}}, "
	 "\"verify\": {\"as_addr\": "
	 "\"http://127.0.0.1:8080/\", \"policy_ids\": [\"default\"]}, \"rats_tls\": {\"multiplex\": false}}]}",
	 {"routes:\n", "name: ingress-0\n", "ingress:\n", "accept: mapping\n", "listen: \"0.0.0.0:10001\"\n", "connect: \"db.example:20001\"\n",
	  "verify: {any_measurement: true}\n"},
	 {"add_ingress[0].verify.as_addr: not carried over", "add_ingress[0].verify.policy_ids: not carried over",
	  "add_ingress[0].verify.attestation_policy: changed", "add_ingress[0].rats_tls.multiplex: changed"}},
	{"egress",
	 "{\"add_egress\": [{\"mapping\": {\"in\": {\"host\": \"::1\", \"port\": 20001}, \"out\": {\"host\": \"127.0.0.1\", "
	 "\"port\": 30001}}, \"attest\": "
	 "{\"aa_addr\": \"unix:///run/aa.sock\", \"refresh_interval\": 600}}, {\"mapping\": {\"in\": {\"port\": 2}, \"out\": {\"host\": "
	 "\"a.example\", "
	 "\"port\": 3}}, \"no_ra\": true}]}",
	 {"name: egress-0\n", "egress:\n", "listen: \"[::1]:20001\"\n", "to: \"127.0.0.1:30001\"\n", "attest: true\n",
	  "identity: {certificate_seconds: 1200}\n", "name: egress-1\n", "to: \"a.example:3\"\n"},
	 {"add_egress[0].attest.aa_addr: not carried over", "add_egress[1].no_ra: changed"}},
	{"http_proxy",
	 "{\"add_ingress\": [{\"http_proxy\": {\"proxy_listen\": {\"host\": \"0.0.0.0\", \"port\": 41000}, \"dst_filters\": [{\"domain\": "
	 "\"*.example\", "
	 "\"port\": 80}, {\"ip_cidr\": \"10.0.0.0/8\"}, {\"ip\": \"::1\", \"port\": 1, \"port_end\": 9}, {\"domain_regex\": \".*\"}, {\"domain\": "
	 "\"a*.example\"}, {\"port\": 443}]}, \"no_ra\": true}]}",
	 {"accept: http\n", "listen: \"0.0.0.0:41000\"\n", "destinations: [\"*.example:80\", \"10.0.0.0/8:*\", \"[::1]:1-9\", \"*:443\"]\n",
	  "connect: gateway.invalid:443   # unfinished", "verify: {insecure_any_server: true}\n"},
	 {"add_ingress[0].http_proxy.dst_filters[3].domain_regex: not carried over",
	 "add_ingress[0].http_proxy.dst_filters[4].domain: not carried over",
	  "add_ingress[0].http_proxy: not carried over", "add_ingress[0].no_ra: changed"}},
	{"socks5",
	 "{\"add_ingress\": [{\"socks5\": {\"proxy_listen\": {\"port\": 1080}, \"auth\": {\"username\": \"me\", \"password\": "
	 "\"hunter2\"}}, \"verify\": "
	 "{\"attestation_policy\": {\"type\": \"path\", \"path\": \"p.rego\"}}}]}",
	 {"accept: socks5\n", "users: users.txt", "verify: {}   # unfinished"},
	 {"add_ingress[0].socks5.auth: not carried over", "add_ingress[0].verify.attestation_policy: not carried over"}},
	{"netfilter",
	 "{\"add_ingress\": [{\"netfilter\": {\"capture_dst\": [{\"host\": \"10.1.0.0/16\", \"port\": 443}, {\"host\": \"1;reboot\", "
	 "\"port\": 1}, {\"ipset\": "
	 "\"x\"}], \"capture_cgroup\": [\"/a\"], \"listen_port\": 50000}, \"no_ra\": true}], "
	 "\"add_egress\": [{\"netfilter\": {\"capture_dst\": {\"port\": "
	 "30001}, \"capture_local_traffic\": true, \"so_mark\": 7}, \"attest\": {}}]}",
	 {"hook output", "meta mark != 565 ip daddr 10.1.0.0/16 tcp dport 443 redirect to :50000\n", "accept: transparent\n",
	  "listen: \"127.0.0.1:50000\"\n", "mark: 565\n", "hook prerouting",
	   "meta mark != 7 fib daddr type local tcp dport 30001 redirect to :40000\n",
	  "to: original\n", "listen: \"0.0.0.0:40000\"\n", "mark: 7\n"},
	 {"add_ingress[0].netfilter.capture_dst.host: not carried over", "add_ingress[0].netfilter.capture_dst.ipset: not carried over",
	  "add_ingress[0].netfilter.capture_cgroup: not carried over", "add_egress[0].netfilter.capture_local_traffic: not carried over"}},
	{"others",
	 "{\"control_interface\": {\"restful\": {\"host\": \"0.0.0.0\", \"port\": 50000}}, \"metric\": {\"exporters\": []}, \"colour\": \"blue\", "
	 "\"add_ingress\": [{\"hook\": {}, \"no_ra\": true}, {\"mapping_udp\": {\"in\": {\"port\": 5}, \"out\": {\"host\": \"a.example\", "
	 "\"port\": 6}}}, {}, {\"mapping\": {\"in\": {\"port\": 1}, "
	 "\"out\": {\"host\": \"a b\", "
	 "\"port\": 0}}, \"ohttp\": {}, \"surprise\": 1}]}",
	 {"admin: \"127.0.0.1:50000\"\n", "name: ingress-1\n", "accept: udp\n", "listen: \"0.0.0.0:5\"\n", "connect: \"a.example:6\"\n", "name: ingress-3\n"},
	 {"metric: not carried over", "colour: unknown", "add_ingress[0].hook: not carried over", "add_ingress[1].mapping_udp: changed",
	  "add_ingress[2]: not carried over", "add_ingress[3].mapping.out: not carried over", "add_ingress[3].ohttp: not carried over",
	  "add_ingress[3].surprise: unknown", "control_interface.restful: changed",
	  "control_interface.restful.host: changed"}},
};

static bool noted(const json_t *notes, const char *what)
{
	const json_t *n;
	size_t i;
	json_array_foreach((json_t *)notes, i, n) {
		const char *field = json_string_value(json_object_get(n, "field")), *outcome = json_string_value(json_object_get(n, "outcome"));
		size_t len = strlen(field);
		if (!strncmp(what, field, len) && !strncmp(what + len, ": ", 2) && !strcmp(what + len + 2, outcome))
			return *json_string_value(json_object_get(n, "note"));
	}
	return false;
}

static void run(const struct expected *x)
{
	json_t *o = json_loads(x->json, 0, NULL), *notes = NULL;
	struct fault f = {""};
	char *yaml = NULL, name[64];
	int err = import_tng(o, &yaml, &notes, &f);
	snprintf(name, sizeof name, "import.%s", x->name);
	const char *at = yaml, *missing = NULL;
	for (size_t i = 0; !err && !missing && i < 12 && x->yaml[i]; i++) {
		const char *found = strstr(at, x->yaml[i]);
		if (found)
			at = found + strlen(x->yaml[i]);
		else
			missing = x->yaml[i];
	}
	for (size_t i = 0; !err && !missing && i < 12 && x->notes[i]; i++)
		missing = noted(notes, x->notes[i]) ? NULL : x->notes[i];
	char *all = json_dumps(notes, 0);
	ok(name, o && !err && !missing, "%d %s; missing: %s in\n%s\n%s", err, f.text, missing ? missing : "-", yaml ? yaml : "", all ? all : "");
	if (yaml && (strstr(yaml, "hunter2") || strstr(yaml, "reboot")))
		ok("import.secret", false, "what must not be in the configuration is: %s", yaml);
	free(all);
	free(yaml);
	json_decref(notes);
	json_decref(o);
}

int main(void)
{
	static const char *const bad[] = {"{}", "{\"add_ingress\": []}", "{\"add_ingress\": {}}", "{\"add_ingress\": [1]}", "[]",
	   "{\"add_egress\": [[]]}"};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		run(&cases[i]);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct fault f = {""};
		json_t *o = json_loads(bad[i], 0, NULL), *notes;
		char *yaml;
		ok("import.bad", import_tng(o, &yaml, &notes, &f) == -EINVAL && !yaml && !notes && f.text[0], "%s is taken", bad[i]);
		json_decref(o);
	}
	return ok_failed != 0;
}
