// SPDX-License-Identifier: Apache-2.0
// `coffer broker serve`: starts the server, waits for a signal, stops it. See broker.h.
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/notify.h"
#include "broker/metrics.h"
#include "broker/ops.h"
#include "broker/state.h"
#include "lib/blocks.h"
#include "lib/file.h"
#include "lib/log.h"

// How long refusals without a record of their own may wait for one that sums them up.
#define SUMMARY_S 10

#define STATUS_MAX 300

static const char usage[] =
	"usage: %s [--dir DIR] [--listen ADDRESS:PORT] [--config FILE]\n"
	"                    [--insecure-accept-simulated ROOT.pem] [--insecure-accept-debug]\n"
	"                    [--require-anchor any|broker|tpm] [--collateral DIR] [--policy FILE] [--tpm-roots FILE] [--gpu-roots FILE]\n"
	"                    [--database PATH|URL] [--accept-restored-database] [--references DIR]\n"
	"                    [--master-key file|passphrase|tpm|pkcs11]\n"
	"\n"
	"Runs the attestation and key broker: it gives a sealed volume's key to an enclave that proves to be one that\n"
	"`coffer policy allow` names. Stop it with Ctrl-C or SIGTERM.\n"
	"\n"
	"  --dir DIR              its files (default: $COFFER_BROKER_DIR, or ~/.local/share/coffer/broker)\n"
	"  --listen ADDRESS:PORT  default " BROKER_DEFAULT_LISTEN "; port 0 takes any free one\n"
	"  --config FILE          default: broker.yaml in DIR (keys: these options with _ for -)\n"
	"  --require-anchor any|broker|tpm\n"
	"                         only enclaves whose volumes are anchored: anywhere, at a broker, in a TPM\n"
	"  --database PATH|URL    default: broker.db in DIR; postgresql://... for several brokers (docs/broker-operations.md)\n"
	"  --accept-restored-database\n"
	"                         once, after a backup of the database was put back on purpose\n"
	"  --collateral DIR       a store of what makers of hardware publish (coffer collateral)\n"
	"  --policy FILE          which hardware will do, and rules about resources (docs/policy.md); SIGHUP reads it anew\n"
	"  --references DIR       signed reference values (*.json) and the keys that may have signed them (*.pem)\n"
	"  --tpm-roots FILE       certificates of makers of TPMs (PEM)\n"
	"  --gpu-roots FILE       the same of GPUs, beside NVIDIA's, which is known\n"
	"  --insecure-accept-simulated ROOT.pem\n"
	"                         also accept evidence of simulated hardware under this root; proves nothing\n"
	"  --insecure-accept-debug\n"
	"                         also accept enclaves whose host may look inside (debug_enclave: true)\n"
	MASTER_HELP;

// The URL that clients on this machine use; they find it in the file `address`.
static int announce(const struct broker_settings *s, struct broker *b, const char *address, unsigned int port, struct fault *f)
{
	char path[PATH_MAX + 16], url[128];
	const char *host = !strcmp(address, "0.0.0.0") ? "127.0.0.1" : !strcmp(address, "::") ? "::1" : address;
	bool v6 = strchr(host, ':') != NULL;
	int n = snprintf(url, sizeof url, "https://%s%s%s:%u\n", v6 ? "[" : "", host, v6 ? "]" : "", port);
	snprintf(path, sizeof path, "%s/address", s->dir);
	int err = file_write(path, url, (size_t)n, 0644, false, f);
	pthread_rwlock_wrlock(&b->verifier_lock);
	if (!*b->issuer)
		snprintf(b->issuer, sizeof b->issuer, "%.*s", n - 1, url);
	pthread_rwlock_unlock(&b->verifier_lock);
	if (!err) {
		printf("listening on %s", url);
		fflush(stdout);
	}
	return err;
}

// `status`: what systemd shows afterwards, as it does not ask how the reload went.
static void reload(struct broker *b, const struct broker_settings *s, const char *url, char status[STATUS_MAX])
{
	struct fault why = {""};
	int err = broker_state_reload(b, s, &why);
	snprintf(status, STATUS_MAX, err ? "%s; the last reload FAILED: %s" : "%s", url, why.text);
	metric_add(err ? METRIC_BAD_RELOADS : METRIC_RELOADS);
	if (err)
		log_alarm("broker: the policy was NOT read anew, the one before stays: %s", why.text);
	else
		log_info("broker: policy, references and roots were read anew");
}

// What a restore left (restore.c): the owner takes the file away once what was lost is made good.
static void warn_restored(const char *dir)
{
	char path[PATH_MAX + 16], *text;
	size_t len;
	snprintf(path, sizeof path, "%s/restored", dir);
	if (file_read(path, 1024, &text, &len, NULL))
		return;
	text[strcspn(text, "\n")] = '\0';
	log_warning("broker: %.300s: what was changed in between is lost (remove %s to end this notice)", text, path);
	free(text);
}

static int serve(const struct broker_settings *s, struct fault *f)
{
	struct broker b;
	SSL_CTX *tls = NULL;
	struct http_server *server = NULL, *metrics = NULL;
	char address[64];
	unsigned int port;
	sigset_t signals, before;
	int sig, lock = -1;

	if (broker_split_listen(s->listen, address, &port))
		return fault_set(f, -EINVAL, "cannot listen on '%s': it must be ADDRESS:PORT", s->listen);
	int err = broker_prepare(s->dir, f);
	if (err)
		return err;
	lock = broker_lock_dir(s->dir, f);
	if (lock < 0)
		return lock;
	// Before the first thread is made, which would take them otherwise while this one is busy.
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &signals, &before);
	err = broker_state_open(&b, &tls, s, f);
	if (err)
		goto out;
	if (verifier_accepts_simulated(&b.verifier))
		log_alarm("INSECURE: this broker accepts evidence of SIMULATED hardware (%s). Whoever holds that "
			  "simulation's "
			  "key gets every key that a policy allows. For development only.",
			  s->simulated_root);
	if (b.verifier.policy->policy.insecure_accept_debug)
		log_alarm("INSECURE: this broker accepts debug enclaves, which show their host what they do. For "
			  "development only.");

	if (s->accept_expired_crl)
		log_alarm("INSECURE: this broker goes by revocation lists that have ended (insecure_accept_expired_crl): what was revoked since passes.");
	warn_restored(s->dir);

	mallopt(M_ARENA_MAX, 2);	// threads that come and go with the load would keep an arena each
	signal(SIGPIPE, SIG_IGN);
	struct http_server_options o = {
		.address = address, .port = port, .tls = tls, .max_connections = s->connections, .max_per_peer = s->connections_per_peer,
		.handle = broker_handle, .ctx = &b};
	err = http_server_start(&server, &o, f);
	b.server = server;
	if (!err && *s->metrics_listen)
		err = ops_listen(&metrics, &b, s->metrics_listen, f);
	if (!err)
		err = announce(s, &b, address, http_server_port(server), f);
	if (!err && metrics)
		printf("metrics on port %u\n", http_server_port(metrics));
	fflush(stdout);
	if (!err) {
		char url[160], status[STATUS_MAX];
		struct http_server_counts counts;
		struct note head;
		snprintf(url, sizeof url, "https://%.80s:%u", address, http_server_port(server));
		notify_ready(url);
		while ((sig = sigtimedwait(&signals, NULL, &(struct timespec){.tv_sec = SUMMARY_S})) <= 0 || sig == SIGHUP) {
			if (sig == SIGHUP) {
				notify_reloading();
				reload(&b, s, url, status);
				notify_ready(status);
			}
			// Locks that all requests take: where one is never given back, systemd starts the broker anew.
			http_server_counts(server, &counts);
			audit_head(b.audit, &head);
			notify_alive();
			limits_summarise(b.limits, &b, false);
		}
		notify_stopping();
		log_info("broker: stopping");
	}
	atomic_store(&b.stopping, true);
	if (server)
		http_server_drain(server);
	if (metrics)	// until here it tells of the other, and probes that this one stops
		http_server_stop(metrics);
	if (server)
		http_server_stop(server);
out:
	broker_state_close(&b, tls);
	while (sigtimedwait(&signals, NULL, &(struct timespec){0, 0}) > 0)	// who asked twice is not to kill what has ended well
		;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (lock >= 0)
		close(lock);
	return err;
}

void broker_leave_no_traces(void)
{
	setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
	// Requests and answers pass through JSON, and some hold keys: what it gives back is wiped.
	json_set_alloc_funcs(block_take, block_give);
}

int broker_main(int argc, char **argv)
{
	broker_leave_no_traces();
	struct broker_settings s;
	struct fault f = {""};
	const char *name = argc > 0 ? argv[0] : "coffer broker serve";
	int err = broker_settings_read(&s, argc, argv, &f);
	if (err == 1) {
		printf(usage, name);
		return 0;
	}
	if (err) {
		fprintf(stderr, "%s: %s\n", name, f.text);
		if (err == -EINVAL)
			fprintf(stderr, usage, name);
		return err == -EINVAL ? 2 : 1;
	}
	err = serve(&s, &f);
	json_decref(s.approvals);
	if (err)
		fprintf(stderr, "%s: %s\n", name, f.text);
	// A service that is started again and again with a wrong PIN locks its token.
	return err == -EACCES ? 3 : err ? 1 : 0;
}
