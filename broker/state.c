// SPDX-License-Identifier: Apache-2.0
// See state.h and broker.h. Files: cert.pem (public), tls.key, admin.token (0600), broker.db; master.c has its own.
#include "broker/state.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "broker/approvals.h"
#include "broker/broker.h"
#include "broker/policies.h"
#include "broker/secrets.h"
#include "broker/svid.h"
#include "broker/token_api.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/tls.h"
#include "lib/yamlcfg.h"

static const struct yamlcfg_key approval_keys[] = {
	{.name = "k", .type = {.kind = YAMLCFG_INT, .min = 1, .max = 100}, .required = true},
	{.name = "of", .type = {.kind = YAMLCFG_LIST, .item = &(const struct yamlcfg_type){.kind = YAMLCFG_TEXT}}, .required = true},
	{.name = NULL},
};
static const struct yamlcfg_type approval_type = {.kind = YAMLCFG_RECORD, .keys = approval_keys};
static const struct yamlcfg_key setting_keys[] = {
	{.name = "listen", .type = {.kind = YAMLCFG_TEXT}},
	{.name = "insecure_accept_simulated", .type = {.kind = YAMLCFG_TEXT}},
	{.name = "insecure_accept_debug", .type = {.kind = YAMLCFG_BOOL}},
	{.name = "require_anchor", .type = {.kind = YAMLCFG_TEXT}},
	{.name = "database", .type = {.kind = YAMLCFG_TEXT}},
	{.name = "collateral", .type = {.kind = YAMLCFG_TEXT}},
	{.name = "policy", .type = {.kind = YAMLCFG_TEXT}},
	{.name = "tpm_roots", .type = {.kind = YAMLCFG_TEXT}},
	{.name = "gpu_roots", .type = {.kind = YAMLCFG_TEXT}},
	{.name = "references", .type = {.kind = YAMLCFG_TEXT}},
	{.name = "issuer", .type = {.kind = YAMLCFG_TEXT}},
	{.name = "spiffe_trust_domain", .type = {.kind = YAMLCFG_TEXT}},
	{.name = "spiffe_svid_seconds", .type = {.kind = YAMLCFG_INT, .min = 60, .max = SIGNER_X509_MAX_SECONDS}},
	{.name = "ratls_max_age", .type = {.kind = YAMLCFG_INT, .max = 30 * 86400}},
	{.name = "metrics_listen", .type = {.kind = YAMLCFG_TEXT}},
	{.name = "connections", .type = {.kind = YAMLCFG_INT, .min = 16, .max = 100000}},
	{.name = "connections_per_peer", .type = {.kind = YAMLCFG_INT, .min = 1, .max = 100000}},
	{.name = "refusals_per_peer", .type = {.kind = YAMLCFG_INT, .min = 1, .max = 1000000}},
	{.name = "sessions_per_peer", .type = {.kind = YAMLCFG_INT, .min = 1, .max = 1000000}},
	{.name = "refusals_logged", .type = {.kind = YAMLCFG_INT, .min = 1, .max = 1000000}},
	{.name = "disk_reserve", .type = {.kind = YAMLCFG_INT, .min = 0, .max = 1 << 20}},
	{.name = "approvals", .type = {.kind = YAMLCFG_MAP, .item = &approval_type}},
	{.name = "admin_token", .type = {.kind = YAMLCFG_BOOL}},
	{.name = "client_ca", .type = {.kind = YAMLCFG_TEXT}},
	{.name = "client_ca_crl", .type = {.kind = YAMLCFG_TEXT}},
	{.name = "tpm_crl", .type = {.kind = YAMLCFG_TEXT}},
	{.name = "insecure_accept_expired_crl", .type = {.kind = YAMLCFG_BOOL}},
	{.name = "authority", .type = {.kind = YAMLCFG_LIST, .item = &(const struct yamlcfg_type){.kind = YAMLCFG_TEXT}}},
	{.name = "audit_witnesses", .type = {.kind = YAMLCFG_LIST, .item = &(const struct yamlcfg_type){.kind = YAMLCFG_TEXT}}},
	{.name = "master_key", .type = {.kind = YAMLCFG_TEXT}},
	{.name = "master_key_tpm", .type = {.kind = YAMLCFG_TEXT}},
	{.name = "master_key_pcrs", .type = {.kind = YAMLCFG_TEXT}},
	{.name = "master_key_module", .type = {.kind = YAMLCFG_TEXT}},
	{.name = "master_key_token", .type = {.kind = YAMLCFG_TEXT}},
	{.name = "master_key_label", .type = {.kind = YAMLCFG_TEXT}},
	{.name = "master_key_pin_file", .type = {.kind = YAMLCFG_TEXT}},
	{.name = NULL},
};
static const struct yamlcfg_type settings_type = {.kind = YAMLCFG_RECORD, .keys = setting_keys};

static int set(char *out, size_t size, const char *value, const char *what, struct fault *f)
{
	if (strlen(value) >= size || !*value)
		return fault_set(f, -EINVAL, "%s: empty or too long", what);
	strcpy(out, value);
	return 0;
}

static const char *const any_anchor[] = {"broker", "tpm", NULL};

// The anchors that will do, for the setting's word.
static const char *const *anchors_of(const char *word)
{
	static const char *const only_broker[] = {"broker", NULL}, *const only_tpm[] = {"tpm", NULL};
	return !strcmp(word, "any") ? any_anchor : !strcmp(word, "broker") ? only_broker : !strcmp(word, "tpm") ? only_tpm : NULL;
}

static int set_anchor(struct broker_settings *s, const char *word, struct fault *f)
{
	if (!anchors_of(word))
		return fault_set(f, -EINVAL, "require_anchor: any, broker or tpm, not '%.60s'", word);
	return set(s->anchor, sizeof s->anchor, word, "require_anchor", f);
}

static int set_witnesses(struct broker_settings *s, const json_t *list, struct fault *f)
{
	size_t i;
	json_t *v;
	if (json_array_size(list) > AUDIT_MAX_WITNESSES)
		return fault_set(f, -EINVAL, "audit_witnesses: at most %d", AUDIT_MAX_WITNESSES);
	json_array_foreach(list, i, v) {
		if (note_key_parse(&s->witnesses[i], json_string_value(v)) || s->witnesses[i].kind != NOTE_WITNESS)
			return fault_set(f, -EINVAL, "audit_witnesses: '%.100s' is not the public key of a witness, as `coffer audit witness` "
					 "prints it", json_string_value(v));
	}
	s->witness_count = (unsigned int)json_array_size(list);
	return 0;
}

static int set_authority(struct broker_settings *s, const json_t *list, struct fault *f)
{
	size_t n = 0, i;
	json_t *v;
	json_array_foreach(list, i, v) {
		const char *name = json_string_value(v);
		if (!*name || strpbrk(name, ",/ ") || n + strlen(name) + 2 > sizeof s->authority)
			return fault_set(f, -EINVAL, "authority: '%.100s' is no host name or address, or there are too many", name);
		n += (size_t)sprintf(s->authority + n, "%s%s", n ? "," : "", name);
	}
	return 0;
}

static int read_yaml(struct broker_settings *s, const char *config, struct fault *f)
{
	char path[PATH_MAX + 16];
	json_t *o;
	snprintf(path, sizeof path, "%s/broker.yaml", s->dir);
	int err = yamlcfg_load(config ? config : path, &settings_type, &o, f);
	if (err == -ENOENT && !config)
		return 0;
	if (err)
		return err;
	const struct { const char *name; char *out; size_t size; } texts[] = {
		{"listen", s->listen, sizeof s->listen}, {"insecure_accept_simulated", s->simulated_root, sizeof s->simulated_root},
		{"database", s->database, sizeof s->database}, {"collateral", s->collateral, sizeof s->collateral}, {"policy", s->policy, sizeof s->policy},
		{"client_ca", s->client_ca, sizeof s->client_ca}, {"client_ca_crl", s->client_crl, sizeof s->client_crl},
		{"tpm_crl", s->tpm_crl, sizeof s->tpm_crl},
		{"tpm_roots", s->tpm_roots, sizeof s->tpm_roots}, {"gpu_roots", s->gpu_roots, sizeof s->gpu_roots}, {"references", s->references, sizeof s->references},
		{"issuer", s->issuer, sizeof s->issuer}, {"spiffe_trust_domain", s->spiffe_domain, sizeof s->spiffe_domain},
		{"metrics_listen", s->metrics_listen, sizeof s->metrics_listen},
	};
	for (size_t i = 0; !err && i < sizeof texts / sizeof *texts; i++) {
		const char *text = json_string_value(json_object_get(o, texts[i].name));
		if (text)
			err = set(texts[i].out, texts[i].size, text, texts[i].name, f);
	}
	const struct { const char *name; unsigned int *out; } numbers[] = {
		{"connections", &s->connections}, {"connections_per_peer", &s->connections_per_peer},
		{"refusals_per_peer", &s->limits.refusals_per_peer}, {"sessions_per_peer", &s->limits.sessions_per_peer},
		{"refusals_logged", &s->limits.refusals_logged}, {"disk_reserve", &s->limits.disk_reserve_mib},
	};
	for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
		const json_t *n = json_object_get(o, numbers[i].name);
		if (n)
			*numbers[i].out = (unsigned int)json_integer_value(n);
	}
	for (int i = 0; !err && master_setting_names[i]; i++) {
		const char *text = json_string_value(json_object_get(o, master_setting_names[i]));
		if (text)
			err = master_setting(&s->master, master_setting_names[i], text, f);
	}
	s->accept_debug = json_is_true(json_object_get(o, "insecure_accept_debug"));
	s->accept_expired_crl = json_is_true(json_object_get(o, "insecure_accept_expired_crl"));
	const char *anchor = json_string_value(json_object_get(o, "require_anchor"));
	if (!err && anchor)
		err = set_anchor(s, anchor, f);
	if (!err && *s->spiffe_domain && !svid_domain_valid(s->spiffe_domain))
		err = fault_set(f, -EINVAL, "spiffe_trust_domain: '%.60s' must be lower-case letters, digits, . _ -", s->spiffe_domain);
	s->spiffe_seconds = (unsigned int)json_integer_value(json_object_get(o, "spiffe_svid_seconds"));
	s->ratls_max_age_s = (unsigned int)json_integer_value(json_object_get(o, "ratls_max_age"));
	s->no_admin_token = json_is_false(json_object_get(o, "admin_token"));
	if (!err)
		err = approvals_check_settings(json_object_get(o, "approvals"), f);
	if (!err)
		s->approvals = json_incref(json_object_get(o, "approvals"));
	if (!err)
		err = set_authority(s, json_object_get(o, "authority"), f);
	if (!err)
		err = set_witnesses(s, json_object_get(o, "audit_witnesses"), f);
	json_decref(o);
	return err;
}

int broker_settings_read(struct broker_settings *s, int argc, char **argv, struct fault *f)
{
	static const char *const names[] = {"--dir", "--listen", "--config", "--insecure-accept-simulated", "--require-anchor",
					    "--collateral", "--policy", "--tpm-roots", "--references", "--database", "--gpu-roots"};
	enum { OPTIONS = sizeof names / sizeof *names };
	const char *values[OPTIONS] = {NULL};
	bool accept_debug = false;
	memset(s, 0, sizeof *s);
	master_settings_init(&s->master);
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			return 1;
		if (!strcmp(argv[i], "--insecure-accept-debug")) {
			accept_debug = true;
			continue;
		}
		if (!strcmp(argv[i], "--accept-restored-database")) {
			s->accept_restored = true;
			continue;
		}
		struct master_settings later = s->master; // they count over broker.yaml, which is read below
		int took = master_option(&later, argv[i], argv[i + 1], f);
		if (took < 0)
			return took;
		if (took) {
			i += took - 1;
			continue;
		}
		int k = 0;
		size_t n = 0;
		for (; k < OPTIONS; k++) {
			n = strlen(names[k]);
			if (!strncmp(argv[i], names[k], n) && (!argv[i][n] || argv[i][n] == '='))
				break;
		}
		if (k == OPTIONS)
			return fault_set(f, -EINVAL, "unknown option '%.100s'", argv[i]);
		if (argv[i][n] == '=')
			values[k] = argv[i] + n + 1;
		else if (++i < argc)
			values[k] = argv[i];
		else
			return fault_set(f, -EINVAL, "%s needs a value", names[k]);
	}
	int err = 0;
	if (values[0])
		err = set(s->dir, sizeof s->dir, values[0], "--dir", f);
	else if (broker_default_dir(s->dir, sizeof s->dir))
		err = fault_set(f, -ENOENT,
				"no place for the broker's files: set HOME or COFFER_BROKER_DIR, or give --dir");
	strcpy(s->listen, BROKER_DEFAULT_LISTEN);
	s->limits = (struct limit_settings){.refusals_per_peer = 60, .sessions_per_peer = 500, .refusals_logged = 1000, .disk_reserve_mib = 64};
	if (!err)
		err = read_yaml(s, values[2], f);
	for (int i = 1; !err && i < argc; i++) {
		int took = master_option(&s->master, argv[i], argv[i + 1], f);
		if (took < 0)
			err = took;
		i += took == 2;
	}
	if (!err && values[1])
		err = set(s->listen, sizeof s->listen, values[1], "--listen", f);
	s->accept_debug |= accept_debug;
	if (!err && values[3])
		err = set(s->simulated_root, sizeof s->simulated_root, values[3], "--insecure-accept-simulated", f);
	if (!err && values[4])
		err = set_anchor(s, values[4], f);
	if (!err && values[5])
		err = set(s->collateral, sizeof s->collateral, values[5], "--collateral", f);
	if (!err && values[6])
		err = set(s->policy, sizeof s->policy, values[6], "--policy", f);
	if (!err && values[7])
		err = set(s->tpm_roots, sizeof s->tpm_roots, values[7], "--tpm-roots", f);
	if (!err && values[8])
		err = set(s->references, sizeof s->references, values[8], "--references", f);
	if (!err && values[9])
		err = set(s->database, sizeof s->database, values[9], "--database", f);
	if (!err && values[10])
		err = set(s->gpu_roots, sizeof s->gpu_roots, values[10], "--gpu-roots", f);
	return err;
}

int broker_split_listen(const char *listen, char address[64], unsigned int *port)
{
	const char *colon = strrchr(listen, ':');
	char *end;
	if (!colon || colon == listen || !colon[1])
		return -EINVAL;
	unsigned long p = strtoul(colon + 1, &end, 10);
	const char *from = listen;
	size_t n = (size_t)(colon - listen);
	if (*from == '[') {
		if (n < 3 || colon[-1] != ']')
			return -EINVAL;
		from++;
		n -= 2;
	}
	if (*end || p > 65535 || n >= 64)
		return -EINVAL;
	memcpy(address, from, n);
	address[n] = '\0';
	*port = (unsigned int)p;
	return 0;
}

static bool exists(const char *dir, const char *name, char path[PATH_MAX + 32])
{
	snprintf(path, PATH_MAX + 32, "%s/%s", dir, name);
	return access(path, F_OK) == 0;
}

static int make_random_file(const char *dir, const char *name, struct fault *f)
{
	char path[PATH_MAX + 32], hex[66];
	uint8_t bytes[32];
	if (exists(dir, name, path))
		return 0;
	if (RAND_priv_bytes(bytes, sizeof bytes) != 1)
		return fault_set(f, -EIO, "no random numbers");
	hex_encode(hex, bytes, sizeof bytes);
	hex[64] = '\n';
	int err = file_write(path, hex, 65, 0600, true, f);
	explicit_bzero(bytes, sizeof bytes);
	explicit_bzero(hex, sizeof hex);
	return err;
}

static int make_tls(const char *dir, struct fault *f)
{
	char key_path[PATH_MAX + 32], cert_path[PATH_MAX + 32], names[512] = "localhost,127.0.0.1,::1", host[256];
	char *cert, *key;
	if (exists(dir, "cert.pem", cert_path))
		return 0;
	if (!gethostname(host, sizeof host - 1) &&
	    strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.") == strlen(host) && *host &&
	    strcmp(host, "localhost")) {
		strcat(names, ",");
		strcat(names, host);
	}
	int err = tls_make_certificate("Coffer broker", names, &cert, &key, f);
	if (err)
		return err;
	exists(dir, "tls.key", key_path);
	err = file_write(key_path, key, strlen(key), 0600, false, f);
	if (!err)
		err = file_write(cert_path, cert, strlen(cert), 0644, true, f);
	free_wiped(key, strlen(key));
	free(cert);
	return err;
}

int broker_prepare(const char *dir, struct fault *f)
{
	char own[PATH_MAX], path[PATH_MAX + 32];
	if (!dir && broker_default_dir(own, sizeof own))
		return fault_set(f, -ENOENT, "no place for the broker's files: set HOME or COFFER_BROKER_DIR");
	if (!dir)
		dir = own;
	int err = file_make_private_dir(dir, f);
	if (err)
		return err;
	exists(dir, "lock", path);
	int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (lock < 0 || flock(lock, LOCK_EX) < 0) {
		err = fault_errno(f, errno, "cannot lock %s", path);
		goto out;
	}
	err = make_random_file(dir, "admin.token", f);
	if (!err)
		err = make_tls(dir, f);
out:
	if (lock >= 0)
		close(lock);
	return err;
}

int broker_lock_dir(const char *dir, struct fault *f)
{
	char path[PATH_MAX + 16];
	snprintf(path, sizeof path, "%s/serving.lock", dir);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0)
		return fault_errno(f, errno, "cannot open %s", path);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
		close(fd);
		return fault_set(f, -EBUSY, "another broker is serving from %s", dir);
	}
	return fd;
}

// A private file; its text in malloc'ed memory.
static int read_state(const char *dir, const char *name, bool private, char **text, size_t *len, struct fault *f)
{
	char path[PATH_MAX + 32];
	exists(dir, name, path);
	return private ? file_read_private(path, 64 << 10, text, len, f) : file_read(path, 64 << 10, text, len, f);
}

// 64 hex digits and perhaps a newline.
static int read_hex_file(const char *dir, const char *name, char hex[BROKER_TOKEN_TEXT], struct fault *f)
{
	char *text;
	size_t len;
	uint8_t bytes[32];
	int err = read_state(dir, name, true, &text, &len, f);
	if (err)
		return err;
	text[strcspn(text, "\r\n")] = '\0';
	if (hex_decode(bytes, sizeof bytes, text))
		err = fault_set(f, -EINVAL, "%s/%s does not hold 64 hex digits", dir, name);
	else
		hex_encode(hex, bytes, sizeof bytes);
	explicit_bzero(bytes, sizeof bytes);
	free_wiped(text, len);
	return err;
}

struct opening {
	struct broker *b;
	const struct broker_settings *s;
};

static int store_fits(void *ctx, const uint8_t key[MASTER_KEY_BYTES], struct fault *f)
{
	struct opening *o = ctx;
	struct broker *b = o->b;
	int err = store_prepare(b->db, key, f);
	if (!err)
		err = guard_open(&b->guard, b->db, key, b->audit, o->s->accept_restored, f);
	if (!err)
		err = store_open(&b->store, b->db, b->guard, key, f);
	if (!err)
		err = secrets_open(&b->secrets, b->db, b->guard, key, f);
	if (!err && db_shared(b->db))
		err = session_table_shared(&b->sessions, b->db, key, SESSION_SECONDS, f);
	return err ? err : token_open(b, o->s->dir, key, f);
}

static int open_store(struct broker *b, const struct broker_settings *s, struct fault *f)
{
	char path[PATH_MAX + 32];
	struct opening o = {b, s};
	struct master_secrets known = {.have_pin = false};
	bool there = exists(s->dir, "broker.db", path) && !*s->database;
	int err = db_open(&b->db, *s->database ? s->database : path, f);
	if (!err)
		err = master_find(s->dir, &s->master, &known, there ? MASTER_TIDY : MASTER_MAKE, store_fits, &o, f);
	master_secrets_wipe(&known);
	return err;
}

static int open_tls(SSL_CTX **tls, const char *dir, struct fault *f)
{
	char *cert = NULL, *key = NULL;
	size_t cert_len, key_len = 0;
	int err = read_state(dir, "cert.pem", false, &cert, &cert_len, f);
	if (!err)
		err = read_state(dir, "tls.key", true, &key, &key_len, f);
	if (!err && !(*tls = tls_server_context(cert, key, f)))
		err = -EINVAL;
	free(cert);
	free_wiped(key, key_len);
	return err;
}

static int open_verifier_with(struct verifier *out, const struct broker_settings *s, const struct policy_version *p, struct fault *f)
{
	char seen[PATH_MAX + 32];
	exists(s->dir, "references.seen", seen);
	const struct verifier_settings v = {.collateral = s->collateral, .policy = s->policy, .tpm_roots = s->tpm_roots, .gpu_roots = s->gpu_roots,
					    .tpm_crl = s->tpm_crl, .client_ca = s->client_ca, .client_crl = s->client_crl,
					    .accept_expired_crl = s->accept_expired_crl,
					    .simulated = s->simulated_root, .references = s->references, .references_seen = seen,
					    .policy_text = p->text, .policy_len = p->len, .policy_version = p->version,
					    .accept_debug = s->accept_debug};
	return verifier_open(out, &v, f);
}

// With the policy of the settings, or the one that was put in the database: never both.
static int open_verifier(struct broker *b, struct verifier *out, const struct broker_settings *s, struct fault *f)
{
	struct policy_version p = {0};
	memset(out, 0, sizeof *out);
	int err = policies_get(b, 0, &p, f);
	if (err == -ENOENT)
		err = 0;
	else if (!err && *s->policy)
		err = fault_set(f, -EINVAL, "two policies: the file %s (`policy` in broker.yaml, or --policy) and version %lld in the database, by %s: take out the "
				"first, or start without it and `coffer policy withdraw` the second", s->policy, p.version, p.author);
	if (!err)
		err = open_verifier_with(out, s, &p, f);
	policy_version_free(&p);
	return err;
}

int broker_policy_check(const struct broker_settings *s, const char *text, size_t len, struct fault *f)
{
	const struct policy_version p = {.text = (char *)text, .len = len};
	struct verifier v;
	int err = open_verifier_with(&v, s, &p, f);
	verifier_close(&v);
	return err;
}

// Takes the fresh one over.
static void exchange_verifier(struct broker *b, struct verifier *fresh)
{
	pthread_rwlock_wrlock(&b->verifier_lock);
	struct verifier old = b->verifier;
	b->verifier = *fresh;
	pthread_rwlock_unlock(&b->verifier_lock);
	verifier_close(&old);
}

int broker_state_follow(struct broker *b, struct fault *f)
{
	struct verifier fresh;
	int err = open_verifier(b, &fresh, b->settings, f);
	if (err)
		verifier_close(&fresh);
	else
		exchange_verifier(b, &fresh);
	return err;
}

int broker_state_reload(struct broker *b, const struct broker_settings *s, struct fault *f)
{
	struct verifier fresh;
	SSL_CTX *tls = NULL;
	pthread_mutex_lock(&b->follow_lock);
	int err = open_verifier(b, &fresh, s, f);
	if (!err)
		err = open_tls(&tls, s->dir, f);
	if (err)
		verifier_close(&fresh);
	else
		exchange_verifier(b, &fresh);
	pthread_mutex_unlock(&b->follow_lock);
	if (err)
		return err;
	X509 *certificate = SSL_CTX_get0_certificate(tls), *old_certificate;
	X509_up_ref(certificate);
	pthread_rwlock_wrlock(&b->verifier_lock);
	old_certificate = b->certificate;
	b->certificate = certificate;
	pthread_rwlock_unlock(&b->verifier_lock);
	http_server_use_tls(b->server, tls);
	SSL_CTX_free(tls);
	X509_free(old_certificate);
	return 0;
}

int broker_state_open(struct broker *b, SSL_CTX **tls, const struct broker_settings *s, struct fault *f)
{
	char path[PATH_MAX + 32];
	memset(b, 0, sizeof *b);
	b->anchors = anchors_of(s->anchor);
	strcpy(b->issuer, s->issuer);
	strcpy(b->spiffe_domain, s->spiffe_domain);
	b->spiffe_seconds = s->spiffe_seconds ? s->spiffe_seconds : SVID_X509_SECONDS;
	b->ratls_max_age_s = s->ratls_max_age_s;
	pthread_rwlockattr_t attr;	// a reload waits for the requests in hand, not for those to come
	pthread_rwlockattr_init(&attr);
	pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
	pthread_rwlock_init(&b->verifier_lock, &attr);
	pthread_rwlockattr_destroy(&attr);
	pthread_mutex_init(&b->follow_lock, NULL);
	*tls = NULL;
	int err = broker_prepare(s->dir, f);
	if (!err)
		err = audit_start(b, s->dir, s->witnesses, s->witness_count, f);
	if (!err)
		err = open_store(b, s, f);
	if (!err)
		err = read_hex_file(s->dir, "admin.token", b->admin_token, f);
	if (!err)
		err = open_tls(tls, s->dir, f);
	if (!err)
		err = identity_open(b, s, *tls, f);
	if (!err)
		err = policies_open(b, f);
	if (!err)
		err = open_verifier(b, &b->verifier, s, f);
	snprintf(path, sizeof path, "%s/audit", s->dir);
	b->started = time(NULL);
	b->settings = s;
	atomic_store(&b->policy_failed, -1);
	atomic_store(&b->policy_changes, 1);
	if (!err && ((!b->sessions && !(b->sessions = session_table_new(4096, SESSION_SECONDS))) || !(b->limits = limits_new(&s->limits, path))))
		err = fault_set(f, -ENOMEM, "out of memory");
	return err;
}

void broker_state_close(struct broker *b, SSL_CTX *tls)
{
	if (b->limits && b->audit)
		limits_summarise(b->limits, b, true);
	limits_free(b->limits);
	session_table_free(b->sessions);
	secrets_close(b->secrets);
	identity_close(b);
	store_close(b->store);
	signers_close(b->signers);
	guard_close(b->guard);
	db_close(b->db);
	audit_stop(b);
	verifier_close(&b->verifier);
	pthread_rwlock_destroy(&b->verifier_lock);
	pthread_mutex_destroy(&b->follow_lock);
	SSL_CTX_free(tls);
	explicit_bzero(b, sizeof *b);
}
