// SPDX-License-Identifier: Apache-2.0
// `coffer audit witness`: signs the broker's newest tree head, once it is shown that the log only grew since the last head that this
// witness signed. What it is about to sign is kept before it signs: after any failure it never signs two heads that do not fit.
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cli/audit.h"
#include "cli/cli.h"
#include "lib/file.h"
#include "lib/keyfile.h"

static int read_key(const struct audit_options *o, EVP_PKEY **key, struct note_key *name, struct fault *f)
{
	int err = access(o->witness_key, F_OK) ? keyfile_write(o->witness_key, EVP_PKEY_Q_keygen(NULL, NULL, "ED25519"), f) : 0;

	if (!err)
		err = keyfile_read(o->witness_key, key, f);
	if (err)
		return err;
	if (note_key_of(name, o->witness_name, NOTE_WITNESS, *key))
		return fault_set(f, -EINVAL, "%s does not hold an Ed25519 key, or '%.60s' cannot be a witness's name (no spaces, no '+')",
				 o->witness_key, o->witness_name);
	return 0;
}

// The head signed last; size 0 when there is none.
static int read_state(const struct audit_options *o, const struct note_key *name, struct note *last, struct fault *f)
{
	char *text;
	size_t len;

	memset(last, 0, sizeof *last);
	int err = file_read(o->state, NOTE_MAX, &text, &len, f);
	if (err == -ENOENT)
		return 0;
	if (err)
		return err;
	err = note_parse(last, text, len, f);
	free(text);
	if (!err && (!note_signed_by(last, name, NULL) || !note_signed_by(last, &o->trust.key, NULL)))
		err = fault_set(f, -EINVAL, "%s is not a tree head of this log that this witness signed", o->state);
	return err;
}

static int check_growth(struct broker_client *c, const struct note *last, const struct note *now, struct fault *f)
{
	struct merkle_proof p;

	if (now->head.size < last->head.size)
		return fault_set(f, -EBADMSG, "THE LOG WAS ROLLED BACK: it has %" PRIu64 " records, and had %" PRIu64 " when this witness last "
				 "signed", now->head.size, last->head.size);
	int err = audit_client_consistency(c, last->head.size, now->head.size, &p, f);
	if (!err && last->head.size &&
	    !merkle_check_consistency(last->head.size, last->head.root, now->head.size, now->head.root, &p))
		err = fault_set(f, -EBADMSG, "THE LOG WAS REWRITTEN: its first %" PRIu64 " records are not those that this witness signed",
				last->head.size);
	return err;
}

static int witness(struct broker_client *c, const struct audit_options *o, const struct note_key *name, EVP_PKEY *key, struct fault *f)
{
	struct note last, now;
	char text[NOTE_MAX];
	int err = read_state(o, name, &last, f);

	if (!err)
		err = audit_client_head(c, "?candidate", &now, f);
	if (!err && !note_signed_by(&now, &o->trust.key, NULL))
		err = fault_set(f, -EKEYREJECTED, "the broker's tree head is not signed with the log's key that was given");
	if (!err)
		err = check_growth(c, &last, &now, f);
	if (err)
		return err;
	// Others' signatures are theirs to send.
	for (unsigned int i = 0; i < now.count; i++) {
		if (!strcmp(now.signature[i].name, now.head.origin))
			now.signature[0] = now.signature[i];
	}
	now.count = 1;
	err = note_sign(&now, name, key, (uint64_t)time(NULL));
	size_t len = err ? 0 : note_text(&now, text);
	err = err ? fault_set(f, err, "cannot sign") : file_write(o->state, text, len, 0600, false, f);
	if (!err)
		err = audit_client_cosign(c, &now, f);
	if (!err)
		printf("signed the head over %" PRIu64 " records\n", now.head.size);
	return err;
}

int audit_witness(struct broker_client *c, const struct audit_options *o, struct fault *f)
{
	char text[NOTE_KEY_TEXT];
	struct note_key name;
	EVP_PKEY *key = NULL;
	int lock = -1;
	int err = o->print_key ? 0 : file_lock(o->state, &lock, f);	// two at once could each sign what the other's head does not fit

	if (!err)
		err = read_key(o, &key, &name, f);

	if (!err && o->print_key) {
		note_key_text(&name, text);
		printf("%s\n", text);
	} else if (!err) {
		err = witness(c, o, &name, key, f);
	}
	EVP_PKEY_free(key);
	if (lock >= 0)
		close(lock);
	return err;
}
