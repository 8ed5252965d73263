// SPDX-License-Identifier: Apache-2.0
// `coffer broker restore`: a folder of a broker out of a backup (backup.c). All is made in a folder beside it, which takes its place when
// the last byte of the backup was authentic: nothing of a damaged one is ever served. What was changed after the backup is lost; with the
// audit log of the broker that was lost, each such change is named.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "broker/backup.h"
#include "broker/broker.h"
#include "broker/db_copy.h"
#include "broker/guard.h"
#include "lib/encode.h"
#include "lib/file.h"

static const char usage[] =
	"usage: %s FILE [--dir DIR] [--backup-passphrase-fd N] [--audit FOLDER] [--database URL] [--master-key ...]\n"
	"\n"
	"Makes a broker's folder out of a backup. DIR must not be there yet, or be empty.\n"
	"\n"
	"  --database URL         puts the database on this PostgreSQL server, where it must be an empty one; without it, it is\n"
	"                         SQLite in DIR, wherever it was when the backup was made\n"
	"  --audit FOLDER         the audit log of the broker that was lost (its folder `audit`), if it is left: it goes on, and\n"
	"                         each change since the backup, which is lost, is named\n"
	MASTER_HELP;

int backup_arguments(struct backup_request *q, int argc, char **argv, const char *audit, struct fault *f)
{
	char **rest = calloc((size_t)argc + 2, sizeof *rest);
	int n = 0, err = rest ? 0 : fault_set(f, -ENOMEM, "out of memory");
	memset(q, 0, sizeof *q);
	for (int i = 0; !err && i < argc; i++) {
		char *end;
		if (i && !strcmp(argv[i], "--help"))
			q->help = true;
		else if (i && !strcmp(argv[i], "--backup-passphrase-fd") && i + 1 < argc) {
			q->passphrase_fd = (int)strtoul(argv[++i], &end, 10) + 1;
			if (*end || !*argv[i] || q->passphrase_fd < 1)
				err = fault_set(f, -EINVAL, "--backup-passphrase-fd takes the number of an open descriptor");
		} else if (i && audit && !strcmp(argv[i], audit) && i + 1 < argc)
			q->audit = argv[++i];
		else if (i && argv[i][0] != '-' && !q->file)
			q->file = argv[i];
		else {
			rest[n++] = argv[i];
			if (i && argv[i][0] == '-' && !strchr(argv[i], '=') && i + 1 < argc)
				rest[n++] = argv[++i];
		}
	}
	if (!err && !q->help)
		err = broker_settings_read(&q->settings, n, rest, f);
	if (err == 1)
		q->help = true, err = 0;
	if (!err && !q->help && !q->file)
		err = fault_set(f, -EINVAL, "FILE is missing");
	free(rest);
	return err;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st, (void)type, (void)ftw;
	return remove(path);
}

static int make_parent(const char *path, struct fault *f)
{
	char parent[PATH_MAX + 200], *slash;
	snprintf(parent, sizeof parent, "%s", path);
	slash = strrchr(parent, '/');
	*slash = '\0';
	return mkdir(parent, 0700) && errno != EEXIST ? fault_errno(f, errno, "cannot make %s", parent) : 0;
}

static int take_file(struct backup_reader *r, const char *dir, const char *name, uint64_t len, struct fault *f)
{
	char path[PATH_MAX + 200];
	uint8_t part[16384];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	int err = make_parent(path, f);
	if (err)
		return err;
	bool public = !strcmp(name, "cert.pem") || !strcmp(name, "audit.pub");
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, public ? 0644 : 0600);
	if (fd < 0)
		return fault_errno(f, errno, "cannot make %s", path);
	while (len && !err) {
		size_t n = len < sizeof part ? (size_t)len : sizeof part;
		err = backup_read(r, part, n, f);
		if (!err && write(fd, part, n) != (ssize_t)n)
			err = fault_errno(f, errno, "cannot write %s", path);
		len -= n;
	}
	if (!err && fsync(fd))
		err = fault_errno(f, errno, "cannot write %s", path);
	close(fd);
	explicit_bzero(part, sizeof part);
	return err;
}

struct content {
	uint8_t key[MASTER_KEY_BYTES];
	bool have_key, have_db, have_log;
	json_t *info;
};

static int take_info(struct backup_reader *r, uint64_t len, struct content *c, struct fault *f)
{
	char text[4096];
	if (len >= sizeof text || c->info)
		return fault_set(f, -EBADMSG, "the backup's description is damaged");
	int err = backup_read(r, text, (size_t)len, f);
	if (!err && !(c->info = json_loadb(text, (size_t)len, JSON_REJECT_DUPLICATES, NULL)))
		err = fault_set(f, -EBADMSG, "the backup's description is damaged");
	return err;
}

static int take_all(struct backup_reader *r, const char *dir, struct content *c, struct fault *f)
{
	char name[BACKUP_NAME];
	uint64_t len;
	int err;
	while ((err = backup_read_piece(r, name, &len, f)) == 1) {
		if (!strcmp(name, "info")) {
			err = take_info(r, len, c, f);
		} else if (!strcmp(name, "master.key") && len == sizeof c->key) {
			err = backup_read(r, c->key, sizeof c->key, f);
			c->have_key = true;
		} else if (!backup_name_valid(name)) {
			err = fault_set(f, -EBADMSG, "the backup holds '%.80s', which is no file of a broker", name);
		} else {
			c->have_db |= !strcmp(name, "broker.db");
			c->have_log |= !strcmp(name, "audit/entries");
			err = take_file(r, dir, name, len, f);
		}
		if (err)
			return err;
	}
	if (!err && (!c->have_key || !c->have_db || !c->have_log || !c->info))
		err = fault_set(f, -EBADMSG, "the backup is not whole");
	return err;
}

static const char *text_of(const struct content *c, const char *name)
{
	const char *t = json_string_value(json_object_get(c->info, name));
	return t ? t : "?";
}

static int put_key(const char *dir, const struct master_settings *s, const struct content *c, struct fault *f)
{
	struct master_secrets known = {.have_pin = false};
	enum master_file file;
	if (!*s->with && strcmp(text_of(c, "master_key"), "file"))
		return fault_set(f, -ENOKEY, "the broker's master key was kept under: %s. Say what it shall be kept under now (--master-key; `file`: unwrapped)",
				 text_of(c, "master_key"));
	int err = master_write_next(dir, s, &known, false, c->key, &file, f);
	if (!err)
		err = master_settle(dir, file, f);
	master_secrets_wipe(&known);
	return err;
}

// The newer log in the place of the backup's.
static int take_log(const char *from, const char *dir, struct fault *f)
{
	char path[PATH_MAX + 32], part[16384];
	snprintf(path, sizeof path, "%s/entries", from);
	int in = open(path, O_RDONLY | O_CLOEXEC), err = 0;
	if (in < 0)
		return fault_errno(f, errno, "cannot read %s", path);
	snprintf(path, sizeof path, "%s/audit/entries", dir);
	int out = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC);
	ssize_t n = 0;
	while (out >= 0 && (n = read(in, part, sizeof part)) > 0 && write(out, part, (size_t)n) == n)
		;
	if (out < 0 || n || fsync(out))
		err = fault_errno(f, errno, "cannot copy the audit log");
	if (out >= 0)
		close(out);
	close(in);
	return err;
}

// Decisions have an outcome and change nothing, but that a use is counted.
static bool is_change(const char *event, const json_t *o)
{
	static const char *const not[] = {"anchor", "owner-reads-key", "restore", "database"};
	for (size_t i = 0; i < sizeof not / sizeof *not; i++) {
		if (!strcmp(event, not[i]))
			return false;
	}
	const char *outcome = json_string_value(json_object_get(o, "outcome"));
	return !outcome || (!strcmp(event, "release") && !strcmp(outcome, "accepted"));
}

// Of the records behind the backup, those that changed something.
static int name_lost(struct broker *b, uint64_t from, unsigned int *lost, struct fault *f)
{
	struct note head;
	audit_head(b->audit, &head);
	while (from < head.head.size) {
		char *text, *save = NULL;
		size_t len;
		uint64_t before = from;
		int err = audit_lines(b->audit, from, head.head.size, &text, &len, f);
		if (err)
			return err;
		for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
			json_t *o = *line == '=' ? NULL : json_loads(line, 0, NULL);
			const char *event = json_string_value(json_object_get(o, "event")), *resource = json_string_value(json_object_get(o, "resource"));
			if (event && is_change(event, o)) {
				printf("  lost: %s %s %s (record %llu)\n", json_string_value(json_object_get(o, "time")), event, resource ? resource : "",
				       (unsigned long long)from);
				(*lost)++;
			}
			from += *line != '=';
			json_decref(o);
		}
		free(text);
		if (from == before)
			return fault_set(f, -EBADMSG, "the audit log gives fewer records than its head says");
	}
	return 0;
}

// The log goes on with a record of this; a newer one must begin as the backup's does.
static int settle_log(const char *dir, const struct content *c, bool newer, struct fault *f)
{
	char path[PATH_MAX + 32];
	static struct broker b;
	struct merkle_range range;
	struct note head;
	char hex[65];
	uint8_t root[MERKLE_HASH];
	unsigned int lost = 0;
	json_int_t size = json_integer_value(json_object_get(c->info, "audit_size"));
	memset(&b, 0, sizeof b);
	int err = audit_start(&b, dir, NULL, 0, f);
	if (err)
		goto out;
	audit_head(b.audit, &head);
	if (head.head.size < (uint64_t)size || (err = audit_range(b.audit, (uint64_t)size, &range, f))) {
		err = err ? err : fault_set(f, -EBADMSG, "that audit log is older than the backup: leave out --audit");
		goto out;
	}
	merkle_range_root(&range, root);
	if (size && strcmp(hex_encode(hex, root, sizeof root), text_of(c, "audit_root"))) {
		err = fault_set(f, -EBADMSG, "that audit log is not the backup's broker's, or was rewritten");
		goto out;
	}
	if (newer)
		err = name_lost(&b, (uint64_t)size, &lost, f);
	// The one way in which an older database is taken; it is on record.
	snprintf(path, sizeof path, "%s/broker.db", dir);
	if (!err)
		err = db_open(&b.db, path, f);
	if (!err)
		err = store_prepare(b.db, c->key, f);
	if (!err)
		err = guard_open(&b.guard, b.db, c->key, b.audit, true, f);
	if (!err)
		err = audit_log(&b, NULL, json_pack("{s:s, s:s, s:I, s:I}", "event", "restore", "backup", text_of(c, "made"), "backup_records", size,
						    "changes_lost", (json_int_t)lost), f);
	if (!err && newer)
		printf("%u changes since the backup are lost: they are to be made again\n", lost);
out:
	guard_close(b.guard);
	db_close(b.db);
	audit_stop(&b);
	return err;
}

// Found and said by each start of the broker, until it is taken away.
static int leave_note(const char *dir, const struct content *c, struct fault *f)
{
	char path[PATH_MAX + 200], text[200], when[32];
	time_text(when, time(NULL));
	snprintf(path, sizeof path, "%s/restored", dir);
	int n = snprintf(text, sizeof text, "restored at %s from a backup made at %.40s\n", when, text_of(c, "made"));
	return file_write(path, text, (size_t)n, 0600, false, f);
}

// The restored database on a server. *filled: it is there, also after an error.
static int put_on_server(const char *dir, const char *url, bool *filled, struct fault *f)
{
	static const char *const files[] = {"broker.db", "broker.db-wal", "broker.db-shm"};
	char path[PATH_MAX + 200];
	struct db *from = NULL, *to = NULL;
	snprintf(path, sizeof path, "%s/broker.db", dir);
	int err = db_open(&from, path, f);
	if (!err)
		err = db_open(&to, url, f);
	if (!err)
		err = db_copy(from, to, f);
	*filled = !err;
	db_close(from);
	db_close(to);
	for (size_t i = 0; i < 3 && !err; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, files[i]);
		if (unlink(path) && errno != ENOENT)
			err = fault_errno(f, errno, "cannot remove %s", path);
	}
	return err;
}

// A restore that failed after that leaves the server's database as empty as it found it.
static void take_from_server(const char *url, struct fault *f)
{
	struct fault first = *f, why = {""};
	struct db *to = NULL;
	int err = db_open(&to, url, &why);
	if (!err)
		err = db_copy_undo(to, &why);
	db_close(to);
	if (err)
		fault_set(f, err, "%.700s. The server's database holds what was restored, and could not be emptied (%.300s): drop it before the "
			  "next attempt", first.text, why.text);
}

// broker.yaml of the backup says where the database was then. That line stays as a comment; url NULL: it is in the folder now.
static int put_setting(const char *dir, const char *url, struct fault *f)
{
	char path[PATH_MAX + 200], *text = NULL, *out = NULL, *save = NULL;
	size_t len, out_len = 0;
	struct broker_settings s;
	snprintf(path, sizeof path, "%s/broker.yaml", dir);
	bool there = !access(path, F_OK);
	int err = there ? file_read(path, 1 << 20, &text, &len, f) : 0;
	if (err)
		return err;
	FILE *to = open_memstream(&out, &out_len);
	for (char *line = to && text ? strtok_r(text, "\n", &save) : NULL; line; line = strtok_r(NULL, "\n", &save))
		fprintf(to, "%s%s\n", strncmp(line, "database:", 9) ? "" : "# of the backup: ", line);
	if (to && url)
		fprintf(to, "database: \"%s\"\n", url);
	if (!to || fclose(to))
		err = fault_set(f, -ENOMEM, "out of memory");
	if (!err && out_len)
		err = file_write(path, out, out_len, 0600, false, f);
	free(text);
	free(out);
	if (err)
		return err;
	char *argv[] = {"restore", "--dir", (char *)dir, NULL};
	err = broker_settings_read(&s, 3, argv, f);
	if (!err && strcmp(s.database, url ? url : ""))
		err = fault_set(f, -EINVAL, "broker.yaml of the backup says `database` in a way that is not understood here: restore it without, and put it right "
				"afterwards");
	if (!err)
		json_decref(s.approvals);
	return err;
}

// Nothing is there, or an empty folder, which stays as it is until all of the backup was found good.
static int may_replace(const char *target, struct fault *f)
{
	DIR *d = opendir(target);
	struct dirent *e;
	int err = 0;
	if (!d)
		return errno == ENOENT ? 0 : fault_errno(f, errno, "cannot put a folder in the place of %s", target);
	while (!err && (e = readdir(d))) {
		if (strcmp(e->d_name, ".") && strcmp(e->d_name, ".."))
			err = fault_set(f, -EEXIST, "%s is there and not empty: move it away first, or restore into another folder (--dir)", target);
	}
	closedir(d);
	return err;
}

static int restore(const struct backup_request *q, struct fault *f)
{
	char dir[PATH_MAX + 16], target[PATH_MAX], passphrase[MASTER_SECRET_MAX];
	struct backup_reader *r = NULL;
	struct content c = {.info = NULL};
	size_t n = strlen(q->settings.dir);
	while (n > 1 && q->settings.dir[n - 1] == '/')	// the folder beside it, not in it
		n--;
	snprintf(target, sizeof target, "%.*s", (int)n, q->settings.dir);
	snprintf(dir, sizeof dir, "%s.partial", target);
	int fd = open(q->file, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fault_errno(f, errno, "cannot read %s", q->file);
	bool made = false, filled = false;
	int err = 0;
	if (*q->settings.database && !db_is_url(q->settings.database)) {
		close(fd);
		return fault_set(f, -EINVAL, "--database takes a URL, postgresql://...; a database of SQLite is restored into the folder");
	}
	err = may_replace(target, f);
	if (!err)
		err = backup_passphrase(q->passphrase_fd, false, passphrase, f);
	if (!err)
		err = backup_read_open(&r, fd, passphrase, f);
	explicit_bzero(passphrase, sizeof passphrase);
	if (!err && !access(dir, F_OK))
		err = fault_set(f, -EEXIST, "%s is left of a restore that was cut short: remove it", dir);
	if (!err)
		err = file_make_private_dir(dir, f);
	made = !err;
	if (!err)
		err = take_all(r, dir, &c, f);
	if (!err)
		err = put_key(dir, &q->settings.master, &c, f);
	if (!err && q->audit)
		err = take_log(q->audit, dir, f);
	if (!err)
		err = settle_log(dir, &c, q->audit != NULL, f);
	if (!err)
		err = leave_note(dir, &c, f);
	if (!err)
		err = put_setting(dir, *q->settings.database ? q->settings.database : NULL, f);
	if (!err && *q->settings.database)
		err = put_on_server(dir, q->settings.database, &filled, f);
	if (!err && rename(dir, target))	// which takes the place of an empty folder, too
		err = fault_errno(f, errno, "cannot put the restored folder in the place of %s", target);
	made = made && err;
	if (err && filled)
		take_from_server(q->settings.database, f);
	if (!err)
		err = file_sync_folder(target, f);
	if (!err) {
		printf("restored into %s: %lld resources, %lld policies, as of %s\n", target, (long long)json_integer_value(json_object_get(c.info, "resources")),
		       (long long)json_integer_value(json_object_get(c.info, "policies")), text_of(&c, "made"));
		printf("What was changed after that is lost: keys stored or deleted, policies, uses counted. Anchors of volumes are older than their volumes:\n"
		       "`coffer volume anchor set` puts each right.%s\n", q->audit ? "" : " Whoever kept a newer head of the audit log will find it cut: that is this.");
	}
	if (err && made)
		nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	backup_read_close(r);
	json_decref(c.info);
	explicit_bzero(&c, sizeof c);
	close(fd);
	return err;
}

int broker_restore_main(int argc, char **argv)
{
	const char *name = argc > 0 ? argv[0] : "coffer broker restore";
	struct backup_request q;
	struct fault f = {""};
	broker_leave_no_traces();
	int err = backup_arguments(&q, argc, argv, "--audit", &f);
	if (!err && q.help) {
		printf(usage, name);
		return 0;
	}
	bool wrong = err == -EINVAL;
	if (!err)
		err = restore(&q, &f);
	if (err)
		fprintf(stderr, "%s: %s\n", name, f.text);
	if (wrong)
		fprintf(stderr, usage, name);
	return wrong ? 2 : err ? 1 : 0;
}
