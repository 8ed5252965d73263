// SPDX-License-Identifier: Apache-2.0
// See client.h.
#include "broker/client.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "broker/broker.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/http.h"
#include "lib/http_client.h"
#include "lib/httpsig.h"
#include "lib/keyfile.h"
#include "lib/signkey.h"

#define TIMEOUT_MS 10000

int (*broker_client_passphrase)(char *out, int size, int writing, void *path);

struct broker_client {
	bool own;		// the one that its folder on this machine names
	struct http_client *http;
	char url[600];
	char headers[128];	// the bearer token
	EVP_PKEY *key;		// or what signs
	char keyid[SIGNKEY_ID];
	struct http_url parts;
	char authority[HTTP_MAX_HOST];
	X509 *certificate;	// or what is shown, with its key
	EVP_PKEY *certificate_key;
};

static int read_text(const char *dir, const char *name, const char *given, bool private, char **text, size_t *len,
		     struct fault *f)
{
	char path[PATH_MAX];
	if (!given && snprintf(path, sizeof path, "%s/%s", dir, name) >= (int)sizeof path)
		return fault_set(f, -ENAMETOOLONG, "the broker's folder has too long a name");
	int err = private ? file_read_private(given ? given : path, 64 << 10, text, len, f)
			  : file_read(given ? given : path, 64 << 10, text, len, f);
	return err;
}

static int read_url(struct broker_client *c, const char *dir, const char *given, struct fault *f)
{
	char *text = NULL;
	size_t len;
	if (!given) {
		struct fault why;
		int err = read_text(dir, "address", NULL, false, &text, &len, &why);
		if (err)
			return fault_set(
				f, err,
				"no broker has been started on this machine (%s); start one with `coffer broker "
				"serve`, or name one by its URL",
				why.text);
		text[strcspn(text, "\r\n")] = '\0';
		given = text;
		c->own = true;
	}
	int err = strlen(given) < sizeof c->url ? 0 : fault_set(f, -EINVAL, "the broker's URL is too long");
	if (!err)
		strcpy(c->url, given);
	free(text);
	return err;
}

static int read_certificate(struct broker_client *c, const struct broker_client_options *o, struct fault *f)
{
	char *pem;
	size_t len;
	int err = o->certificate_key_file ? file_read(o->certificate_file, 64 << 10, &pem, &len, f) : fault_set(f, -EINVAL, "which key does the "
										     "certificate %s have?", o->certificate_file);
	if (err)
		return err;
	BIO *bio = BIO_new_mem_buf(pem, (int)len);
	c->certificate = bio ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
	BIO_free(bio);
	free(pem);
	if (!c->certificate)
		return fault_set(f, -EINVAL, "%s holds no certificate (PEM)", o->certificate_file);
	return keyfile_read_locked(o->certificate_key_file, broker_client_passphrase, &c->certificate_key, f);
}

static int read_token(struct broker_client *c, const char *dir, const char *given, struct fault *f)
{
	char *token;
	size_t len;
	int err = read_text(dir, "admin.token", given, true, &token, &len, f);
	if (err)
		return err;
	token[strcspn(token, "\r\n")] = '\0';
	if (strlen(token) > 100 || strspn(token, "0123456789abcdefABCDEF") != strlen(token))
		err = fault_set(f, -EINVAL, "the admin token is not hexadecimal");
	else
		snprintf(c->headers, sizeof c->headers, "Authorization: Bearer %s\r\n", token);
	free_wiped(token, len);
	return err;
}

int broker_identity_path(char *out, size_t size)
{
	const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	bool own = config && *config;
	if (!own && (!home || !*home))
		return -ENOENT;
	return snprintf(out, size, "%s%s/coffer/identity.key", own ? config : home, own ? "" : "/.config") < (int)size ? 0 : -ENAMETOOLONG;
}

// What says who asks: what was named; then the identity of this user; then the token in the broker's folder.
static int read_identity(struct broker_client *c, const char *dir, const struct broker_client_options *o, struct fault *f)
{
	char path[PATH_MAX];
	const char *file = o->identity_file;
	int err = 0;
	if (o->anonymous)
		return 0;
	if (o->certificate_file)
		return read_certificate(c, o, f);
	if (!file && (o->token_file || broker_identity_path(path, sizeof path) || access(path, F_OK)))
		return read_token(c, dir, o->token_file, f);
	err = keyfile_read_locked(file ? file : path, broker_client_passphrase, &c->key, f);
	if (!err && signkey_id(c->key, c->keyid))
		err = fault_set(f, -EINVAL, "%s is no key of EC P-256 or Ed25519", file ? file : path);
	return err;
}

int broker_client_open(struct broker_client **out, const struct broker_client_options *o, struct fault *f)
{
	char dir[PATH_MAX] = "", *ca = NULL;
	size_t len;
	struct broker_client *c = calloc(1, sizeof *c);
	if (!c)
		return fault_set(f, -ENOMEM, "out of memory");
	int err = 0;
	if (o->dir && strlen(o->dir) < sizeof dir)
		strcpy(dir, o->dir);
	else if (!o->dir && (!o->url || !o->ca_file || !(o->token_file || o->anonymous || o->identity_file || o->certificate_file)))
		err = broker_default_dir(dir, sizeof dir) && (!o->url || !o->ca_file) ? fault_set(f, -ENOENT, "where is the broker? Set HOME or "
								      "COFFER_BROKER_DIR, or name its URL") : 0;
	if (!err)
		err = read_url(c, dir, o->url, f);
	if (!err)
		err = read_text(dir, "cert.pem", o->ca_file, false, &ca, &len, f);
	if (!err)
		err = read_identity(c, dir, o, f);
	if (!err && http_parse_url(&c->parts, c->url))
		err = fault_set(f, -EINVAL, "'%.200s' is not a URL of the form https://host:port", c->url);
	if (!err) {
		// The owner chose the URL, so that the certificate may also be recognised by the name in it.
		struct http_client_options h = {.url = c->url, .ca_pem = ca, .name = c->parts.host,
						.certificate = c->certificate, .key = c->certificate_key,
						.resolve = http_resolve_system, .timeout_ms = TIMEOUT_MS};
		signal(SIGPIPE, SIG_IGN);
		err = http_client_open(&c->http, &h, f);
	}
	free(ca);
	if (err)
		broker_client_close(c);
	else
		*out = c;
	return err;
}

void broker_client_close(struct broker_client *c)
{
	if (!c)
		return;
	http_client_close(c->http);
	EVP_PKEY_free(c->key);
	EVP_PKEY_free(c->certificate_key);
	X509_free(c->certificate);
	free_wiped(c, sizeof *c);
}

EVP_PKEY *broker_client_key(const struct broker_client *c)
{
	return c->key;
}

struct message {
	const char *method, *path, *query, *authority, *digest;
};

static const char *component(void *ctx, const char *name)
{
	const struct message *m = ctx;
	return !strcmp(name, "@method") ? m->method : !strcmp(name, "@authority") ? m->authority : !strcmp(name, "@path") ? m->path :
	       !strcmp(name, "@query") ? m->query : !strcmp(name, "content-digest") && m->digest[0] ? m->digest : NULL;
}

// The header lines that sign this request (docs/identity.md), malloc'ed.
static int sign(const struct broker_client *c, const char *method, const char *path, const void *body, size_t len, char **headers, struct fault *f)
{
	const struct http_url *u = &c->parts;
	char target[2 * HTTP_MAX_TARGET], authority[HTTP_MAX_HOST + 16], digest[HTTPSIG_DIGEST] = "", nonce[BASE64_SIZE(18)], *lines;
	uint8_t random[18];
	bool standard = !strcmp(u->port, "443");
	int n = snprintf(target, sizeof target, "%s%.*s", u->prefix, (int)strcspn(path, "?"), path);
	if (n >= (int)sizeof target || RAND_bytes(random, sizeof random) != 1)
		return fault_set(f, -E2BIG, "the request is too long");
	snprintf(authority, sizeof authority, "%s%s%s%s%s", u->ipv6 ? "[" : "", u->host, u->ipv6 ? "]" : "", standard ? "" : ":", standard ? "" : u->port);
	for (char *p = authority; *p; p++)
		*p = (char)tolower((unsigned char)*p);
	base64_encode(nonce, random, sizeof random, BASE64_URL);
	if (len)
		httpsig_digest(body, len, digest);
	struct message m = {.method = method, .path = target, .query = strchr(path, '?') ?: "?", .authority = authority, .digest = digest};
	int err = httpsig_sign(c->key, len ? "\"@method\" \"@authority\" \"@path\" \"@query\" \"content-digest\"" :
			       "\"@method\" \"@authority\" \"@path\" \"@query\"", time(NULL), nonce, c->keyid, "coffer", component, &m, &lines, f);
	if (err)
		return err;
	err = asprintf(headers, "%s%s%s%s", lines, len ? "Content-Digest: " : "", digest, len ? "\r\n" : "") < 0 ? -ENOMEM : 0;
	free(lines);
	return err;
}

// Every request of an owner goes through here.
static int send_request(struct broker_client *c, const char *method, const char *path, const void *body, size_t len, struct http_reply *reply,
			struct fault *f)
{
	char *headers = NULL;
	int err = c->key ? sign(c, method, path, body, len, &headers, f) : 0;
	if (!err)
		err = http_client_request(c->http, method, path, c->key ? headers : c->headers, body, len, reply, f);
	free(headers);
	if (err == -ECONNREFUSED && c->own)
		fault_set(f, err, "this user's broker, which was at %s, does not run: `coffer broker serve` starts it; or name another by its URL (--broker)",
			  c->url);
	return err;
}

const char *broker_client_url(const struct broker_client *c)
{
	return c->url;
}

void broker_volume_resource(char out[48], const uint8_t id[BROKER_VOLUME_ID_BYTES])
{
	strcpy(out, "default/volume/");
	hex_encode(out + strlen(out), id, BROKER_VOLUME_ID_BYTES);
}

// The broker's own words for a refusal, cut to one line.
static int refused(const struct http_reply *reply, struct fault *f)
{
	json_t *o = json_loadb(reply->body, reply->body_len, 0, NULL);
	const char *detail = json_string_value(json_object_get(o, "detail"));
	int err = reply->status == 401 || reply->status == 403 ? -EACCES : reply->status == 404 ? -ENOENT :
		  reply->status == 409 ? -EEXIST : reply->status == 400 || reply->status == 413 ? -EINVAL : -EPROTO;
	fault_set(f, err, "the broker answers (%d): %s", reply->status, detail ? detail : "no reason given");
	for (char *p = f ? f->text : ""; *p; p++) {
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	}
	json_decref(o);
	return err;
}

// A request whose answer is JSON; *out (may be NULL) gets it.
static int call(struct broker_client *c, const char *method, const char *path, const void *body, size_t len,
		json_t **out, struct fault *f)
{
	struct http_reply reply;
	int err = send_request(c, method, path, body, len, &reply, f);
	if (err)
		return err;
	if (reply.status != 200) {
		err = refused(&reply, f);
	} else if (out) {
		*out = json_loadb(reply.body, reply.body_len, JSON_REJECT_DUPLICATES, NULL);
		if (!json_is_object(*out)) {
			json_decref(*out);
			err = fault_set(f, -EPROTO, "the broker's answer is not a JSON object");
		}
	}
	http_reply_free(&reply);
	return err;
}

int broker_client_text(struct broker_client *c, const char *method, const char *path, const void *body, size_t len, char **out,
		       size_t *out_len, struct fault *f)
{
	struct http_reply reply;
	int err = send_request(c, method, path, body, len, &reply, f);
	if (err)
		return err;
	if (reply.status == 200) {
		*out = reply.body;
		*out_len = reply.body_len;
		return 0;
	}
	err = refused(&reply, f);
	http_reply_free(&reply);
	return err;
}

int broker_client_json(struct broker_client *c, const char *method, const char *path, json_t *body, json_t **out, struct fault *f)
{
	char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	if (body && !text)
		return fault_set(f, -EINVAL, "what is to be sent is not valid text");
	int err = call(c, method, path, text, text ? strlen(text) : 0, out, f);
	free(text);
	return err;
}

int broker_client_put_volume_key(struct broker_client *c, const uint8_t id[BROKER_VOLUME_ID_BYTES],
				 const uint8_t key[BROKER_VOLUME_KEY_BYTES], bool replace, struct fault *f)
{
	char resource[48], path[96];
	broker_volume_resource(resource, id);
	snprintf(path, sizeof path, "/kbs/v0/resource/%s%s", resource, replace ? "?replace=true" : "");
	return call(c, "POST", path, key, BROKER_VOLUME_KEY_BYTES, NULL, f);
}

int broker_client_get_volume_key(struct broker_client *c, const uint8_t id[BROKER_VOLUME_ID_BYTES],
				 uint8_t key[BROKER_VOLUME_KEY_BYTES], struct fault *f)
{
	char resource[48], path[96];
	struct http_reply reply;
	broker_volume_resource(resource, id);
	snprintf(path, sizeof path, "/coffer/v0/key/%s", resource);
	int err = send_request(c, "GET", path, NULL, 0, &reply, f);
	if (err)
		return err;
	if (reply.status != 200)
		err = refused(&reply, f);
	else if (reply.body_len != BROKER_VOLUME_KEY_BYTES)
		err = fault_set(f, -EPROTO, "the broker's key for this volume does not have %d bytes",
				BROKER_VOLUME_KEY_BYTES);
	else
		memcpy(key, reply.body, BROKER_VOLUME_KEY_BYTES);
	http_reply_free(&reply);
	return err;
}

int broker_client_delete_volume_key(struct broker_client *c, const uint8_t id[BROKER_VOLUME_ID_BYTES], struct fault *f)
{
	char resource[48], path[96];
	broker_volume_resource(resource, id);
	snprintf(path, sizeof path, "/kbs/v0/resource/%s", resource);
	return call(c, "DELETE", path, NULL, 0, NULL, f);
}

static json_t *anchor_json(const struct broker_anchor *a)
{
	char digest[65];
	hex_encode(digest, a->digest, sizeof a->digest);
	return json_pack("{s:I, s:I, s:s}", "epoch", (json_int_t)a->epoch, "generation", (json_int_t)a->generation, "digest", digest);
}

static int anchor(struct broker_client *c, const uint8_t id[BROKER_VOLUME_ID_BYTES], json_t *body, struct broker_anchor *out,
		  struct fault *f)
{
	char resource[48], path[96], *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
	json_t *o = NULL;
	broker_volume_resource(resource, id);
	snprintf(path, sizeof path, "/kbs/v0/anchor/%s", resource);
	int err = call(c, text ? "POST" : "GET", path, text, text ? strlen(text) : 0, &o, f);
	if (!err) {
		const char *digest = json_string_value(json_object_get(o, "digest"));
		const json_t *epoch = json_object_get(o, "epoch"), *generation = json_object_get(o, "generation");
		struct broker_anchor a = {.epoch = (uint64_t)json_integer_value(epoch), .generation = (uint64_t)json_integer_value(generation)};
		if (!json_is_integer(epoch) || !json_is_integer(generation) || !digest ||
		    hex_decode(a.digest, sizeof a.digest, digest))
			err = fault_set(f, -EPROTO, "the broker's answer is not the state of a volume");
		else if (out)
			*out = a;
		json_decref(o);
	}
	json_decref(body);
	free(text);
	return err;
}

int broker_client_anchor_get(struct broker_client *c, const uint8_t id[BROKER_VOLUME_ID_BYTES], struct broker_anchor *out, struct fault *f)
{
	return anchor(c, id, NULL, out, f);
}

int broker_client_anchor_claim(struct broker_client *c, const uint8_t id[BROKER_VOLUME_ID_BYTES], const struct broker_anchor *from,
			       const struct broker_anchor *to, struct broker_anchor *out, struct fault *f)
{
	return anchor(c, id, json_pack("{s:s, s:o, s:o}", "action", "claim", "from", from ? anchor_json(from) : json_null(), "to", anchor_json(to)),
		      out, f);
}

static int anchor_tell(struct broker_client *c, const uint8_t id[BROKER_VOLUME_ID_BYTES], const char *action, const struct broker_anchor *to,
		       struct fault *f)
{
	json_t *o = anchor_json(to);
	json_object_set_new(o, "action", json_string(action));
	return anchor(c, id, o, NULL, f);
}

int broker_client_anchor_advance(struct broker_client *c, const uint8_t id[BROKER_VOLUME_ID_BYTES], const struct broker_anchor *to,
				 struct fault *f)
{
	return anchor_tell(c, id, "advance", to, f);
}

int broker_client_anchor_set(struct broker_client *c, const uint8_t id[BROKER_VOLUME_ID_BYTES], const struct broker_anchor *to,
			     struct fault *f)
{
	return anchor_tell(c, id, "set", to, f);
}

static int policy(struct broker_client *c, const char *action, const char *resource, const char *measurement,
		  const char *note, struct fault *f)
{
	json_t *o = json_pack("{s:s, s:s}", "action", action, "resource", resource);
	if (o && measurement)
		json_object_set_new(o, "measurement", json_string(measurement));
	if (o && note)
		json_object_set_new(o, "note", json_string(note));
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;
	json_decref(o);
	if (!text)
		return fault_set(f, -EINVAL, "the resource, measurement or note is not valid text");
	int err = call(c, "POST", "/coffer/v0/policy", text, strlen(text), NULL, f);
	free(text);
	return err;
}

int broker_client_policy_allow(struct broker_client *c, const char *resource, const char *measurement,
			       const char *note, struct fault *f)
{
	return policy(c, "allow", resource, measurement, note, f);
}

int broker_client_policy_deny(struct broker_client *c, const char *resource, const char *measurement, struct fault *f)
{
	return policy(c, "deny", resource, measurement, NULL, f);
}

int broker_client_policy_list(struct broker_client *c, json_t **out, struct fault *f)
{
	return call(c, "GET", "/coffer/v0/policy", NULL, 0, out, f);
}

int broker_client_status(struct broker_client *c, json_t **out, struct fault *f)
{
	return call(c, "GET", "/coffer/v0/status", NULL, 0, out, f);
}

int broker_client_call(struct broker_client *c, const char *method, const char *path, const void *body, size_t len, json_t **out, struct fault *f)
{
	return call(c, method, path, body, len, out, f);
}
