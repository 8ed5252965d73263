// SPDX-License-Identifier: Apache-2.0
// What the audit log says of the database (guard.h): records of the event "database" with the versions of this broker's lanes and a MAC
// over them and their sums, and with the versions of other brokers' lanes as they were last seen. `telling` is held while a record is
// written, so that transactions that end at the same time share one; then `lock` for a moment.
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "broker/audit.h"
#include "broker/db_backend.h"
#include "broker/guard_inner.h"
#include "lib/encode.h"
#include "lib/log.h"

#define TELL_EVERY 1024		// records of other things, so that a start need not look further back
#define LOOK_BACK 65536
#define CHECK_SECONDS 300	// between two looks at all rows, where brokers share a database
#define JUMP (1ll << 32)	// beyond all versions and stamps that a database may have had before it was put back

// With the lock held. *own, *others: new objects.
static int lanes_json(struct guard *g, json_t **own, json_t **others, char digest[65])
{
	EVP_MAC_CTX *c = EVP_MAC_CTX_dup(g->log_mac);
	uint8_t mac[32];
	size_t len = 0;
	bool ok = c != NULL;
	*own = json_object();
	*others = json_object();
	for (unsigned int i = 0; i < g->lane_count; i++)
		json_object_set_new(g->lanes[i].own ? *own : *others, g->lanes[i].name, json_integer(g->lanes[i].version));
	for (unsigned int slot = 0; slot < DB_MAX_CONNECTIONS && ok; slot++) {
		char name[GUARD_LANE_NAME];
		snprintf(name, sizeof name, "%s/%u", g->who, slot);
		const struct guard_lane *l = guard_lane_find(g, name);
		ok = !l || (EVP_MAC_update(c, (const uint8_t *)l->name, sizeof l->name) == 1 &&
			    EVP_MAC_update(c, (const uint8_t *)&l->version, sizeof l->version) == 1 && EVP_MAC_update(c, l->sum, sizeof l->sum) == 1);
	}
	ok = ok && EVP_MAC_final(c, mac, &len, sizeof mac) == 1 && len == sizeof mac;
	EVP_MAC_CTX_free(c);
	hex_encode(digest, mac, sizeof mac);
	return ok && *own && *others ? 0 : -EIO;
}

// With `telling` held.
static int tell(struct guard *g, bool accepted, struct fault *f)
{
	json_t *own, *others, *o;
	char digest[65];
	pthread_mutex_lock(&g->lock);
	long long changes = g->changes;
	int err = lanes_json(g, &own, &others, digest);
	pthread_mutex_unlock(&g->lock);
	o = json_pack("{s:s, s:o, s:o, s:s}", "event", "database", "lanes", own, "others", others, "digest", digest);
	if (accepted) {
		json_object_set_new(o, "by", json_string("owner"));
		json_object_set_new(o, "accepted", json_true());
	}
	if (err || !o) {
		json_decref(o);
		return fault_set(f, err ? err : -ENOMEM, "cannot say in the audit log how the database is");
	}
	err = audit_append(g->audit, o, &g->told_at, f);
	if (!err)
		g->told = changes;
	return err;
}

int guard_log_tell(struct guard *g, long long change, struct fault *f)
{
	int err = 0;
	if (!g->audit)
		return 0;
	pthread_mutex_lock(&g->telling);
	if (g->told < change)
		err = tell(g, false, f);
	pthread_mutex_unlock(&g->telling);
	return err;
}

int guard_tell(struct guard *g, struct fault *f)
{
	pthread_mutex_lock(&g->telling);
	int err = g->audit ? tell(g, false, f) : 0;
	pthread_mutex_unlock(&g->telling);
	return err;
}

// The newest record of the database. -ENOENT.
static int last_record(struct guard *g, json_t **out, struct fault *f)
{
	struct note head;
	audit_head(g->audit, &head);
	uint64_t size = head.head.size;
	for (uint64_t i = size; i-- > 0 && size - i <= LOOK_BACK;) {
		char *text;
		size_t len;
		int err = audit_read(g->audit, i, &text, &len, f);
		if (err)
			return err;
		json_t *o = strstr(text, "\"database\"") ? json_loads(text, 0, NULL) : NULL;
		const char *event = json_string_value(json_object_get(o, "event"));
		free(text);
		if (event && !strcmp(event, "database")) {
			*out = o;
			g->told_at = i;
			return 0;
		}
		json_decref(o);
	}
	return -ENOENT;
}

// With the lock held: is a lane older than what the log says? *equal: all are as the log says.
static bool older(struct guard *g, const json_t *said, const char **lane, long long *version, bool *equal)
{
	const char *name;
	json_t *v;
	json_object_foreach((json_t *)said, name, v) {
		const struct guard_lane *l = guard_lane_find(g, name);
		long long now = l ? l->version : 0;
		*equal = *equal && now == json_integer_value(v);
		if (now < json_integer_value(v)) {
			*lane = name;
			*version = now;
			return true;
		}
	}
	return false;
}

static int compare(struct guard *g, const json_t *record, struct fault *f)
{
	const json_t *lanes = json_object_get(record, "lanes"), *others = json_object_get(record, "others");
	const char *said = json_string_value(json_object_get(record, "digest")), *lane = NULL;
	long long version = 0;
	char digest[65];
	json_t *own, *rest;
	bool equal = true, ignored = true;
	pthread_mutex_lock(&g->lock);
	bool back = older(g, lanes, &lane, &version, &equal) || older(g, others, &lane, &version, &ignored);
	int err = lanes_json(g, &own, &rest, digest);
	pthread_mutex_unlock(&g->lock);
	if (!err && !back && equal && json_object_size(own) == json_object_size(lanes) && (!said || strcmp(said, digest)))
		back = true;
	json_decref(own);
	json_decref(rest);
	if (err || !back)
		return err ? fault_set(f, err, "cannot compare the database with the audit log") : 0;
	return fault_set(f, -ESTALE, "the broker's database was put back: the audit log (record %llu) knows a newer state of it%s%.60s. Put its newest "
			 "copy in place. If this one is right, because a backup was restored on purpose, say so with `coffer broker serve "
			 "--accept-restored-database`, once: what was changed since (secrets, policies, use counts, volumes' anchors) is as it was in "
			 "the backup", (unsigned long long)g->told_at, lane ? ", lane " : "", lane ? lane : "");
}

// Versions and stamps go on from where none has ever been, in this copy or in what the log knows, so that nothing from before, nor from an
// earlier time that a copy was accepted, passes for what comes now.
static int go_beyond(struct guard *g, const json_t *said, struct fault *f)
{
	const char *name;
	json_t *v;
	int err = 0;
	pthread_mutex_lock(&g->lock);
	json_object_foreach((json_t *)said, name, v) {
		struct guard_lane missing = {.own = true}, *l = guard_lane_find(g, name);
		if (!l && strlen(name) < sizeof missing.name) {
			strcpy(missing.name, name);
			err = err ? err : guard_lane_known(g, &missing);
			l = guard_lane_find(g, name);
		}
		if (l && l->version < json_integer_value(v))
			l->version = json_integer_value(v);
	}
	for (unsigned int i = 0; i < g->lane_count; i++) {
		g->lanes[i].version += g->lanes[i].own ? JUMP : 0;
		if (g->lanes[i].own && g->lanes[i].version > g->clock)
			g->clock = g->lanes[i].version;
	}
	pthread_mutex_unlock(&g->lock);
	return err ? fault_set(f, err, "out of memory") : 0;
}

static int jump(struct db_tx *t, void *ctx, struct fault *f)
{
	struct guard *g = ctx;
	struct db_rows *r = NULL;
	int err = 0;
	if (g->shared)
		err = db_query(t, &r, f, "SELECT setval('guard_clock', nextval('guard_clock') + ?)", "i", g->clock);
	db_rows_end(r);
	for (unsigned int i = 0; i < g->lane_count && !err; i++) {
		if (g->lanes[i].own)
			err = guard_lane_write(g, t, &g->lanes[i], f);
	}
	return err;
}

// On record first: were it cut off in between, the next start would refuse again.
static int accept_state(struct guard *g, const json_t *record, bool older, struct fault *f)
{
	bool any = g->lane_count;
	int err = go_beyond(g, json_object_get(record, "lanes"), f);
	if (err)
		return err;
	pthread_mutex_lock(&g->telling);
	err = tell(g, true, f);
	pthread_mutex_unlock(&g->telling);
	if (!err)
		err = db_write(g->db, jump, g, f);
	if (!err && older)
		log_warning("broker: the database was accepted as it is, %s", any ? "though the audit log knows a newer state of it" : "an empty one");
	return err;
}

int guard_log_compare(struct guard *g, bool accept, struct fault *f)
{
	json_t *record = NULL;
	int err = last_record(g, &record, f);
	if (err == -ENOENT) {
		struct note head;
		audit_head(g->audit, &head);
		if (head.head.size && !g->fresh)
			log_warning("broker: the audit log says nothing of the database: whether it was put back cannot be told this time");
		g->told_at = head.head.size;
		return 0;
	}
	if (!err)
		err = compare(g, record, f);
	// Also what looks as new as the log: a backup that was restored with its log goes another way from here.
	if (accept && (!err || err == -ESTALE))
		err = accept_state(g, record, err, f);
	json_decref(record);
	return err;
}

// What is told later, and what is looked at now and then.
static void *follow(void *ctx)
{
	struct guard *g = ctx;
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);	// which nobody sets back
	time_t next = until.tv_sec + CHECK_SECONDS;
	pthread_mutex_lock(&g->lock);
	while (!g->stop) {
		struct note head;
		struct fault f = {""};
		bool damaged = false;
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec++;
		pthread_cond_timedwait(&g->wake, &g->lock, &until);
		if (g->stop)
			break;
		long long changes = g->changes;
		pthread_mutex_unlock(&g->lock);
		audit_head(g->audit, &head);
		pthread_mutex_lock(&g->telling);
		if ((g->told < changes || head.head.size > g->told_at + TELL_EVERY) && tell(g, false, &f))
			log_warning("broker: %s", f.text);
		pthread_mutex_unlock(&g->telling);
		if (g->shared && until.tv_sec >= next) {
			int err = guard_check(g, &f);
			if (err == -EBADMSG) {
				log_alarm("broker: %s", f.text);
				damaged = true;
				audit_append(g->audit, json_pack("{s:s, s:s}", "event", "database-changed-outside", "reason", f.text), NULL, &f);
			} else if (err) {
				log_warning("broker: %s", f.text);
			}
			next = until.tv_sec + CHECK_SECONDS;
		}
		pthread_mutex_lock(&g->lock);
		g->damaged |= damaged;
	}
	pthread_mutex_unlock(&g->lock);
	return NULL;
}

int guard_log_start(struct guard *g, struct fault *f)
{
	pthread_condattr_t attr;
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&g->wake, &attr);
	pthread_condattr_destroy(&attr);
	// Signals are for the thread that waits for them: here they would end the process.
	sigset_t all, before;
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int err = pthread_create(&g->thread, NULL, follow, g);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	g->running = !err;
	return err ? fault_errno(f, err, "cannot start a thread") : 0;
}

void guard_log_stop(struct guard *g)
{
	struct fault f = {""};
	if (!g->running)
		return;
	pthread_mutex_lock(&g->lock);
	g->stop = true;
	pthread_cond_signal(&g->wake);
	long long changes = g->changes;
	pthread_mutex_unlock(&g->lock);
	pthread_join(g->thread, NULL);
	pthread_cond_destroy(&g->wake);
	if (guard_log_tell(g, changes, &f))
		log_warning("broker: %s", f.text);
}
