// SPDX-License-Identifier: Apache-2.0
// The master key at a start: which of the files is right, when a change of it was cut short; and a new one for a new broker.
#include <errno.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/master.h"

int master_option(struct master_settings *s, const char *arg, const char *next, struct fault *f)
{
	char name[64];
	size_t n = strcspn(arg, "=");
	const char *value = arg[n] ? arg + n + 1 : next;
	int took = arg[n] ? 1 : 2;
	int *fd = !strncmp(arg, "--passphrase-fd", n) && n == 15 ? &s->passphrase_fd : !strncmp(arg, "--pin-fd", n) && n == 8 ? &s->pin_fd : NULL;
	if (!fd && strncmp(arg, "--master-key", 12))
		return 0;
	if (n - 2 >= sizeof name)
		return 0;
	memcpy(name, arg + 2, n - 2);
	name[n - 2] = '\0';
	if (!value)
		return fault_set(f, -EINVAL, "--%s needs a value", name);
	if (fd) {
		char *end;
		unsigned long k = strtoul(value, &end, 10);
		if (*end || end == value || *value == '-' || k > 65535)
			return fault_set(f, -EINVAL, "--%s takes the number of an open descriptor, not '%.40s'", name, value);
		*fd = (int)k + 1;
		return took;
	}
	for (char *p = name; *p; p++)
		*p = *p == '-' ? '_' : *p;
	int err = master_setting(s, name, value, f);
	return err == 1 ? 0 : err ? err : took;
}

// Made for a database that turns out to be another's: it must not lie around as if it were the right one.
static void forget(const char *dir)
{
	char path[PATH_MAX + 32];
	snprintf(path, sizeof path, "%s/master.key", dir);
	unlink(path);
	snprintf(path, sizeof path, "%s/master.wrapped", dir);
	unlink(path);
}

static int make(const char *dir, const struct master_settings *s, struct master_secrets *known, uint8_t key[MASTER_KEY_BYTES], struct fault *f)
{
	enum master_file file;
	if (RAND_priv_bytes(key, MASTER_KEY_BYTES) != 1)
		return fault_set(f, -EIO, "no random numbers");
	int err = master_write_next(dir, s, known, false, key, &file, f);
	return err ? err : master_settle(dir, file, f);
}

int master_find(const char *dir, const struct master_settings *s, struct master_secrets *known, enum master_may may,
		int (*fits)(void *ctx, const uint8_t key[MASTER_KEY_BYTES], struct fault *f), void *ctx, struct fault *f)
{
	uint8_t key[MASTER_KEY_BYTES];
	struct fault first = {""};
	int result = -ENOENT, found = 0, which = 0;
	for (int k = 0; result && k < MASTER_FILES; k++) {
		struct fault why = {""};
		if (!master_there(dir, (enum master_file)k))
			continue;
		found++;
		int err = master_read(dir, (enum master_file)k, s, known, key, &why);
		bool tried = !err;
		if (!err)
			err = fits(ctx, key, &why);
		// What is said is of the first, but that one key opens and does not fit says less than that another does not open.
		if (!err || found == 1 || result == -EKEYREJECTED) {
			result = err;
			first = why;
		}
		which = k;
		if (tried && err && err != -EKEYREJECTED)
			break;
	}
	if (may != MASTER_LOOK && !result && found && (which || found > 1))
		result = master_settle(dir, (enum master_file)which, &first);
	if (!found && may != MASTER_MAKE) {
		fault_set(&first, -ENOENT, "the master key is missing in %s, but there is a database: without its key (or a backup) nothing in it can be read", dir);
	} else if (!found) {
		result = make(dir, s, known, key, &first);
		if (!result)
			result = fits(ctx, key, &first);
		if (result == -EKEYREJECTED) {
			forget(dir);
			fault_set(&first, result, "the database belongs to another master key, and there is none in %s: copy master.key or master.wrapped from the "
				  "broker that made it", dir);
		}
	}
	explicit_bzero(key, sizeof key);
	return result ? fault_set(f, result, "%s", first.text) : 0;
}
