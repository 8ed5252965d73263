// SPDX-License-Identifier: Apache-2.0
// What makers of hardware publish about it, kept in a folder: TCB info, identities of quoting enclaves, certificates of chips, revocation
// lists. One file an item, which says where it came from and when; named by the question that the maker answers with it. Nothing is
// believed for lying there: verifiers check every signature. An item only replaces another of the same name when it is well-formed, signed
// under the chain that it brings, about what its name says and not older: no mirror can push out what is good, but for lists of roots and
// certificates of chips, which come without a chain.
// No network here. A store may be shared by threads and processes: files change by rename, writers take turns by flock.
#ifndef COFFER_ATTEST_COLLATERAL_H
#define COFFER_ATTEST_COLLATERAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "attest/bundle.h"
#include "lib/fault.h"

#define COLLATERAL_FORMAT "coffer-collateral-1"
#define COLLATERAL_MAX_BODY (4u << 20)
#define COLLATERAL_MAX_CHAIN (64u << 10)
#define COLLATERAL_MAX_PATH 512
#define COLLATERAL_MAX_NAME 224
#define COLLATERAL_MAX_NEEDS 8

enum collateral_kind {
	COLLATERAL_TCB_INFO, COLLATERAL_QE_IDENTITY, COLLATERAL_PCK_CRL, COLLATERAL_ROOT_CRL,	// Intel
	COLLATERAL_VCEK, COLLATERAL_AMD_CHAIN, COLLATERAL_AMD_CRL,
	COLLATERAL_HSK_CEK, COLLATERAL_HRK,	// Hygon
};

// Which item: the path and query at its maker, taken apart.
struct collateral_key {
	enum collateral_kind kind;
	bool tdx, early;	// TCB info, QE identity: Intel's `update=early`
	bool platform;		// PCK_CRL: the list of the platform CA, else of the processor CA
	bool vlek;		// AMD_CHAIN, AMD_CRL
	uint8_t fmspc[6];
	char product[8];	// "Milan", "Genoa", "Turin"
	uint8_t hwid[64];
	size_t hwid_len;
	int fmc, bootloader, tee, snp, microcode;	// VCEK; fmc -1: no such part
	char serial[65];
	char path[COLLATERAL_MAX_PATH];	// canonical: "/sgx/certification/v4/tcb?fmspc=00906ED50000"
	char name[COLLATERAL_MAX_NAME];	// of the file, without ".json"
};

// Reads a path and query as makers' services have them, from anybody; fills all, path and name in their one form. -EINVAL and why.
// Parameters that would change the answer and are not known here are refused, not ignored.
int collateral_key_read(const char *path_and_query, struct collateral_key *k, struct fault *f);
// "TCB info of TDX platforms 00806F050000"...
const char *collateral_about(const struct collateral_key *k, char out[200]);

struct collateral_item {
	struct collateral_key key;
	char source[COLLATERAL_MAX_PATH + 256];	// the URL, or the file that it was taken from
	time_t fetched;
	char *body;		// as the maker gives it; lists and single certificates in DER. A NUL behind it
	size_t body_len;
	char *chain;		// PEM of its issuer's chain; NULL: none came with it
	size_t chain_len;
	// What it says of itself, by collateral_item_check:
	time_t issued, expires;	// -1: it has no such date. expires is the first end of all its parts
	int evaluation;		// of Intel's statements: which of two is newer; -1
	bool maker_root;	// signed under the maker's own root (a list or certificate without a chain: not known, false)
	char signer[128];	// name of that root, or of the issuer where no chain came with it
};

void collateral_item_free(struct collateral_item *i);
// Sets body and chain of an item whose key is set, from an answer or a file of any of the usual forms (lists and certificates as DER,
// PEM or hex), and checks that it is what the key names. -EINVAL, -EBADMSG (a signature) and why. chain NULL: none.
int collateral_item_set(struct collateral_item *i, const void *body, size_t len, const char *chain, size_t chain_len, struct fault *f);
// A file of the store: untrusted text. Does what collateral_item_set does as well.
int collateral_item_read(struct collateral_item *i, const char *text, size_t len, struct fault *f);

struct collateral_store;

// `dir` NULL: $COFFER_COLLATERAL_DIR, else ~/.local/share/coffer/collateral. `make`: made where it is missing. -ENOENT, -ENOTDIR...
int collateral_open(struct collateral_store **out, const char *dir, bool make, struct fault *f);
void collateral_close(struct collateral_store *s);
const char *collateral_dir(const struct collateral_store *s);

// One item; collateral_item_free by the caller. -ENOENT when it is not there (no message), -EINVAL when the file is damaged.
int collateral_get(struct collateral_store *s, const struct collateral_key *k, struct collateral_item *i, struct fault *f);
// The same, shared with all who ask for it while the file is the same: as members of a bundle are written. collateral_release by the caller.
struct collateral_kept {
	_Atomic unsigned int refs;
	struct collateral_item item;
	json_t *body, *chain;	// texts; chain NULL: none
};
int collateral_borrow(struct collateral_store *s, const struct collateral_key *k, struct collateral_kept **out, struct fault *f);
void collateral_release(struct collateral_kept *k);
// Keeps an item. 0; -ESTALE (and why) when a newer one is there already, which then stays; -ENOSPC...: the old one stays.
int collateral_put(struct collateral_store *s, const struct collateral_item *i, struct fault *f);
int collateral_remove(struct collateral_store *s, const struct collateral_key *k, struct fault *f);
// Calls `each` for every item, sorted by name; `i` NULL and `why` for a damaged file. Stops when it returns other than 0, and returns that.
int collateral_each(struct collateral_store *s, int (*each)(void *ctx, const char *file, const struct collateral_item *i, const char *why),
		    void *ctx, struct fault *f);

// What is known of a file of other tools.
struct collateral_origin {
	const char *source;	// for the items: the file's name
	time_t time;
	const char *path;	// which item it is, where it cannot say so itself; NULL
	const char *chain;	// its issuer's chain, where it has none; NULL
	size_t chain_len;
};

// Finds the items in a file: one of a store, a bundle, collateral as PCCS and PCS client tools write it, bare answers of services,
// certificates, revocation lists. Calls `take` with each (borrowed), or with NULL and why for what was found and is no good. The number
// of calls, or what `take` returned when that is not 0; -EINVAL: nothing that is known.
int collateral_import(const void *bytes, size_t len, const struct collateral_origin *o,
		      int (*take)(void *ctx, const struct collateral_item *i, const char *what, const char *why), void *ctx, struct fault *f);

enum collateral_state { COLLATERAL_THERE, COLLATERAL_EXPIRED, COLLATERAL_MISSING };

// What a piece of evidence needs.
struct collateral_needs {
	unsigned int count;
	struct {
		struct collateral_key key;
		enum collateral_state state;	// of the store and the bundle, by collateral_fill
		bool in_bundle;			// the evidence brought it
		time_t expires;			// of what is in the store; -1
	} need[COLLATERAL_MAX_NEEDS];
	bool product_guessed;	// the report does not say which AMD product: Milan until somebody knows
	char note[256];		// what the evidence lacks and no service gives; ""
};

// Lists what the evidence in `b` needs beside what it carries itself. `product` NULL: as the evidence says.
// 0, -EINVAL: no evidence of a known kind.
int collateral_needs(struct bundle *b, const char *product, struct collateral_needs *n, struct fault *f);
// Adds to `b` what the store has for its evidence. An item of the store counts before one that came with the evidence, unless only the
// store's has expired at `now`. `n` (may be NULL) tells what was wanted and what is missing. Damaged files count as missing.
// 0, -EINVAL (no evidence of a known kind), -ENOMEM.
int collateral_fill(struct collateral_store *s, struct bundle *b, time_t now, struct collateral_needs *n, struct fault *f);
// Puts one item's members into a bundle: for `b` NULL-evidence bundles too. Chips' certificates go before their authorities.
int collateral_to_bundle(const struct collateral_item *i, struct bundle *b, struct fault *f);
// Its body as a bundle writes it, a new reference; NULL: memory is short.
json_t *collateral_body_text(const struct collateral_item *i);

#endif
