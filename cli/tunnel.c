// SPDX-License-Identifier: Apache-2.0
// `coffer tunnel`: the network gateway, and what is known of a running one.
#include "cli/tunnel.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "tunnel/admin.h"
#include "tunnel/gateway.h"

static int run(int argc, char **argv)
{
	static const struct option options[] = {{"check", no_argument, NULL, 'c'}, {0}};
	struct fault f = {""};
	bool check = false;
	int option;
	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option != 'c')
			return cli_usage(&command_tunnel, "run takes --check and a file");
		check = true;
	}
	if (argc - optind != 1)
		return cli_usage(&command_tunnel, "which file? coffer tunnel run FILE");
	int err = check ? gateway_check(argv[optind], &f) : gateway_run(argv[optind], &f);
	if (err)
		return cli_fail(&f);
	if (check)
		printf("%s: good\n", argv[optind]);
	return EXIT_OK;
}

// ---- a running gateway ----

struct asking {
	struct config_address at;
	bool json, connections;
};

// --admin ADDRESS, or the configuration that says it.
static int whom(int argc, char **argv, struct asking *q, int *code)
{
	static const struct option options[] = {{"admin", required_argument, NULL, 'a'}, {"json", no_argument, NULL, 'j'},
						{"connections", no_argument, NULL, 'c'}, {0}};
	struct fault f = {""};
	struct config *c;
	int option, err = 0;
	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == 'j')
			q->json = true;
		else if (option == 'c')
			q->connections = true;
		else if (option != 'a')
			err = *code = cli_usage(&command_tunnel, "%s takes --admin ADDRESS or the gateway's FILE, and --json", argv[0]);
		else if (config_address_parse(&q->at, optarg, &f))
			err = *code = cli_fail(&f);
		if (err)
			return -EINVAL;
	}
	if (q->at.len && argc == optind)
		return 0;
	if (q->at.len || argc - optind != 1) {
		*code = cli_usage(&command_tunnel, "%s takes --admin ADDRESS or the gateway's FILE", argv[0]);
		return -EINVAL;
	}
	err = tunnel_config_load(&c, argv[optind], &f);
	if (!err) {
		q->at = c->settings.admin;
		if (!q->at.len)
			err = fault_set(&f, -EINVAL, "%s has no `admin`: a gateway that says nothing cannot be asked", argv[optind]);
		tunnel_config_free(c);
	}
	if (err)
		*code = cli_fail(&f);
	return err;
}

static json_int_t number(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));
	return s ? s : "";
}

static void show_link(const json_t *l)
{
	const json_t *known = json_object_get(l, "attestation"), *claims = json_object_get(known, "claims");
	bool failed = !strcmp(text(l, "state"), "failed");
	printf("  %-16s %-24s %s%-10s%s", text(l, "route"), text(l, "peer"), failed ? cli_red(stdout) : "", text(l, "state"),
	   failed ? cli_plain(stdout) : "");
	if (failed)
		printf(" %s; tried again in %lld ms\n", text(l, "reason"), (long long)number(l, "retry_ms"));
	else
		printf(" %lld streams, %lld s, %s%s%s%s\n", (long long)number(l, "streams"), (long long)number(l, "age_seconds"),
		       *text(known, "verdict") ? text(known, "verdict") : "-", *text(claims, "tee") ? ", " : "", text(claims, "tee"),
		       json_is_true(json_object_get(json_object_get(known, "session"), "proved")) ? ", proved in session" : "");
}

static void show(const json_t *o)
{
	const json_t *r;
	size_t i;
	printf("%s%s%s for %lld s, %lld workers, %lld connections, %lld reloads (%lld failed)\n\nroutes\n", cli_bold(stdout), text(o, "state"),
	   cli_plain(stdout),
	       (long long)number(o, "uptime_seconds"), (long long)number(o, "workers"), (long long)number(o, "connections"), (long long)number(o,
	   "reloads"),
	       (long long)number(o, "failed_reloads"));
	json_array_foreach(json_object_get(o, "routes"), i, r)
		printf("  %-16s %-8s %s%s%s: %lld open, %lld in all, %lld refused, %lld bytes in, %lld out\n", text(r, "name"), text(r, "kind"),
		       text(r, "listen"), *text(r, "connect") ? " -> " : "", text(r, "connect"), (long long)number(r, "connections_open"),
		       (long long)number(r, "connections_total"), (long long)number(r, "connections_refused_total"), (long long)number(r,
		   "bytes_in_total"),
		       (long long)number(r, "bytes_out_total"));
	printf("\nattested connections\n");
	json_array_foreach(json_object_get(o, "attested"), i, r)
		show_link(r);
	if (json_object_get(o, "table"))
		printf("\nconnections\n");
	json_array_foreach(json_object_get(o, "table"), i, r)
		printf("  %-16s %-24s %-10s %s%s%lld bytes in, %lld out, %lld s, idle %lld s\n", text(r, "route"), text(r, "plain"), text(r, "state"),
		       text(r, "to"), *text(r, "to") ? ", " : "", (long long)number(r, "bytes_in"), (long long)number(r, "bytes_out"),
		       (long long)number(r, "age_seconds"), (long long)number(r, "idle_seconds"));
}

// reload and status.
static int running(int argc, char **argv)
{
	struct asking q = {.json = false};
	struct fault f = {""};
	char *body = NULL;
	int status = 0, code = EXIT_ERROR;
	bool reload = !strcmp(argv[0], "reload");
	if (whom(argc, argv, &q, &code))
		return code;
	int err = admin_ask(&q.at, reload ? "POST" : "GET", reload ? "/reload" : q.connections ? "/connections" : "/status", &status, &body, &f);
	json_t *o = err ? NULL : json_loads(body, 0, NULL);
	if (!err && reload && status != 200)
		err = fault_set(&f, -EINVAL, "not reloaded, the configuration of before stays in force: %.900s",
				o ? json_string_value(json_object_get(o, "error")) : body);
	else if (!err && !reload && (status != 200 || !o))
		err = fault_set(&f, -EPROTO, "the gateway answers with status %d", status);
	if (!err && !reload && q.json)
		printf("%s\n", body);
	else if (!err && !reload)
		show(o);
	json_decref(o);
	free(body);
	return err ? cli_fail(&f) : EXIT_OK;
}

static const struct {
	const char *name;
	int (*run)(int argc, char **argv);
} subcommands[] = {{"run", run}, {"reload", running}, {"status", running}, {"exec", tunnel_exec}, {"import", tunnel_import}};

static int tunnel(int argc, char **argv)
{
	for (size_t i = 0; argc > 1 && i < sizeof subcommands / sizeof *subcommands; i++) {
		if (!strcmp(argv[1], subcommands[i].name))
			return subcommands[i].run(argc - 1, argv + 1);
	}
	return cli_usage(&command_tunnel, argc > 1 ? "there is no '%s': run, reload, status, exec or import" :
			 "say what: run, reload, status, exec or import", argc > 1 ? argv[1] : "");
}

const struct command command_tunnel = {
	"tunnel", "the network gateway: connections of ordinary programs through attested TLS",
	"usage: coffer tunnel run FILE [--check]\n"
	"       coffer tunnel reload FILE | --admin ADDRESS\n"
	"       coffer tunnel status FILE | --admin ADDRESS [--connections] [--json]\n"
	"       coffer tunnel exec --route FILE [--name ROUTE] -- PROGRAM...\n"
	"       coffer tunnel import FILE.json [--json]\n\n"
	"run     carries the connections that FILE (YAML, docs/tunnel.md) describes, until SIGTERM; SIGHUP reads FILE again.\n"
	"        With --check it reads FILE and all that it names, and ends\n"
	"reload  makes a running gateway read its file again, and says what is wrong with it. A bad file changes nothing\n"
	"status  routes and attested connections of a running gateway; --connections: clients' as well\n"
	"exec    runs a program whose TCP connections go through FILE's ingress route, by name where it knows names, and nowhere else: no\n"
	"        privileges, any program, also static ones. Its exit code is the program's\n"
	"import  writes a configuration of TNG (JSON) as one of ours to standard output, and to standard error a line on each field that\n"
	"        means something else here, or nothing. Exit code 3 when there is such a line\n\n"
	"ADDRESS is what FILE has as `admin`: unix:PATH, or a loopback address and port.\n\n"
	"Exit codes: 0, 1 it failed (a message says why), 2 wrong usage.\n",
	tunnel,
};
