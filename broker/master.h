// SPDX-License-Identifier: Apache-2.0
// Inside broker/: the master key, under which the database is encrypted, and what it is kept under itself: nothing (`file`: master.key is
// the key), or wrapped in master.wrapped by a passphrase, a TPM, or a key in a PKCS#11 token. master.wrapped may hold the key several
// times, each wrapped in another way. Used before the server starts and by commands; single-threaded.
#ifndef COFFER_BROKER_MASTER_H
#define COFFER_BROKER_MASTER_H

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "lib/fault.h"

#define MASTER_KEY_BYTES 32
#define MASTER_SECRET_MAX 1024 // a passphrase or PIN

struct master_settings {
	char with[16];		// `master_key`: file, passphrase, tpm, pkcs11; "": whatever is there, `file` where there is nothing
	char tpm[200];		// `master_key_tpm`: where it is (lib/tpm.h)
	char pcrs[100];		// `master_key_pcrs`: "0,2,7"; "" for none
	char module[PATH_MAX];	// `master_key_module`
	char token[64], label[64]; // `master_key_token`, `master_key_label`
	char pin_file[PATH_MAX]; // `master_key_pin_file`
	int passphrase_fd, pin_fd; // 0: not given, else the descriptor + 1
};

#define MASTER_ID 17
// A name of the key that says nothing of it: hex.
int master_id(const uint8_t key[MASTER_KEY_BYTES], char out[MASTER_ID]);

void master_settings_init(struct master_settings *s);
// A value of broker.yaml or of the option of that name. 1: it is none of these; 0; -EINVAL.
int master_setting(struct master_settings *s, const char *name, const char *value, struct fault *f);
extern const char *const master_setting_names[]; // up to NULL
// An argument of the command line: the options are the settings' names with -- and -, --passphrase-fd and --pin-fd; `next` is the argument
// after it, or NULL. How many of the two it took: 0 when it is none of these, 1 (--name=value) or 2; -EINVAL.
int master_option(struct master_settings *s, const char *arg, const char *next, struct fault *f);
#define MASTER_HELP \
	"  --master-key file|passphrase|tpm|pkcs11\n" \
	"                         what the master key is kept under (default: what it is, `file` for a new one)\n" \
	"  --master-key-tpm WHERE, --master-key-pcrs 0,7    the TPM (device:/dev/tpmrm0), and the PCRs that must not change\n" \
	"  --master-key-module PATH, --master-key-token NAME, --master-key-label NAME    the PKCS#11 module, token and key\n" \
	"  --master-key-pin-file FILE, --pin-fd N    the token's PIN, from a private file or a descriptor\n" \
	"  --passphrase-fd N      the passphrase from a descriptor; else the systemd credential coffer-passphrase, or the terminal\n"

// Passphrases and PINs that were read, so that each is asked for once. Wipe it with master_secrets_wipe.
struct master_secrets {
	bool have_passphrase, have_pin;
	char passphrase[MASTER_SECRET_MAX], pin[MASTER_SECRET_MAX];
	char pin_refused_by[64];	// a token: it locks itself after a few wrong ones, so that it is not given the same again
};
void master_secrets_wipe(struct master_secrets *s);

// The files that may hold the master key, in the order in which they are tried at a start; those with `next` are of a change that did not
// come to its end (rekey.c). The one that opens the database is right.
enum master_file { MASTER_WRAPPED, MASTER_PLAIN, MASTER_WRAPPED_NEXT, MASTER_PLAIN_NEXT, MASTER_FILES };
bool master_there(const char *dir, enum master_file file);

// -ENOENT: there is no such file. -EACCES: wrong passphrase or PIN. Else see the providers below; -EBADMSG: the file was changed; -ENOKEY:
// it is not of the kind that the settings want.
int master_read(const char *dir, enum master_file file, const struct master_settings *s, struct master_secrets *known,
		uint8_t key[MASTER_KEY_BYTES], struct fault *f);
// Writes a `next` file, wrapped as `s` says, durably. with "": file. keep: beside the ways in which it is wrapped there already.
// *file: which one it is.
int master_write_next(const char *dir, const struct master_settings *s, struct master_secrets *known, bool keep,
		      const uint8_t key[MASTER_KEY_BYTES], enum master_file *file, struct fault *f);
// That file is right: it takes its place, the others go.
int master_settle(const char *dir, enum master_file file, struct fault *f);
// Finds the key that `fits` (0, or -EKEYREJECTED: try another; other errors end it); then tidies up after a change that was cut short; and
// makes a key where there is none.
enum master_may { MASTER_LOOK, MASTER_TIDY, MASTER_MAKE };
int master_find(const char *dir, const struct master_settings *s, struct master_secrets *known, enum master_may may,
		int (*fits)(void *ctx, const uint8_t key[MASTER_KEY_BYTES], struct fault *f), void *ctx, struct fault *f);
// Which ways the file has, for people: "passphrase, tpm". "" when there is none.
void master_describe(const char *dir, char *out, size_t size);

// A new key is to be kept under what the one of now is: its way, and what of PCRs, token and label the settings do not say. -EINVAL: there are several.
int master_same_way(const char *dir, struct master_settings *s, struct fault *f);

// A file's content to its ways, checked but for its MAC: *out a new reference. -EBADMSG.
int master_parse(const char *text, size_t len, json_t **out, struct fault *f);

// ---- Providers: each makes a key-encrypting key and notes in `o` what it takes to get it again. ----
struct master_provider {
	const char *name;
	int (*make)(const struct master_settings *s, struct master_secrets *known, json_t *o, uint8_t kek[32], struct fault *f);
	int (*open)(const struct master_settings *s, struct master_secrets *known, const json_t *o, uint8_t kek[32], struct fault *f);
};
extern const struct master_provider master_passphrase, master_tpm, master_pkcs11;

// What a person types, or a service is given: the descriptor, else the systemd credential `credential`, else the private file, else the
// terminal (twice when `fresh`).
int master_ask(const char *what, int fd, const char *credential, const char *file, bool fresh, char out[MASTER_SECRET_MAX], struct fault *f);
int master_get_passphrase(const struct master_settings *s, struct master_secrets *known, bool fresh, struct fault *f);

// Bytes as a member in base64, and back: *len at most `size`, -EBADMSG.
int master_put_bytes(json_t *o, const char *name, const void *bytes, size_t len);
int master_get_bytes(const json_t *o, const char *name, void *out, size_t size, size_t *len, struct fault *f);
// scrypt with the member names n, r, p, salt in `o`.
int master_scrypt(const json_t *o, const char *passphrase, uint8_t kek[32], struct fault *f);
int master_scrypt_new(json_t *o, struct fault *f);

#endif
