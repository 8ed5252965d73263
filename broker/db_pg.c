// SPDX-License-Identifier: Apache-2.0
// The PostgreSQL backend of db.h, over libpq, which is loaded when a database is such a URL. Takes no locks: the pool gives a connection
// to one thread at a time. Writers are SERIALIZABLE: the server finds what cannot be put in an order, and db.c runs it again.
#include "broker/db_backend.h"

#include <ctype.h>
#include <dlfcn.h>
#include <endian.h>
#include <errno.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <postgresql/libpq-fe.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/tls.h"

#define KEPT 128		// prepared statements
#define NAME "coffer-broker"	// by which the server knows our connections
#define CONNECT_S 5		// `connect_timeout`, unless the URL says another
#define MIGRATE_MS 600000	// a statement that changes a large table

enum { OID_BYTEA = 17, OID_INT8 = 20, OID_INT4 = 23, OID_TEXT = 25 };

struct connection {
	struct db_conn base;
	PGconn *pg;
	bool broken, silent;
	int silence_ms, wait_ms;	// that is waited for a server that says nothing: of this connection, and now
	const char *kept[KEPT];	// statement N is named "sN"
	unsigned int kept_count;
};

struct rows {
	struct db_rows base;
	PGresult *result;
	int at;			// the row it is on
};

#define LIBPQ(X) X(connectdbParams) X(finish) X(status) X(errorMessage) X(setNoticeProcessor) X(conninfoParse) X(conninfoFree) X(freemem) \
	X(setnonblocking) X(socket) X(flush) X(consumeInput) X(isBusy) X(getResult) \
	X(sendQuery) X(sendPrepare) X(sendQueryPrepared) X(resultStatus) X(resultErrorField) X(clear) X(cmdStatus) X(cmdTuples) X(ntuples) X(nfields) \
	X(getisnull) X(ftype) X(getvalue) X(getlength) X(host) X(hostaddr) X(sslInUse) X(conninfo) X(transactionStatus) X(parameterStatus) X(sslStruct)

static struct {
#define X(name) typeof(&PQ##name) name;
	LIBPQ(X)
#undef X
} pq;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool loaded;

static void load(void)
{
	void *so = dlopen("libpq.so.5", RTLD_NOW | RTLD_LOCAL);
	loaded = so != NULL;
#define X(name) loaded = loaded && (pq.name = (typeof(pq.name))dlsym(so, "PQ" #name)) != NULL;
	LIBPQ(X)
#undef X
}

static struct connection *of(struct db_conn *c)
{
	return (struct connection *)c;
}

static int of_sqlstate(const char *s)
{
	static const struct {
		const char *state;
		int err;
	} known[] = {
		{"40001", -EAGAIN}, {"40P01", -EAGAIN}, {"55P03", -EAGAIN},	// another transaction was in the way
		{"57014", -ETIMEDOUT}, {"53100", -ENOSPC}, {"53", -ENOTCONN}, {"57P", -ENOTCONN}, {"08", -ENOTCONN}, {"25P03", -ENOTCONN},
		{"23505", -EEXIST}, {"25006", -EROFS}, {"P0001", -EPERM},
	};
	for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
		if (!strncmp(s, known[i].state, strlen(known[i].state)))
			return known[i].err;
	}
	return -EIO;
}

// libpq's messages end lines; ours are one.
static int say(struct fault *f, int err, const char *what, const char *why)
{
	char text[600];
	size_t n = 0;
	for (; why[n] && n < sizeof text - 1; n++)
		text[n] = (unsigned char)why[n] < ' ' ? ' ' : why[n];
	while (n && text[n - 1] == ' ')
		n--;
	text[n] = '\0';
	return fault_set(f, err, "%s: %s", what, text);
}

// Until there is something to read, or room to write: a server that hangs, or is stopped, keeps its connections alive and answers nothing.
static bool wait_for(struct connection *c, short events)
{
	struct pollfd p = {.fd = pq.socket(c->pg), .events = events};
	SSL *ssl = pq.sslStruct(c->pg, "OpenSSL");
	if ((events & POLLIN) && ssl && SSL_pending(ssl) > 0)	// the rest of a record, which the socket has given already
		return true;
	int64_t until = clock_ms() + c->wait_ms, left;
	int n = -1;
	while (n < 0 && (left = until - clock_ms()) > 0) {
		n = poll(&p, 1, (int)left);
		if (n < 0 && errno != EINTR)
			break;
	}
	c->silent |= n == 0 || (n < 0 && errno == EINTR);
	return n > 0;
}

// What came of what was sent: of several statements the last one's, or what failed. NULL: the connection is of no more use.
static PGresult *answer(struct connection *c, int sent)
{
	PGresult *last = NULL, *r;
	int more = sent ? pq.flush(c->pg) : -1;
	while (more > 0) {	// the server may have to get rid of something first
		more = wait_for(c, POLLIN | POLLOUT) && pq.consumeInput(c->pg) ? pq.flush(c->pg) : -1;
	}
	while (!more) {
		while (!more && pq.isBusy(c->pg))
			more = wait_for(c, POLLIN) && pq.consumeInput(c->pg) ? 0 : -1;
		if (more || !(r = pq.getResult(c->pg)))
			break;
		if (last && pq.resultStatus(last) == PGRES_FATAL_ERROR) {
			pq.clear(r);
		} else {
			pq.clear(last);
			last = r;
		}
	}
	c->broken |= more != 0;
	if (more) {
		pq.clear(last);
		last = NULL;
	}
	return last;
}

// Consumes a result. 0 when it is what a statement without rows, or a query, gives.
static int check(struct connection *c, PGresult *r, struct fault *f)
{
	ExecStatusType s = r ? pq.resultStatus(r) : PGRES_FATAL_ERROR;
	if (c->silent)
		return fault_set(f, -ENOTCONN, "the broker's database does not answer: it has said nothing for %d s", c->wait_ms / 1000);
	if (s == PGRES_COMMAND_OK || s == PGRES_TUPLES_OK)
		return 0;
	const char *detail = r ? pq.resultErrorField(r, PG_DIAG_MESSAGE_PRIMARY) : NULL;
	// What the server did not say, libpq says: that it is gone. Its connection need not know yet.
	const char *state = r ? pq.resultErrorField(r, PG_DIAG_SQLSTATE) : NULL;
	int err = pq.status(c->pg) != CONNECTION_OK || !state ? -ENOTCONN : of_sqlstate(state);
	c->broken |= err == -ENOTCONN;
	return say(f, err, err == -ENOTCONN ? "the broker's database is not reachable" : "the broker's database",
		   detail ? detail : pq.errorMessage(c->pg));
}

static int pg_script(struct db_conn *base, const char *sql, struct fault *f)
{
	struct connection *c = of(base);
	PGresult *r = answer(c, pq.sendQuery(c->pg, sql));
	int err = check(c, r, f);
	pq.clear(r);
	return err;
}

static void pg_disconnect(struct db_conn *base)
{
	pq.finish(of(base)->pg);
	free(base);
}

static void say_nothing(void *ctx, const char *message)
{
	(void)ctx;
	(void)message;
}

// Does each of the names, with commas between, say this machine?
static bool all_local(const char *names)
{
	for (const char *p = names; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL) {
		size_t n = strcspn(p, ",");
		if (n && *p != '/' && strncmp(p, "127.", 4) && (n != 3 || strncmp(p, "::1", 3)) && (n != 9 || strncmp(p, "localhost", 9)))
			return false;
	}
	return true;
}

static int other_machine(struct fault *f)
{
	return fault_set(f, -EACCES, "the broker's database is on another machine, which must prove who it is: add "
			 "?sslmode=verify-full&sslrootcert=FILE to its URL");
}

// Arguments, settings and logs are read by many: a password stands in a file of its own. And it is told to nobody who did not prove who he is,
// as far as the URL alone says (refuse_plain sees the rest).
static int check_url(const char *where, struct fault *f)
{
	const char *host = NULL, *address = NULL, *mode = getenv("PGSSLMODE"), *service = getenv("PGSERVICE");
	char *why = NULL;
	int err = 0;
	PQconninfoOption *o = pq.conninfoParse(where, &why);
	if (!o)
		err = say(f, -EINVAL, "database", why ? why : "not a URL of PostgreSQL");
	for (PQconninfoOption *p = o; p && p->keyword; p++) {
		if (!strcmp(p->keyword, "password") && p->val)
			err = fault_set(f, -EINVAL, "database: the URL has a password in it. Put it into a file: ?passfile=FILE in the URL, "
					"PGPASSFILE, ~/.pgpass, or use a client certificate (?sslcert=...&sslkey=...)");
		host = strcmp(p->keyword, "host") || !p->val ? host : p->val;
		address = strcmp(p->keyword, "hostaddr") || !p->val ? address : p->val;
		mode = strcmp(p->keyword, "sslmode") || !p->val ? mode : p->val;
		service = strcmp(p->keyword, "service") || !p->val ? service : p->val;
	}
	if (!err && !all_local(address ? address : host) && (mode ? strcmp(mode, "verify-full") != 0 : !service))
		err = other_machine(f);
	if (o)
		pq.conninfoFree(o);
	if (why)
		pq.freemem(why);
	return err;
}

// Over a network, whoever sits between would see sessions and could answer in the server's place.
static int refuse_plain(struct connection *c, struct fault *f)
{
	const char *host = pq.host(c->pg), *address = pq.hostaddr(c->pg);
	bool sure = !host || !*host || *host == '/' || (address && (!strncmp(address, "127.", 4) || !strcmp(address, "::1")));
	PQconninfoOption *o = sure ? NULL : pq.conninfo(c->pg);
	for (PQconninfoOption *p = o; p && p->keyword; p++)
		sure |= !strcmp(p->keyword, "sslmode") && p->val && !strcmp(p->val, "verify-full") && pq.sslInUse(c->pg);
	if (o)
		pq.conninfoFree(o);
	return sure ? 0 : other_machine(f);
}

// Twice as long as connecting may take, and longer than the server's own limit for a statement.
static int silence_of(struct connection *c)
{
	PQconninfoOption *o = pq.conninfo(c->pg);
	int seconds = 0;
	for (PQconninfoOption *p = o; p && p->keyword; p++)
		seconds = strcmp(p->keyword, "connect_timeout") || !p->val ? seconds : atoi(p->val);
	if (o)
		pq.conninfoFree(o);
	seconds = seconds < 1 || seconds > 300 ? CONNECT_S : seconds;
	return (2 * seconds + 2) * 1000;
}

static int pg_connect(struct db_conn **out, const char *where, struct fault *f)
{
	// A machine that is gone between a statement and its answer is missed by what keeps connections alive, after some ten seconds.
	const char *const names[] = {"connect_timeout", "tcp_user_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count",
				     "application_name", "client_encoding", "dbname", NULL};
	const char *const values[] = {"5", "10000", "5", "2", "3", NAME, "UTF8", where, NULL};
	pthread_once(&once, load);
	if (!loaded)
		return fault_set(f, -ENOENT, "PostgreSQL's client library is missing (apt-get install libpq5)");
	int err = check_url(where, f);
	if (err)
		return err;
	struct connection *c = calloc(1, sizeof *c);
	if (!c)
		return fault_set(f, -ENOMEM, "out of memory");
	c->base.backend = &db_postgres;
	c->pg = pq.connectdbParams(names, values, 1);
	if (pq.status(c->pg) != CONNECTION_OK) {
		err = say(f, -ENOTCONN, "the broker's database is not reachable", pq.errorMessage(c->pg));
		goto out;
	}
	pq.setNoticeProcessor(c->pg, say_nothing, NULL);
	c->wait_ms = c->silence_ms = silence_of(c);
	err = pq.setnonblocking(c->pg, 1) ? say(f, -ENOTCONN, "the broker's database", pq.errorMessage(c->pg)) : refuse_plain(c, f);
	const char *encoding = pq.parameterStatus(c->pg, "server_encoding");
	if (!err && (!encoding || strcmp(encoding, "UTF8") != 0))
		err = fault_set(f, -EINVAL, "the broker's database must have the encoding UTF8 (CREATE DATABASE ... ENCODING 'UTF8'), not %.40s",
				encoding ? encoding : "?");
	// A commit is on disk when it is told, whatever the server's own default is, or with its standbys as far as that asks for.
	if (!err)
		err = pg_script(&c->base, "SET statement_timeout = 10000; SET lock_timeout = 5000; SET idle_in_transaction_session_timeout = 20000;"
				"SET standard_conforming_strings = on;"
				"SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off'", f);
out:
	if (err)
		pg_disconnect(&c->base);
	else
		*out = &c->base;
	return err;
}

static int pg_begin(struct db_conn *base, enum db_mode mode, struct fault *f)
{
	of(base)->wait_ms = mode == DB_MIGRATE ? MIGRATE_MS : of(base)->silence_ms;
	return pg_script(base, mode == DB_READ ? "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" :
			 mode == DB_WRITE ? "BEGIN ISOLATION LEVEL SERIALIZABLE" :
			 "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL statement_timeout = 600000; SELECT pg_advisory_xact_lock(4851706420771201)", f);
}

static int pg_commit(struct db_conn *base, struct fault *f)
{
	struct connection *c = of(base);
	PGresult *r = answer(c, pq.sendQuery(c->pg, "COMMIT"));
	int err = check(c, r, f);
	if (!err && strcmp(pq.cmdStatus(r), "COMMIT") != 0)
		err = fault_set(f, -EIO, "the broker's database did not commit");
	pq.clear(r);
	return err;
}

static void pg_rollback(struct db_conn *base)
{
	if (!of(base)->broken && pq.status(of(base)->pg) == CONNECTION_OK && pq.transactionStatus(of(base)->pg) != PQTRANS_IDLE)
		pg_script(base, "ROLLBACK", NULL);
}

static bool pg_alive(struct db_conn *base)
{
	return !of(base)->broken && pq.status(of(base)->pg) == CONNECTION_OK && pq.transactionStatus(of(base)->pg) == PQTRANS_IDLE;
}

// `?` are $1, $2... here; none stands in a quoted string.
static char *numbered(const char *sql)
{
	char *out = NULL;
	size_t size = 0;
	unsigned int n = 0;
	FILE *to = open_memstream(&out, &size);
	if (!to)
		return NULL;
	for (const char *p = sql; *p; p++) {
		if (*p == '?')
			fprintf(to, "$%u", ++n);
		else
			fputc(*p, to);
	}
	return fclose(to) ? free(out), NULL : out;
}

static int prepare(struct connection *c, const char *sql, const struct db_value *v, int count, char name[16], struct fault *f)
{
	Oid types[DB_MAX_VALUES];
	unsigned int i = 0;
	while (i < c->kept_count && c->kept[i] != sql)
		i++;
	if (i < c->kept_count) {
		snprintf(name, 16, "s%u", i);
		return 0;
	}
	// The last place is for all that come after: the nameless statement.
	if (i < KEPT)
		snprintf(name, 16, "s%u", i);
	else
		*name = '\0';
	for (int k = 0; k < count; k++)
		types[k] = v[k].type == 'i' ? OID_INT8 : v[k].type == 't' ? OID_TEXT : v[k].type == 'b' ? OID_BYTEA : 0;
	char *text = numbered(sql);
	if (!text)
		return fault_set(f, -ENOMEM, "out of memory");
	PGresult *r = answer(c, pq.sendPrepare(c->pg, name, text, count, types));
	int err = check(c, r, f);
	pq.clear(r);
	free(text);
	if (!err && i < KEPT)
		c->kept[c->kept_count++] = sql;
	return err;
}

static int pg_run(struct db_conn *base, const char *sql, const struct db_value *v, int count, struct db_rows **rows, struct fault *f)
{
	struct connection *c = of(base);
	const char *p[DB_MAX_VALUES];
	int len[DB_MAX_VALUES], format[DB_MAX_VALUES];
	uint64_t number[DB_MAX_VALUES];
	char name[16];
	int err = prepare(c, sql, v, count, name, f);
	if (err)
		return err;
	for (int i = 0; i < count; i++) {
		number[i] = htobe64((uint64_t)v[i].i);
		p[i] = v[i].type == 'n' ? NULL : v[i].type == 'i' ? (const char *)&number[i] : v[i].p ? v[i].p : "";
		len[i] = v[i].type == 'i' ? 8 : (int)v[i].len;
		format[i] = v[i].type != 't';
	}
	PGresult *result = answer(c, pq.sendQueryPrepared(c->pg, name, count, p, len, format, 1));
	err = check(c, result, f);
	if (err || !rows) {
		err = err ? err : atoi(pq.cmdTuples(result));
		pq.clear(result);
		return err;
	}
	struct rows *r = calloc(1, sizeof *r);
	if (!r) {
		pq.clear(result);
		return fault_set(f, -ENOMEM, "out of memory");
	}
	*r = (struct rows){{base}, result, -1};
	*rows = &r->base;
	return 0;
}

static int pg_next(struct db_rows *base, struct fault *f)
{
	struct rows *r = (struct rows *)base;
	(void)f;
	return ++r->at < pq.ntuples(r->result);
}

static void pg_end(struct db_rows *base)
{
	struct rows *r = (struct rows *)base;
	pq.clear(r->result);
	free(r);
}

static void pg_value(struct db_rows *base, int column, struct db_value *out)
{
	struct rows *r = (struct rows *)base;
	if (r->at < 0 || r->at >= pq.ntuples(r->result) || column >= pq.nfields(r->result) || pq.getisnull(r->result, r->at, column))
		return;
	const char *p = pq.getvalue(r->result, r->at, column);
	size_t len = (size_t)pq.getlength(r->result, r->at, column);
	Oid type = pq.ftype(r->result, column);
	uint64_t wide;
	uint32_t narrow;
	if (type == OID_INT8 && len == 8) {
		memcpy(&wide, p, 8);
		*out = (struct db_value){.type = 'i', .i = (long long)be64toh(wide)};
	} else if (type == OID_INT4 && len == 4) {
		memcpy(&narrow, p, 4);
		*out = (struct db_value){.type = 'i', .i = (int32_t)be32toh(narrow)};
	} else if (type == OID_TEXT) {
		*out = (struct db_value){.type = 't', .p = p, .len = len};
	} else if (type == OID_BYTEA) {
		*out = (struct db_value){.type = 'b', .p = p, .len = len};
	}
}

// Those of the same role; of others the server does not tell what they are.
static int pg_others(struct db_conn *base, long long *count, struct fault *f)
{
	struct connection *c = of(base);
	PGresult *r = answer(c, pq.sendQuery(c->pg, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = '" NAME
					     "' AND pid <> pg_backend_pid()"));
	int err = check(c, r, f);
	if (!err)
		*count = pq.ntuples(r) == 1 ? strtoll(pq.getvalue(r, 0, 0), NULL, 10) : 0;
	pq.clear(r);
	return err;
}

const struct db_backend db_postgres = {
	.connections = DB_MAX_CONNECTIONS,
	.shared = true,
	.postgres = true,
	.connect = pg_connect,
	.disconnect = pg_disconnect,
	.begin = pg_begin,
	.commit = pg_commit,
	.rollback = pg_rollback,
	.alive = pg_alive,
	.script = pg_script,
	.run = pg_run,
	.next = pg_next,
	.end = pg_end,
	.value = pg_value,
	.others = pg_others,
};
