// SPDX-License-Identifier: Apache-2.0
// The owner's side of the broker: calls over TLS, each signed by the owner's identity, or with the admin token. Used by `coffer seal`, `coffer policy`...
// One connection per call; no locks. Every call returns 0 or a negative errno with a message in `f`:
// -ECONNREFUSED etc. not reachable, -EPROTO not understood, -EACCES token refused, -EKEYREJECTED certificate not
// trusted, -EEXIST the key is there already, -ENOENT no such entry, -EINVAL bad argument.
#ifndef COFFER_BROKER_CLIENT_H
#define COFFER_BROKER_CLIENT_H

#include <jansson.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/fault.h"

#define BROKER_VOLUME_ID_BYTES 16
#define BROKER_VOLUME_KEY_BYTES 32

struct broker_client;

// Each NULL member is filled from `dir`, the broker's state folder (NULL: broker_default_dir()): url from its file
// `address`, ca (PEM file) from cert.pem, token (file) from admin.token.
struct broker_client_options {
	const char *dir;
	const char *url;	// https://host:port
	const char *ca_file;
	const char *token_file;
	bool anonymous;		// no token: for what everybody may ask
	// An identity (docs/identity.md) instead of the token: its private key, which signs each request. NULL: the one of broker_identity_path(), where
	// there is one and no token_file is named.
	const char *identity_file;
	const char *certificate_file, *certificate_key_file;	// or a client's certificate and its key (PEM)
};

// Asks for the passphrase of a key (keyfile.h); NULL: keys without one only. Set once, before clients are opened.
extern int (*broker_client_passphrase)(char *out, int size, int writing, void *path);

// $XDG_CONFIG_HOME/coffer/identity.key or ~/.config/coffer/identity.key. -ENOENT when neither is set, -ENAMETOOLONG.
int broker_identity_path(char *out, size_t size);

int broker_client_open(struct broker_client **out, const struct broker_client_options *o, struct fault *f);
void broker_client_close(struct broker_client *c);
// The broker's URL that this client uses.
const char *broker_client_url(const struct broker_client *c);

// "default/volume/<32 hex digits>" into out[48].
void broker_volume_resource(char out[48], const uint8_t id[BROKER_VOLUME_ID_BYTES]);

// Stores a volume's key. An existing key is refused (-EEXIST) unless `replace`: losing a key loses the data.
int broker_client_put_volume_key(struct broker_client *c, const uint8_t id[BROKER_VOLUME_ID_BYTES],
				 const uint8_t key[BROKER_VOLUME_KEY_BYTES], bool replace, struct fault *f);
// Reads it back for its owner (`coffer open` without a key file). The caller wipes it.
int broker_client_get_volume_key(struct broker_client *c, const uint8_t id[BROKER_VOLUME_ID_BYTES],
				 uint8_t key[BROKER_VOLUME_KEY_BYTES], struct fault *f);
int broker_client_delete_volume_key(struct broker_client *c, const uint8_t id[BROKER_VOLUME_ID_BYTES], struct fault *f);

// What the broker remembers of a volume, so that an older copy of it is refused (anchor.c). -ENOENT: nothing.
struct broker_anchor {
	uint64_t epoch, generation;
	uint8_t digest[32];
};
int broker_client_anchor_get(struct broker_client *c, const uint8_t id[BROKER_VOLUME_ID_BYTES], struct broker_anchor *out, struct fault *f);
// Claims the volume for a writer that found it in state *to (its epoch is not read) after comparing it with *from (NULL: nothing was
// remembered). *out: what is remembered now; its epoch is the writer's. -EEXIST: another one was faster, or the volume is older.
int broker_client_anchor_claim(struct broker_client *c, const uint8_t id[BROKER_VOLUME_ID_BYTES], const struct broker_anchor *from,
			       const struct broker_anchor *to, struct broker_anchor *out, struct fault *f);
// A later state of the same writer. -EEXIST: another writer has claimed it since.
int broker_client_anchor_advance(struct broker_client *c, const uint8_t id[BROKER_VOLUME_ID_BYTES], const struct broker_anchor *to,
				 struct fault *f);
// The owner says that this state is right, though it may be older: a backup was put back. Every writer is fenced.
int broker_client_anchor_set(struct broker_client *c, const uint8_t id[BROKER_VOLUME_ID_BYTES], const struct broker_anchor *to,
			     struct fault *f);

// Lets the enclave with this measurement (96 hex digits) have the resource. `note` (may be NULL) is shown by list.
int broker_client_policy_allow(struct broker_client *c, const char *resource, const char *measurement,
			       const char *note, struct fault *f);
// Takes that back; measurement NULL: for every measurement. -ENOENT when nothing was allowed.
int broker_client_policy_deny(struct broker_client *c, const char *resource, const char *measurement, struct fault *f);
// *out: {"policies":[{"resource":..,"measurement":..,"note":..,"created":"2026-01-01T00:00:00Z"}]}, sorted by resource.
int broker_client_policy_list(struct broker_client *c, json_t **out, struct fault *f);

// *out: {"version","resources","policies","sessions","decisions","log_head","simulated_accepted",
// "debug_accepted"}.
int broker_client_status(struct broker_client *c, json_t **out, struct fault *f);
// A request whose answer is a JSON object; out NULL: it does not matter.
int broker_client_json(struct broker_client *c, const char *method, const char *path, json_t *body, json_t **out, struct fault *f);
// The key that signs; NULL when the token or a certificate does it.
EVP_PKEY *broker_client_key(const struct broker_client *c);
// Any request; *out (unless NULL) is the answer's JSON object, a new reference.
int broker_client_call(struct broker_client *c, const char *method, const char *path, const void *body, size_t len, json_t **out, struct fault *f);
// A request whose answer is text: *out is malloc'ed, with a NUL behind it.
int broker_client_text(struct broker_client *c, const char *method, const char *path, const void *body, size_t len, char **out,
		       size_t *out_len, struct fault *f);

#endif
