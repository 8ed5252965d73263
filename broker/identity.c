// SPDX-License-Identifier: Apache-2.0
// See identity.h. The one table of what each role may do; and how a request proves whose it is.
#include "broker/identity.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "broker/api.h"
#include "broker/approvals.h"
#include "broker/identity_cert.h"
#include "broker/state.h"
#include "lib/file.h"
#include "lib/httpsig.h"
#include "lib/log.h"

static const struct { const char *name; unsigned int roles; } permissions[PERMISSIONS] = {
	[PERMIT_WHOAMI] = {"whoami", ROLE_OWNER | ROLE_OPERATOR | ROLE_AUDITOR | ROLE_APPROVER},
	[PERMIT_STATUS] = {"status", ROLE_OWNER | ROLE_OPERATOR | ROLE_AUDITOR | ROLE_APPROVER},
	[PERMIT_METRICS] = {"metrics", ROLE_OPERATOR | ROLE_AUDITOR},
	[PERMIT_RELOAD] = {"reload", ROLE_OPERATOR},
	[PERMIT_SECRET_LIST] = {"secret-list", ROLE_OWNER | ROLE_AUDITOR},
	[PERMIT_SECRET_WRITE] = {"secret-write", ROLE_OWNER},
	[PERMIT_SECRET_DESTROY] = {"secret-destroy", ROLE_OWNER},
	[PERMIT_SECRET_READ] = {"secret-read", ROLE_OWNER},
	[PERMIT_ALLOW] = {"allow", ROLE_OWNER},
	[PERMIT_ALLOW_LIST] = {"allow-list", ROLE_OWNER | ROLE_AUDITOR},
	[PERMIT_ANCHOR_READ] = {"anchor-read", ROLE_OWNER | ROLE_AUDITOR},
	[PERMIT_ANCHOR_SET] = {"anchor-set", ROLE_OWNER},
	[PERMIT_POLICY_READ] = {"policy-read", ROLE_OWNER | ROLE_OPERATOR | ROLE_AUDITOR | ROLE_APPROVER},
	[PERMIT_POLICY_WRITE] = {"policy-write", 0},
	[PERMIT_AUDIT] = {"audit", ROLE_OWNER | ROLE_AUDITOR},
	[PERMIT_SIGNER] = {"signer", 0},
	[PERMIT_IDENTITY_LIST] = {"identity-list", ROLE_AUDITOR},
	[PERMIT_IDENTITY_WRITE] = {"identity-write", 0},
	[PERMIT_APPROVAL_LIST] = {"approval-list", ROLE_OWNER | ROLE_AUDITOR | ROLE_APPROVER},
	[PERMIT_APPROVE] = {"approve", ROLE_OWNER | ROLE_APPROVER},
};

const char *permission_name(enum permission p)
{
	return p == PERMIT_ANYBODY ? "anybody" : p == PERMIT_ATTESTED ? "attested" : p < PERMISSIONS && permissions[p].name ? permissions[p].name : "";
}

// Is it one of the prefixes, or below one that ends with '/'?
static bool owns(const char *prefixes, const char *resource)
{
	for (const char *p = prefixes; *p;) {
		size_t n = strcspn(p, ",");
		if (n && !strncmp(resource, p, n) && (p[n - 1] == '/' || !resource[n]))
			return true;
		p += n + (p[n] == ',');
	}
	return false;
}

bool caller_may(const struct caller *c, enum permission p, const char *resource)
{
	if (p == PERMIT_ANYBODY || p == PERMIT_ATTESTED)
		return true;
	if (p <= PERMIT_NOTHING || p >= PERMISSIONS || !permissions[p].name || c->kind == CALLER_NOBODY)
		return false;
	if (c->kind == CALLER_TOKEN || c->roles & ROLE_ADMIN)
		return true;
	unsigned int held = c->roles & permissions[p].roles;
	if (held & ~(unsigned int)ROLE_OWNER)
		return true;
	return held && (!resource || owns(c->prefixes, resource));
}

void caller_keep(const struct caller *c, enum permission p, json_t *list)
{
	for (size_t i = json_array_size(list); i-- > 0;) {
		if (!caller_may(c, p, json_string_value(json_object_get(json_array_get(list, i), "resource")) ?: ""))
			json_array_remove(list, i);
	}
}

static bool bears_admin_token(const struct broker *b, const struct http_request *q)
{
	const char *a = q->head->authorization;
	return !strncmp(a, "Bearer ", 7) && strlen(a + 7) == BROKER_TOKEN_TEXT - 1 &&
	       !CRYPTO_memcmp(a + 7, b->admin_token, BROKER_TOKEN_TEXT - 1);
}

// "host", "host:port", "[v6]:port" -> the host alone.
static bool host_of(const char *authority, char *out, size_t size)
{
	const char *from = *authority == '[' ? authority + 1 : authority;
	size_t n = strcspn(from, *authority == '[' ? "]" : ":");
	if (!n || n >= size)
		return false;
	memcpy(out, from, n);
	out[n] = '\0';
	return true;
}

// What every machine calls itself.
static bool names_any_machine(const char *host)
{
	struct in6_addr six;
	return !strcasecmp(host, "localhost") || (inet_pton(AF_INET6, host, &six) == 1 && IN6_IS_ADDR_LOOPBACK(&six)) ||
	       (!strncmp(host, "127.", 4) && strspn(host, "0123456789.") == strlen(host));
}

// "127.0.0.1:4711", "[::1]:4711", "[::ffff:127.0.0.1]:4711"
static bool from_this_machine(const char *peer)
{
	return peer && (!strncmp(peer, "127.", 4) || !strncmp(peer, "[::1]", 5) || !strncmp(peer, "[::ffff:127.", 12));
}

// Is the request meant for this broker? A signature made for another one must not be good here. That this machine is called localhost in the
// broker's certificate says nothing to who comes from another one, whose own name that is.
static bool own_name(const struct broker *b, const char *authority, const char *peer)
{
	char host[HTTP_MAX_HOST];
	if (!host_of(authority, host, sizeof host))
		return false;
	for (const char *p = b->authority; *p;) {
		size_t n = strcspn(p, ",");
		if (strlen(host) == n && !strncasecmp(host, p, n))
			return true;
		p += n + (p[n] == ',');
	}
	if (names_any_machine(host) && !from_this_machine(peer))
		return false;
	return b->certificate && (X509_check_host(b->certificate, host, 0, 0, NULL) == 1 || X509_check_ip_asc(b->certificate, host, 0) == 1);
}

struct message {
	const struct http_head *head;
	char authority[HTTP_MAX_HOST], query[HTTP_MAX_TARGET + 1], target[2 * HTTP_MAX_TARGET + HTTP_MAX_HOST + 16];
};

static void read_message(struct message *m, const struct http_head *h)
{
	size_t n = strlen(h->host);
	m->head = h;
	for (size_t i = 0; i <= n; i++)
		m->authority[i] = (char)tolower((unsigned char)h->host[i]);
	if (n > 4 && !strcmp(m->authority + n - 4, ":443"))
		m->authority[n - 4] = '\0';
	snprintf(m->query, sizeof m->query, "?%s", h->query);
	snprintf(m->target, sizeof m->target, "https://%s%s%s%s", m->authority, h->path, *h->query ? "?" : "", h->query);
}

static const char *component(void *ctx, const char *name)
{
	const struct message *m = ctx;
	const struct { const char *name, *value; } all[] = {
		{"@method", m->head->method}, {"@authority", m->authority}, {"@path", m->head->path}, {"@query", m->query},
		{"@target-uri", m->target}, {"content-digest", m->head->content_digest[0] ? m->head->content_digest : NULL},
	};
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		if (!strcmp(all[i].name, name))
			return all[i].value;
	}
	return NULL;
}

// All that a request does must be signed.
static int check_cover(const struct httpsig *s, const struct http_request *q, struct fault *f)
{
	bool whole = httpsig_covers(s, "@target-uri");
	static const char *const parts[] = {"@authority", "@path", "@query"};
	for (size_t i = 0; i < 3 && !whole; i++) {
		if (!httpsig_covers(s, parts[i]))
			return fault_set(f, -EINVAL, "the signature does not cover %s (nor @target-uri)", parts[i]);
	}
	if (!httpsig_covers(s, "@method"))
		return fault_set(f, -EINVAL, "the signature does not cover @method");
	if (!q->head->content_digest[0])
		return q->body_len ? fault_set(f, -EINVAL, "a request with a body needs Content-Digest") : 0;
	if (!httpsig_covers(s, "content-digest"))
		return fault_set(f, -EINVAL, "the signature does not cover content-digest");
	return httpsig_digest_check(q->head->content_digest, q->body, q->body_len, f) ? -EINVAL : 0;
}

static int check_time(const struct httpsig *s, time_t now, struct fault *f)
{
	if (!s->created || !s->nonce[0] || !s->keyid[0] || strcmp(s->tag, IDENTITY_TAG))
		return fault_set(f, -EINVAL, "the signature needs created, nonce, keyid and tag=\"" IDENTITY_TAG "\"");
	if (s->created > now + IDENTITY_WINDOW || s->created < now - IDENTITY_WINDOW)
		return fault_set(f, -ESTALE, "the request was signed %lld s %s the broker's clock; at most %d s will do: set the clocks",
				 (long long)(s->created > now ? s->created - now : now - s->created), s->created > now ? "ahead of" : "behind", IDENTITY_WINDOW);
	if (s->expires && s->expires < now)
		return fault_set(f, -ESTALE, "the request's signature has expired");
	return 0;
}

static int check_signature(struct broker *b, const struct http_request *q, const char *peer, struct identity *who, struct fault *f)
{
	struct message *m = malloc(sizeof *m);
	struct httpsig s;
	char *base = NULL;
	size_t len;
	EVP_PKEY *key = NULL;
	time_t now = time(NULL);
	int err = m ? httpsig_parse(&s, q->head->signature_input, q->head->signature, f) : -ENOMEM;
	if (!err)
		err = check_time(&s, now, f);
	if (!err)
		err = check_cover(&s, q, f);
	if (err)
		goto out;
	read_message(m, q->head);
	if (!own_name(b, m->authority, peer)) {
		char host[HTTP_MAX_HOST];
		bool any = host_of(m->authority, host, sizeof host) && names_any_machine(host);
		err = fault_set(f, -EINVAL, "the request is for %.200s, which is no name of this broker's certificate%s (broker.yaml's `authority` may "
				"list more)", m->authority, any ? " that counts from another machine" : "");
		goto out;
	}
	err = strchr(s.keyid, ':') ? -ENOENT : identities_find(b->identities, s.keyid, who, f);
	if (err == -ENOENT)
		err = fault_set(f, -EACCES, "this broker knows no key %.64s (any longer): an admin adds one with `coffer admin add NAME --key FILE`",
				s.keyid);
	if (!err)
		err = signkey_read(who->pem, strlen(who->pem), &key, f);
	if (!err)
		err = httpsig_base(&s, component, m, &base, &len, f);
	if (!err)
		err = httpsig_verify(&s, key, base, len, f);
	// Only now: nobody else fills the memory of nonces.
	if (!err)
		err = identities_nonce(b->identities, s.keyid, s.nonce, now, s.created + IDENTITY_WINDOW + IDENTITY_CLOCKS, f);
out:
	free(base);
	free(m);
	EVP_PKEY_free(key);
	return err;
}

#define MAX_CHAIN 16

static bool is_valid_now(X509 *cert, struct fault *f)
{
	if (X509_cmp_current_time(X509_get0_notBefore(cert)) < 0 && X509_cmp_current_time(X509_get0_notAfter(cert)) > 0)
		return true;
	fault_set(f, -EACCES, "the client's certificate is expired or not valid yet");
	return false;
}

static int not_revoked(const struct verifier *v, STACK_OF(X509) *certs, struct fault *f)
{
	X509 *chain[MAX_CHAIN];
	struct fault why = {""};
	int count = sk_X509_num(certs);
	if (count > MAX_CHAIN)
		return fault_set(f, -EACCES, "the client's certificate: a chain of more than %d", MAX_CHAIN);
	for (int i = 0; i < count; i++)
		chain[i] = sk_X509_value(certs, i);
	if (!cert_chain_revoked(&v->client_revocation, chain, (unsigned int)count, time(NULL), &why))
		return 0;
	return fault_set(f, -EACCES, "the client's certificate: %s (client_ca_crl)", why.text);
}

// The certificate itself is listed, or it is issued under `client_ca` and one of its names is.
static int check_certificate(struct broker *b, X509 *cert, struct identity *who, struct fault *f)
{
	const struct verifier *v = &b->verifier;	// which a reload exchanges between requests
	char keyid[IDENTITY_KEYID];
	int err = certificate_keyid(cert, keyid) ? -EINVAL : identities_find(b->identities, keyid, who, f);
	if (!err)
		return is_valid_now(cert, f) ? 0 : -EACCES;
	if (err != -ENOENT || !v->client_ca)
		return err;
	X509_STORE_CTX *c = X509_STORE_CTX_new();
	bool chains = c && X509_STORE_CTX_init(c, v->client_ca, cert, NULL) == 1 && X509_STORE_CTX_set_purpose(c, X509_PURPOSE_SSL_CLIENT) == 1 &&
		      X509_verify_cert(c) == 1;
	int why = c ? X509_STORE_CTX_get_error(c) : X509_V_ERR_OUT_OF_MEM;
	err = chains ? not_revoked(v, X509_STORE_CTX_get0_chain(c), f) : 0;
	X509_STORE_CTX_free(c);
	ERR_clear_error();
	// Enclaves show certificates of their own, which no authority issued: those are nobody here.
	if (!chains)
		return why == X509_V_ERR_CERT_HAS_EXPIRED || why == X509_V_ERR_CERT_NOT_YET_VALID ?
			fault_set(f, -EACCES, "the client's certificate: %s", X509_verify_cert_error_string(why)) : -ENOENT;
	return err ? err : certificate_find(b->identities, cert, who, f);
}

// A browser sends a certificate along whoever made it ask: only pages of the broker's own may.
static bool own_page(struct broker *b, const struct http_request *q, const char *peer)
{
	const char *origin = q->head->origin;
	return own_name(b, q->head->host, peer) && (!*origin || (!strncmp(origin, "https://", 8) && !strcasecmp(origin + 8, q->head->host)));
}

static void refused(struct http_response *r, int err, const struct fault *f)
{
	bool own = err == -EIO || err == -ENOMEM || err == -EBADMSG || db_worth_retrying(err);
	if (own)
		log_alarm("broker: identities: %s", f->text);
	if (own)
		broker_problem(r, db_worth_retrying(err) ? 503 : 500, "Internal", "who asks cannot be told now; the broker's own log says why", NULL);
	else
		broker_problem(r, 401, err == -EALREADY ? "Replayed" : "SignatureRefused", f->text, NULL);
}

bool identify(struct broker *b, const struct http_request *q, struct http_response *r, struct caller *c)
{
	struct fault f = {""};
	struct identity who;
	int err;
	memset(c, 0, sizeof *c);
	if (bears_admin_token(b, q)) {
		if (b->no_admin_token) {
			broker_problem(r, 401, "TokenRefused", "the admin token is switched off (admin_token: false in broker.yaml)", NULL);
			return false;
		}
		c->kind = CALLER_TOKEN;
		strcpy(c->name, IDENTITY_TOKEN);
		return true;
	}
	if (q->head->signature_input[0] || q->head->signature[0]) {
		err = check_signature(b, q, r->peer, &who, &f);
		c->kind = CALLER_KEY;
	} else if (q->certificate) {
		err = check_certificate(b, q->certificate, &who, &f);
		if (!err && !own_page(b, q, r->peer))
			err = fault_set(&f, -EACCES, "this certificate was sent along by a page that is not the broker's");
		c->kind = CALLER_CERTIFICATE;
	} else {
		err = -ENOENT;
	}
	if (err) {
		c->kind = CALLER_NOBODY;
		if (err != -ENOENT)
			refused(r, err, &f);
		return err == -ENOENT;
	}
	c->roles = who.roles;
	strcpy(c->name, who.name);
	strcpy(c->prefixes, who.prefixes);
	return true;
}

bool broker_permits(struct http_response *r, enum permission p, const char *resource)
{
	char text[400];
	if (caller_may(r->caller, p, resource))
		return true;
	if (r->caller->kind == CALLER_NOBODY) {
		broker_problem(r, 401, "TokenRefused", "this needs a signed request, a client's certificate, or the admin token (Authorization: Bearer ...)", NULL);
		return false;
	}
	snprintf(text, sizeof text, "%s may not do this (%s%s%.200s)", r->caller->name, permission_name(p), resource ? " of " : "",
		 resource ? resource : "");
	broker_problem(r, 403, "NotPermitted", text, NULL);
	return false;
}

int identity_open(struct broker *b, const struct broker_settings *s, SSL_CTX *tls, struct fault *f)
{
	int err = identities_open(&b->identities, b->db, b->guard, b->store, f);
	if (!err)
		err = approvals_open(b, f);
	b->approvals = s->approvals;
	b->no_admin_token = s->no_admin_token;
	strcpy(b->authority, s->authority);
	b->certificate = SSL_CTX_get0_certificate(tls);
	if (b->certificate)
		X509_up_ref(b->certificate);
	if (err || !b->no_admin_token)
		return err;
	int admins = identities_admins(b->identities, f);
	return admins < 0 ? admins : admins ? 0 : fault_set(f, -EINVAL, "admin_token: false, but there is no admin: start with the token, "
							    "`coffer admin add NAME --role admin --key FILE`, then switch it off");
}

void identity_close(struct broker *b)
{
	identities_close(b->identities);
	X509_free(b->certificate);
}
