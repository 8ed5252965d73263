// SPDX-License-Identifier: Apache-2.0
// See limits.h. An allowance is one number: the time at which it will be whole again. What is taken puts that off by one interval; as long as it
// lies less than `burst` intervals ahead, there is something left.
#include "broker/limits.h"

#include <arpa/inet.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <time.h>

#include "broker/api.h"
#include "lib/encode.h"
#include "lib/log.h"
#include "lib/tls.h"

#define SETS 1024
#define WAYS 4
#define REFUSAL_MS 1000		// one more each
#define SESSION_MS 100
#define DISK_MS 1000		// how old the answer about room may be
#define LOW_SUMMARY_S 600	// between summaries while the reserve is used

struct allowance {
	int64_t whole_ms;
};

struct peer {
	uint64_t key;
	struct allowance refusals, sessions;
};

// Refusals that have no record of their own yet.
struct unlogged {
	unsigned long count, ever;
	time_t since;
	char first[64], last[64];
};

struct limits {
	struct limit_settings s;
	char dir[4096];
	pthread_mutex_t lock;
	uint64_t seed;
	struct peer peers[SETS][WAYS];
	struct allowance logged;
	struct unlogged unlogged[REFUSALS];
	int64_t disk_ms;
	unsigned long long room;
};

const char *refusal_name(enum refusal kind)
{
	static const char *const names[REFUSALS] = {[REFUSED_EVIDENCE] = "attest", [REFUSED_RELEASE] = "resource", [REFUSED_CALLER] = "admin",
						    [REFUSED_UNREAD] = "too-many", [REFUSED_SESSION] = "session"};
	return names[kind];
}

struct limits *limits_new(const struct limit_settings *s, const char *dir)
{
	struct limits *l = calloc(1, sizeof *l);
	if (!l)
		return NULL;
	l->s = *s;
	snprintf(l->dir, sizeof l->dir, "%s", dir);
	pthread_mutex_init(&l->lock, NULL);
	RAND_bytes((uint8_t *)&l->seed, sizeof l->seed);
	l->disk_ms = INT64_MIN / 2;
	return l;
}

void limits_free(struct limits *l)
{
	if (!l)
		return;
	pthread_mutex_destroy(&l->lock);
	free(l);
}

static void take(struct allowance *a, int64_t now, int64_t interval)
{
	a->whole_ms = (a->whole_ms > now ? a->whole_ms : now) + interval;
}

// Milliseconds until something is left; <= 0: there is.
static int64_t missing(const struct allowance *a, int64_t now, int64_t interval, unsigned int burst)
{
	return a->whole_ms - now - interval * (burst - 1);
}

static unsigned int seconds(int64_t ms)
{
	return ms <= 0 ? 0 : ms > 3600000 ? 3600 : (unsigned int)((ms + 999) / 1000);
}

// "10.0.0.7:4711", "[2001:db8::1]:4711", also "[::ffff:10.0.0.7]:4711".
static uint64_t key_of(const char *peer)
{
	uint8_t six[16] = {0}, four[4];
	char host[64];
	uint64_t key = 0;
	uint8_t bytes[8] = {0xff, 0xff, 0xff, 0xff};	// no /64 of anybody's begins so: a group's address is no source
	const char *from = peer + (*peer == '[');
	snprintf(host, sizeof host, "%.*s", (int)strcspn(from, *peer == '[' ? "]" : ":"), from);
	const char *v4 = strncmp(host, "::ffff:", 7) ? host : host + 7;
	if (inet_pton(AF_INET, v4, four) == 1)
		memcpy(bytes + 4, four, 4);
	else if (inet_pton(AF_INET6, host, six) == 1)
		memcpy(bytes, six, 8);
	memcpy(&key, bytes, 8);
	return key;
}

// With the lock held: this peer's entry; of those in its set, the one that is whole first makes room.
static struct peer *peer_of(struct limits *l, const char *peer)
{
	uint64_t key = key_of(peer ? peer : ""), hash = (key ^ l->seed) * 0x9e3779b97f4a7c15u;
	struct peer *set = l->peers[hash >> 54], *spare = set;
	for (int i = 0; i < WAYS; i++) {
		int64_t due = set[i].refusals.whole_ms > set[i].sessions.whole_ms ? set[i].refusals.whole_ms : set[i].sessions.whole_ms;
		int64_t least = spare->refusals.whole_ms > spare->sessions.whole_ms ? spare->refusals.whole_ms : spare->sessions.whole_ms;
		if (set[i].key == key && due)
			return &set[i];
		if (due < least)
			spare = &set[i];
	}
	*spare = (struct peer){.key = key};
	return spare;
}

static void note(struct limits *l, const char *peer, enum refusal kind)
{
	struct unlogged *u = &l->unlogged[kind];
	if (!u->count++) {
		u->since = time(NULL);
		snprintf(u->first, sizeof u->first, "%s", peer ? peer : "");
	}
	u->ever++;
	snprintf(u->last, sizeof u->last, "%s", peer ? peer : "");
}

unsigned int limits_ask(struct limits *l, const char *peer)
{
	int64_t now = clock_ms();
	pthread_mutex_lock(&l->lock);
	unsigned int wait = seconds(missing(&peer_of(l, peer)->refusals, now, REFUSAL_MS, l->s.refusals_per_peer));
	if (wait)
		note(l, peer, REFUSED_UNREAD);
	pthread_mutex_unlock(&l->lock);
	return wait;
}

unsigned int limits_begin(struct limits *l, const char *peer)
{
	int64_t now = clock_ms();
	pthread_mutex_lock(&l->lock);
	struct peer *p = peer_of(l, peer);
	unsigned int wait = seconds(missing(&p->refusals, now, REFUSAL_MS, l->s.refusals_per_peer));
	if (!wait)
		wait = seconds(missing(&p->sessions, now, SESSION_MS, l->s.sessions_per_peer));
	if (wait)
		note(l, peer, REFUSED_UNREAD);
	else
		take(&p->sessions, now, SESSION_MS);
	pthread_mutex_unlock(&l->lock);
	return wait;
}

void limits_attested(struct limits *l, const char *peer)
{
	pthread_mutex_lock(&l->lock);
	peer_of(l, peer)->sessions.whole_ms -= SESSION_MS;
	pthread_mutex_unlock(&l->lock);
}

void limits_unknown(struct limits *l, const char *peer)
{
	pthread_mutex_lock(&l->lock);
	note(l, peer, REFUSED_SESSION);
	pthread_mutex_unlock(&l->lock);
}

// With the lock held.
static bool disk_is_low(struct limits *l, int64_t now)
{
	struct statvfs v;
	if (now - l->disk_ms >= DISK_MS) {
		l->room = statvfs(l->dir, &v) ? 0 : (unsigned long long)v.f_bavail * v.f_frsize;
		l->disk_ms = now;
	}
	return l->room < (unsigned long long)l->s.disk_reserve_mib << 20;
}

bool limits_refused(struct limits *l, const char *peer, enum refusal kind)
{
	int64_t now = clock_ms();
	pthread_mutex_lock(&l->lock);
	struct allowance *a = &peer_of(l, peer)->refusals;
	if (missing(a, now, REFUSAL_MS, l->s.refusals_per_peer) <= 0)	// releases are refused without being asked first: nobody is in debt for hours
		take(a, now, REFUSAL_MS);
	bool single = kind != REFUSED_CALLER && missing(&l->logged, now, REFUSAL_MS, l->s.refusals_logged) <= 0 && !disk_is_low(l, now);
	if (single)
		take(&l->logged, now, REFUSAL_MS);
	else
		note(l, peer, kind);
	pthread_mutex_unlock(&l->lock);
	return single;
}

unsigned long long limits_disk(struct limits *l, bool *low)
{
	pthread_mutex_lock(&l->lock);
	*low = disk_is_low(l, clock_ms());
	unsigned long long room = l->room;
	pthread_mutex_unlock(&l->lock);
	return room;
}

unsigned long limits_unlogged(struct limits *l, enum refusal kind)
{
	pthread_mutex_lock(&l->lock);
	unsigned long n = l->unlogged[kind].ever;
	pthread_mutex_unlock(&l->lock);
	return n;
}

void limits_summarise(struct limits *l, struct broker *b, bool end)
{
	bool low;
	limits_disk(l, &low);
	for (int kind = 0; kind < REFUSALS; kind++) {
		struct fault f = {""};
		char since[32];
		pthread_mutex_lock(&l->lock);
		struct unlogged u = l->unlogged[kind];
		if (low && !end && time(NULL) - u.since < LOW_SUMMARY_S)
			u.count = 0;
		else
			l->unlogged[kind].count = 0;
		pthread_mutex_unlock(&l->lock);
		if (!u.count)
			continue;
		time_text(since, u.since);
		json_t *o = json_pack("{s:s, s:s, s:s, s:I, s:s, s:s, s:s}", "event", "refusals", "outcome", "refused", "kind", refusal_name((enum refusal)kind),
				      "count", (json_int_t)u.count, "since", since, "first_from", u.first, "last_from", u.last);
		log_warning("broker: %lu more refusals (%s) since %s, the last from %s", u.count, refusal_name((enum refusal)kind), since, u.last);
		if (o && !audit_log(b, NULL, o, &f))
			continue;
		log_alarm("broker: refusals could not be recorded: %s", f.text);
		pthread_mutex_lock(&l->lock);
		l->unlogged[kind].count += u.count;
		l->unlogged[kind].since = u.since;
		memcpy(l->unlogged[kind].first, u.first, sizeof u.first);
		pthread_mutex_unlock(&l->lock);
	}
}
