// SPDX-License-Identifier: Apache-2.0
// Reference values: what a verifier should find in evidence, in documents that somebody signed. A document has a name, a version that rises
// with each change, a time in which it holds, and values; each value names a claim by its path ("measurement", "tdx.rtmr_2",
// "snp.reported_tcb.microcode", "event_log.measured.kernel"), and may have a time of its own, hold for one kind of hardware only, or be
// revoked. Nothing of an unsigned document is looked at. Values of several documents count together: one that any revokes is revoked in
// all. No network, no clock, no locks; a set is immutable once filled and may be shared.
#ifndef COFFER_ATTEST_REFVAL_H
#define COFFER_ATTEST_REFVAL_H

#include <jansson.h>
#include <stdbool.h>
#include <time.h>

#include "attest/dsse.h"
#include "attest/result.h"
#include "lib/fault.h"

#define REFVAL_TYPE "application/vnd.coffer.reference-values+json"
#define REFVAL_FORMAT "coffer-reference-1"
#define REFVAL_MAX_VALUES 4096	// of a document, and of a set
#define REFVAL_MAX_DOCS 16
#define REFVAL_MAX_MASK 64

enum refval_kind {
	REFVAL_EQUALS,		// one of the values that the claim may have
	REFVAL_MINIMUM,		// a number; of several the highest counts
	REFVAL_MASKED,		// bytes, compared where the mask has ones
};

struct refval {
	const char *name;
	const char *tee;	// "snp", "tdx"...; NULL: any hardware
	enum refval_kind kind;
	json_t *value;		// text, number or truth; borrowed from the document
	const char *mask;	// hex, as long as the value's
	time_t from, until;	// -1: the document's
	const char *note;	// "" without
	time_t revoked;		// -1: it is not
	const char *reason;
	// In a set:
	const struct refval_doc *doc;
	const struct refval *next;	// the next value of this name, in the set's order
	unsigned int id;		// of the name
	signed char family, hardware;	// which hardware's name it begins with, and `tee`: refval_match.c's numbers; -1: none
};

struct refval_doc {
	char name[65];
	json_int_t version;
	time_t issued, from, until;
	char signer[65];	// the key's id; "" in a document that was opened unverified
	char digest[65];	// SHA-256 of what was signed
	json_t *json;
	struct refval *values;
	unsigned int count;
};

struct refval_set {
	struct refval_doc docs[REFVAL_MAX_DOCS];
	unsigned int count, values;
	struct refval_name *names;	// each once
	unsigned int name_count, bucket_count;
	unsigned int *buckets;		// by hash of the name: its number and 1
};

struct refval_name {
	const char *name;
	const struct refval *first;
	struct refval *last;
};

// Opens a document that one of the keys signed. -EINVAL malformed, -EBADMSG unsigned or signed by others. refval_close by the caller.
int refval_open(const char *text, size_t len, const struct dsse_key *keys, unsigned int count, struct refval_doc *d, struct fault *f);
// The same without a look at the signature: to be shown to a person, for nothing else.
int refval_open_unverified(const char *text, size_t len, struct refval_doc *d, struct fault *f);
void refval_close(struct refval_doc *d);
// -ESTALE and why when the document does not hold at that time.
int refval_dates(const struct refval_doc *d, time_t now, struct fault *f);

// Who keeps the last version seen of each document detects an older one that is offered again. `seen` is {name: {"version", "digest"}};
// -ESTALE: older than seen; -EBADMSG: another document of the same version. On success `seen` knows the document.
int refval_seen(json_t *seen, const struct refval_doc *d, struct fault *f);
// refval_seen.c: `seen` in a file. Where there is none yet it is empty; -EINVAL when it is damaged.
int refval_seen_read(const char *path, json_t **seen, struct fault *f);
int refval_seen_write(const char *path, const json_t *seen, struct fault *f);

// Opens, checks dates, and adds to the set. As refval_open, -ESTALE, -E2BIG; -EEXIST: another version of a
// document that is in the set (the same once more is fine).
int refval_add(struct refval_set *s, const char *text, size_t len, const struct dsse_key *keys, unsigned int count, time_t now, struct fault *f);
void refval_set_free(struct refval_set *s);
// refval_match.c: finds values by name from now on; refval_add sees to it. -ENOMEM.
int refval_index(struct refval_set *s);

enum refval_verdict {
	REFVAL_UNKNOWN,		// no document has a value of that name for this hardware
	REFVAL_GOOD,
	REFVAL_DIFFERS,
	REFVAL_REVOKED,		// it is a value that was revoked
	REFVAL_EXPIRED,		// it is a value whose time is over, or has not come
};

struct refval_answer {
	enum refval_verdict verdict;
	const struct refval_doc *doc;	// whose value decided; NULL where none did
	char expected[512], found[256];
};

// The question that policies ask: is what was found of the claim `name` among what the documents want? `found` may be NULL (the evidence
// has no such claim: never good) or a list, of which each member must be good. `tee` is the kind of hardware; NULL asks values of all.
// Of a document whose time is over at `now` only what restricts still counts.
enum refval_verdict refval_lookup(const struct refval_set *s, const char *name, const char *tee, const json_t *found, time_t now,
				  struct refval_answer *a);

// What the claims have by that path; a new reference, or NULL. Of a list of objects the next part of the path selects those of that
// "type" (else that member of each); an object that ends a path is its "digest" or "value".
json_t *refval_claim(const json_t *claims, const char *name);

// A kind of hardware that values may be for.
bool refval_is_tee(const char *name);

// Appends a check for each name in the set that applies to the evidence, and "reference", which tells by which documents. Values under
// the name of a kind of hardware ("tdx.rtmr_1") apply to that kind alone. Ids of checks live as long as the set.
void refval_appraise(const struct refval_set *s, time_t now, struct attest_result *r);

// Making documents. A new body; NULL without memory.
json_t *refval_body(const char *name, time_t from, time_t until);
struct refval_new {
	const char *name, *tee, *note;
	enum refval_kind kind;
	json_t *value;			// borrowed
	const char *mask;
	time_t from, until;		// -1: none
};
// 1: added, or it was there and holds at another time now; 0: it was there; -EKEYREVOKED: it was there, and is revoked; -EINVAL.
int refval_put(json_t *body, const struct refval_new *v, struct fault *f);
// The number of values marked as revoked; -ENOENT when there is none of that name and value (NULL: all of the name).
int refval_revoke(json_t *body, const char *name, const json_t *value, const char *reason, time_t now, struct fault *f);
// The body as the next version, signed; the envelope's text (malloc). What a reader would refuse is refused here.
int refval_sign(json_t *body, const struct dsse_key *key, time_t now, char **out, struct fault *f);

// "NAME=VALUE", "NAME>=NUMBER", "NAME=HEX/MASK" as a person writes it. v->name and v->mask point into text, which is cut up; v->value is a
// new reference.
int refval_parse(char *text, struct refval_new *v, struct fault *f);
// The same for showing: "=abcd", ">=3".
char *refval_text(const struct refval *v, char *out, size_t size);

#endif
