// SPDX-License-Identifier: Apache-2.0
// `coffer broker rekey-master`: the master key under another passphrase, TPM or token; with --new-key another key, and all that is encrypted under it.
// Steps, each durable before the next: the new file beside the old one; (a new key) the database, in one transaction; the new file in the old
// one's place. Cut short anywhere, the next start finds the file that opens the database (master_find).
#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/broker.h"
#include "broker/rekey_data.h"
#include "broker/state.h"

static const char usage[] =
	"usage: %s [--dir DIR] [--config FILE] --master-key file|passphrase|tpm|pkcs11 [--add]\n"
	"       %s --new-key [--dir DIR] [--config FILE] [--master-key ...]\n"
	"\n"
	"Wraps the broker's master key in another way; what it encrypts stays as it is, and an old copy of master.wrapped (or\n"
	"master.key) still opens the database. With --new-key the broker gets another master key and everything is encrypted\n"
	"anew: no old copy opens it any more. No broker may be running on the database.\n"
	"\n"
	"  --new-key              another key; kept under what the one of now is, unless --master-key says otherwise\n"
	"  --add                  keep the ways in which it is wrapped now: any of them opens the broker\n"
	"  --new-passphrase-fd N  the new passphrase from a descriptor (--passphrase-fd is the one of now)\n"
	"  --new-pin-fd N         the PIN of the new token, if the key is in another one now (--pin-fd)\n"
	MASTER_HELP;

struct request {
	struct broker_settings now;
	struct master_settings to;
	bool add, fresh, help;
};

static int number(const char *name, const char *value, int *out, struct fault *f)
{
	char *end;
	unsigned long k = value ? strtoul(value, &end, 10) : 0;
	if (!value || end == value || *end || k > 65535)
		return fault_set(f, -EINVAL, "%s takes the number of an open descriptor", name);
	*out = (int)k + 1;
	return 0;
}

// What says how things are now goes to the broker's own reader of settings; the rest is how they shall be.
static int parse(struct request *q, int argc, char **argv, struct fault *f)
{
	static const char *const of_now[] = {"--dir", "--config", "--passphrase-fd", "--pin-fd"};
	char *now[12] = {argc > 0 ? argv[0] : "rekey-master"};
	int n = 1, err = 0, new_passphrase = 0, new_pin = 0;
	memset(q, 0, sizeof *q);
	for (int i = 1; i < argc && !err; i++) {
		bool mine = false;
		for (size_t k = 0; k < sizeof of_now / sizeof *of_now; k++)
			mine |= !strcmp(argv[i], of_now[k]);
		if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h"))
			q->help = true;
		else if (mine && (i + 1 == argc || n + 2 > 10))
			err = fault_set(f, -EINVAL, "%s needs a value, once", argv[i]);
		else if (mine)
			now[n++] = argv[i], now[n++] = argv[++i];
		else if (!strncmp(argv[i], "--master-key", 12))
			i += strchr(argv[i], '=') ? 0 : 1; // below
		else if (!strcmp(argv[i], "--add"))
			q->add = true;
		else if (!strcmp(argv[i], "--new-key"))
			q->fresh = true;
		else if (!strcmp(argv[i], "--new-passphrase-fd"))
			err = number(argv[i], argv[i + 1], &new_passphrase, f), i++;
		else if (!strcmp(argv[i], "--new-pin-fd"))
			err = number(argv[i], argv[i + 1], &new_pin, f), i++;
		else
			err = fault_set(f, -EINVAL, "unknown option '%.100s'", argv[i]);
	}
	if (err || q->help)
		return err;
	err = broker_settings_read(&q->now, n, now, f);
	q->to = q->now.master;
	q->to.with[0] = '\0';
	for (int i = 1; i < argc && !err; i++) {
		if (strncmp(argv[i], "--master-key", 12))
			continue;
		int took = master_option(&q->to, argv[i], i + 1 < argc ? argv[i + 1] : NULL, f);
		err = took < 0 ? took : took == 0 ? fault_set(f, -EINVAL, "unknown option '%.100s'", argv[i]) : 0;
		i += took == 2;
	}
	q->to.passphrase_fd = new_passphrase;
	if (new_pin)
		q->to.pin_fd = new_pin;
	if (!err && q->fresh && q->add)
		err = fault_set(f, -EINVAL, "--add keeps the key that is there: give the new one its first way with --new-key, the others afterwards");
	if (!err && !*q->to.with && !q->fresh)
		err = fault_set(f, -EINVAL, "--master-key says in which way the key shall be wrapped");
	if (!err && q->add && !strcmp(q->to.with, "file"))
		err = fault_set(f, -EINVAL, "beside an unwrapped key, other ways protect nothing: --add is for those that wrap");
	q->now.master.with[0] = '\0'; // as it is, whatever broker.yaml already says
	return err;
}

struct found {
	uint8_t key[MASTER_KEY_BYTES];
	struct db *db; // NULL: there is no database yet
};

static int fits(void *ctx, const uint8_t key[MASTER_KEY_BYTES], struct fault *f)
{
	struct found *found = ctx;
	int err = found->db ? store_prepare(found->db, key, f) : 0;
	if (!err)
		memcpy(found->key, key, sizeof found->key);
	return err;
}

static int refuse_others(struct db *db, struct fault *f)
{
	long long others;
	int err = db_others(db, &others, f);
	return err ? err : others ? fault_set(f, -EBUSY, "other brokers (%lld connections) are at work on this database: stop them first. They start again with the new "
					      "master key's file in their folders", others) : 0;
}

// The key of now is in *found, *file and what it took to open it are done with: the new key's file beside it, then the database.
static int exchange(const struct request *q, struct master_secrets *new, struct found *found, enum master_file *file, struct fault *f)
{
	static struct broker b;
	uint8_t fresh[MASTER_KEY_BYTES];
	unsigned long long values;
	if (!found->db)
		return fault_set(f, -ENOENT, "%s has no database yet: nothing is encrypted under its master key", q->now.dir);
	int err = refuse_others(found->db, f);
	if (!err)
		err = rekey_open(&b, found->db, q->now.dir, found->key, f);
	if (!err && RAND_priv_bytes(fresh, sizeof fresh) != 1)
		err = fault_set(f, -EIO, "no random numbers");
	if (!err)
		err = master_write_next(q->now.dir, &q->to, new, false, fresh, file, f);
	if (!err)
		err = rekey_exchange(&b, found->key, fresh, &values, f);
	if (!err)
		printf("a new master key: %llu values of secrets, and all else, are encrypted anew\n", values);
	rekey_close(&b);
	explicit_bzero(fresh, sizeof fresh);
	return err;
}

static int change(struct request *q, struct fault *f)
{
	struct master_secrets old = {.have_pin = false}, new = {.have_pin = false};
	char path[PATH_MAX + 32], ways[64];
	struct found found = {.db = NULL};
	enum master_file file;
	snprintf(path, sizeof path, "%s/broker.db", q->now.dir);
	int lock = broker_lock_dir(q->now.dir, f);
	if (lock < 0)
		return lock;
	int err = *q->now.database ? db_open(&found.db, q->now.database, f) : access(path, F_OK) ? 0 : db_open(&found.db, path, f);
	if (!err)
		err = master_find(q->now.dir, &q->now.master, &old, MASTER_TIDY, fits, &found, f);
	if (err)
		goto out;
	if (old.have_pin && !strcmp(q->to.token, q->now.master.token) && q->to.pin_fd == q->now.master.pin_fd) {
		memcpy(new.pin, old.pin, sizeof new.pin);
		new.have_pin = true;
	}
	if (!*q->to.with)
		err = master_same_way(q->now.dir, &q->to, f);
	if (!err)
		err = q->fresh ? exchange(q, &new, &found, &file, f) : master_write_next(q->now.dir, &q->to, &new, q->add, found.key, &file, f);
	if (!err)
		err = master_settle(q->now.dir, file, f);
	if (!err) {
		master_describe(q->now.dir, ways, sizeof ways);
		printf("the master key is kept under: %s\n", ways);
	}
out:
	db_close(found.db);
	explicit_bzero(&found, sizeof found);
	master_secrets_wipe(&old);
	master_secrets_wipe(&new);
	close(lock);
	return err;
}

int broker_rekey_main(int argc, char **argv)
{
	const char *name = argc > 0 ? argv[0] : "coffer broker rekey-master";
	struct request q;
	struct fault f = {""};
	broker_leave_no_traces();
	int err = parse(&q, argc, argv, &f);
	if (!err && q.help) {
		printf(usage, name, name);
		return 0;
	}
	bool wrong = err == -EINVAL;
	if (!err)
		err = change(&q, &f);
	if (err)
		fprintf(stderr, "%s: %s\n", name, f.text);
	if (wrong)
		fprintf(stderr, usage, name, name);
	return wrong ? 2 : err ? 1 : 0;
}
