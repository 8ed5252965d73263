// SPDX-License-Identifier: Apache-2.0
// `coffer broker backup`: the database as it is at one moment, the master key, the other files of the folder and the audit log up to that
// moment, in one encrypted file (backup_file.h). The broker may be running: nothing of its is changed. The log is copied last, so that it
// has every change that the database has.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "broker/audit_file.h"
#include "broker/backup.h"
#include "broker/broker.h"
#include "broker/db_copy.h"
#include "broker/secrets.h"
#include "broker/state.h"
#include "lib/encode.h"
#include "lib/file.h"

static const char usage[] =
	"usage: %s FILE [--dir DIR] [--config FILE] [--backup-passphrase-fd N]\n"
	"\n"
	"Writes all that the broker knows into FILE: database, master key, its other keys, its audit log. It may be running.\n"
	"FILE is encrypted under a passphrase: from the descriptor, the systemd credential coffer-backup-passphrase, or the\n"
	"terminal. Whoever has both has every secret of the broker. `coffer broker restore` reads it.\n"
	"\n"
	MASTER_HELP;

static const char *const left_out[] = {"lock", "serving.lock", "address", "broker.db", "broker.db-wal", "broker.db-shm", "master.key", "master.wrapped",
				       "master.key.next", "master.wrapped.next", "restored"};

int backup_passphrase(int fd, bool fresh, char out[MASTER_SECRET_MAX], struct fault *f)
{
	int err = master_ask("passphrase of the backup", fd, "coffer-backup-passphrase", "", fresh, out, f);
	if (!err && fresh && strlen(out) < 8)
		err = fault_set(f, -EINVAL, "a passphrase of fewer than 8 characters protects nothing");
	return err;
}

// The newest head of a log that a broker may be writing, and where it ends.
static int last_head(int fd, uint64_t *end, uint64_t *size, uint8_t root[MERKLE_HASH], struct fault *f)
{
	uint8_t frame[AUDIT_FRAME], head[AUDIT_HEAD_BYTES];
	*end = *size = 0;
	memset(root, 0, MERKLE_HASH);
	for (uint64_t at = 0;;) {
		int err = audit_pread(fd, frame, sizeof frame, at);
		uint32_t word = audit_load32(frame), kind = word >> 24, n = word & 0xffffff;
		if (err == -ENODATA)
			return 0;
		if (!err && kind == AUDIT_HEAD && n == sizeof head) {
			err = audit_pread(fd, head, sizeof head, at + AUDIT_FRAME);
			if (err == -ENODATA)
				return 0;
			*end = at + AUDIT_FRAME + n;
			*size = audit_load64(head);
			memcpy(root, head + 8, MERKLE_HASH);
		} else if (!err && kind != AUDIT_ENTRY) {
			return fault_set(f, -EBADMSG, "the audit log is damaged at byte %llu of audit/entries", (unsigned long long)at);
		}
		if (err)
			return fault_set(f, err, "cannot read the audit log");
		at += AUDIT_FRAME + n;
	}
}

static int put_file(struct backup_writer *w, const char *dir, const char *name, struct fault *f)
{
	char path[PATH_MAX + 600];
	struct stat st;
	snprintf(path, sizeof path, "%s/%s", dir, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0 && errno == ENOENT)	// one that the broker had while it wrote another, and has renamed since
		return 0;
	if (fd < 0 || fstat(fd, &st) < 0) {
		int err = fault_errno(f, errno, "cannot read %s", path);
		if (fd >= 0)
			close(fd);
		return err;
	}
	int err = S_ISREG(st.st_mode) ? backup_write_file(w, name, fd, (uint64_t)st.st_size, f) : 0;
	close(fd);
	return err;
}

static bool wanted(const char *sub, const char *name)
{
	for (size_t i = 0; !*sub && i < sizeof left_out / sizeof *left_out; i++) {
		if (!strcmp(name, left_out[i]))
			return false;
	}
	// of the log, what is not derived from its entries
	return name[0] != '.' && strncmp(name, "backup-", 7) && (strcmp(sub, "audit/") || !strncmp(name, "cosigned", 8));
}

// Files of the folder, and of folders in it.
static int put_folder(struct backup_writer *w, const char *dir, const char *sub, struct fault *f)
{
	char path[PATH_MAX + 300], name[2 * NAME_MAX];
	struct dirent *e;
	struct stat st;
	snprintf(path, sizeof path, "%s/%s", dir, sub);
	DIR *d = opendir(path);
	int err = d ? 0 : fault_errno(f, errno, "cannot list %s", path);
	while (!err && (e = readdir(d))) {
		snprintf(name, sizeof name, "%s%s", sub, e->d_name);
		if (!wanted(sub, e->d_name) || fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW))
			continue;
		if (S_ISDIR(st.st_mode) && !*sub && strlen(e->d_name) < BACKUP_NAME / 2) {
			strcat(name, "/");
			err = put_folder(w, dir, name, f);
		} else if (S_ISREG(st.st_mode) && !backup_name_valid(name)) {
			err = fault_set(f, -EINVAL, "the broker's folder has the file '%.200s', which is none of its: take it away", name);
		} else if (S_ISREG(st.st_mode)) {
			err = put_file(w, dir, name, f);
		}
	}
	if (d)
		closedir(d);
	return err;
}

struct found {
	uint8_t key[MASTER_KEY_BYTES];
	struct db *db;	// the copy
	long long resources, policies;
};

static int count(struct db_tx *t, void *ctx, struct fault *f)
{
	struct found *found = ctx;
	struct db_rows *r = NULL;
	int err = db_query(t, &r, f, "SELECT (SELECT count(*) FROM secret_head), (SELECT count(*) FROM allowed)", "");
	if (err >= 0)
		err = db_next(r, f);
	if (err > 0) {
		found->resources = db_int(r, 0);
		found->policies = db_int(r, 1);
	}
	db_rows_end(r);
	return err < 0 ? err : 0;
}

static int fits(void *ctx, const uint8_t key[MASTER_KEY_BYTES], struct fault *f)
{
	struct found *found = ctx;
	int err = store_prepare(found->db, key, f);
	if (!err)
		memcpy(found->key, key, sizeof found->key);
	return err;
}

static int put_info(struct backup_writer *w, const char *dir, const struct found *found, uint64_t size, const uint8_t root[MERKLE_HASH], struct fault *f)
{
	char ways[64], when[32], hex[65];
	time_text(when, time(NULL));
	master_describe(dir, ways, sizeof ways);
	json_t *o = json_pack("{s:s, s:s, s:I, s:I, s:I, s:s}", "made", when, "master_key", ways, "resources", (json_int_t)found->resources, "policies",
			      (json_int_t)found->policies, "audit_size", (json_int_t)size, "audit_root", hex_encode(hex, root, MERKLE_HASH));
	char *text = o ? json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
	json_decref(o);
	int err = text ? backup_write_piece(w, "info", text, strlen(text), f) : fault_set(f, -ENOMEM, "out of memory");
	free(text);
	return err;
}

static int open_log(const char *dir, struct fault *f)
{
	char path[PATH_MAX + 32];
	snprintf(path, sizeof path, "%s/audit/entries", dir);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? fault_errno(f, errno, "cannot read %s", path) : fd;
}

static int write_all_of_it(int to, const char *dir, const char *copy, const struct found *found, const char *passphrase, struct fault *f)
{
	struct backup_writer *w = NULL;
	uint8_t root[MERKLE_HASH];
	uint64_t end, size;
	struct stat st;
	int db = -1, log = open_log(dir, f);
	int err = log < 0 ? log : last_head(log, &end, &size, root, f);
	if (!err && ((db = open(copy, O_RDONLY | O_CLOEXEC)) < 0 || fstat(db, &st) < 0))
		err = fault_errno(f, errno, "cannot read %s", copy);
	if (!err)
		err = backup_write_open(&w, to, passphrase, f);
	if (!err)
		err = put_info(w, dir, found, size, root, f);
	if (!err)
		err = backup_write_piece(w, "master.key", found->key, sizeof found->key, f);
	if (!err)
		err = put_folder(w, dir, "", f);
	if (!err)
		err = backup_write_file(w, "broker.db", db, (uint64_t)st.st_size, f);
	if (!err)
		err = backup_write_file(w, "audit/entries", log, end, f);
	if (!err)
		err = backup_write_finish(w, f);
	if (!err)
		printf("%lld resources, %lld policies, audit log up to record %llu\n", found->resources, found->policies, (unsigned long long)size);
	backup_write_close(w);
	if (log >= 0)
		close(log);
	if (db >= 0)
		close(db);
	return err;
}

// Of a file: its pages. Of a server: all rows, into a file of the same form.
static int take_copy(struct db *db, const char *copy, struct db **out, struct fault *f)
{
	int err = db_shared(db) ? 0 : db_snapshot(db, copy, f);
	if (!err)
		err = db_open(out, copy, f);
	if (!err && db_shared(db))
		err = db_copy(db, *out, f);
	return err;
}

static int backup(const struct broker_settings *s, const char *file, int passphrase_fd, struct fault *f)
{
	char path[PATH_MAX + 32], copy[PATH_MAX + 64], wal[PATH_MAX + 80], part[PATH_MAX], passphrase[MASTER_SECRET_MAX];
	struct master_secrets known = {.have_pin = false};
	struct found found = {.db = NULL};
	struct db *db = NULL;
	int to = -1, err;
	snprintf(path, sizeof path, "%s/broker.db", s->dir);
	snprintf(copy, sizeof copy, "%s/backup-%d.db", s->dir, (int)getpid());
	if (snprintf(part, sizeof part, "%s.partial", file) >= (int)sizeof part)
		return fault_set(f, -ENAMETOOLONG, "the path %s is too long", file);
	if (*s->database && !db_is_url(s->database) && access(s->database, F_OK))
		return fault_errno(f, errno, "cannot read the database %s", s->database);
	if (!*s->database && access(path, F_OK))
		return fault_set(f, -ENOENT, "%s is no folder of a broker: it has no broker.db", s->dir);
	if (!access(file, F_OK))
		return fault_set(f, -EEXIST, "%s is there already", file);
	err = backup_passphrase(passphrase_fd, true, passphrase, f);
	// Nobody else's file, and no link to one.
	if (!err && (to = open(part, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600)) < 0)
		err = errno == EEXIST ? fault_set(f, -EEXIST, "%s is there: another backup is being made, or one was cut short; remove it if none is", part)
				      : fault_errno(f, errno, "cannot make %s", part);
	if (err)
		goto out;
	err = db_open(&db, *s->database ? s->database : path, f);
	if (!err)
		err = take_copy(db, copy, &found.db, f);
	if (!err)
		err = master_find(s->dir, &s->master, &known, MASTER_LOOK, fits, &found, f);
	if (!err)
		err = db_read(found.db, count, &found, f);
	db_close(found.db); // what its log holds goes into it
	if (!err)
		err = write_all_of_it(to, s->dir, copy, &found, passphrase, f);
	if (!err && rename(part, file))
		err = fault_errno(f, errno, "cannot rename %s", part);
	if (!err)
		err = file_sync_folder(file, f);
	unlink(copy);
	snprintf(wal, sizeof wal, "%s-wal", copy);
	unlink(wal);
	snprintf(wal, sizeof wal, "%s-shm", copy);
	unlink(wal);
out:
	if (err && to >= 0)
		unlink(part);
	if (to >= 0)
		close(to);
	db_close(db);
	explicit_bzero(passphrase, sizeof passphrase);
	explicit_bzero(&found, sizeof found);
	master_secrets_wipe(&known);
	return err;
}

int broker_backup_main(int argc, char **argv)
{
	const char *name = argc > 0 ? argv[0] : "coffer broker backup";
	struct backup_request q;
	struct fault f = {""};
	broker_leave_no_traces();
	int err = backup_arguments(&q, argc, argv, NULL, &f);
	if (!err && q.help) {
		printf(usage, name);
		return 0;
	}
	bool wrong = err == -EINVAL;
	if (!err)
		err = backup(&q.settings, q.file, q.passphrase_fd, &f);
	if (err)
		fprintf(stderr, "%s: %s\n", name, f.text);
	if (wrong)
		fprintf(stderr, usage, name);
	return wrong ? 2 : err ? 1 : 0;
}
