// SPDX-License-Identifier: Apache-2.0
// `coffer collateral serve`: a mirror of Intel's, AMD's and Hygon's services for tools that are to be pointed at one place: their paths,
// their headers, from a store; what is missing or about to end is fetched first, unless it is to stay offline. Requests run in threads
// of the server; mirror.lock guards the list of what is being fetched and what failed lately, and is never held across a fetch.
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "attest/cert.h"
#include "attest/json.h"
#include "cli/cli.h"
#include "cli/collateral.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "lib/http_server.h"
#include "lib/tls.h"

#define DEFAULT_LISTEN "127.0.0.1:8081"
#define FLIGHTS 64
#define WORKERS 32
// Who waits for a maker's answer keeps one of them; the others give what is there.
#define MAX_WAITING (WORKERS / 2)
// What failed is not asked for again for so long: clients that try again and again are not passed on to the makers.
#define PENANCE_S 60

struct flight {
	char name[COLLATERAL_MAX_NAME];	// "": free
	bool flying;
	int64_t until_ms;		// !flying: it failed, and why. Of the clock that nobody sets back: a step would make the wait a day
	int err;
	char why[512];
};

struct mirror {
	struct collateral_store *store;
	struct origins origins;
	bool offline;
	long within_s;
	pthread_mutex_t lock;
	pthread_cond_t landed;
	struct flight flights[FLIGHTS];
	unsigned int served, fetched, failed;	// under lock
	unsigned int waiting;			// requests that fetch, or wait for one that does; under lock
};

static struct flight *flight_of(struct mirror *m, const char *name, int64_t now_ms)
{
	struct flight *spare = NULL;
	for (unsigned int i = 0; i < FLIGHTS; i++) {
		struct flight *l = &m->flights[i];
		if (l->name[0] && !strcmp(l->name, name))
			return l;
		if (!l->name[0] || (!l->flying && (l->until_ms <= now_ms || !spare)))
			spare = l;
	}
	if (spare) {
		memset(spare, 0, sizeof *spare);
		snprintf(spare->name, sizeof spare->name, "%s", name);
	}
	return spare;
}

// Fetches an item, once for all who ask for it meanwhile. 0 or why it is not there now.
static int refresh(struct mirror *m, const struct collateral_key *k, struct fault *f)
{
	struct flight *l = NULL;
	bool waited = false, full;
	pthread_mutex_lock(&m->lock);
	full = m->waiting >= MAX_WAITING;
	m->waiting += !full;
	while (!full && (l = flight_of(m, k->name, clock_ms())) && l->flying) {
		pthread_cond_wait(&m->landed, &m->lock);
		waited = true;
	}
	if (!l || l->until_ms > clock_ms() || waited) {
		int err = !l ? fault_set(f, -EAGAIN, "too much is being fetched already") : l->until_ms ? fault_set(f, l->err, "%s", l->why) : 0;
		if (l && !l->until_ms)
			l->name[0] = '\0';	// somebody else's fetch went well
		m->waiting -= !full;
		pthread_mutex_unlock(&m->lock);
		return err;
	}
	l->flying = true;
	pthread_mutex_unlock(&m->lock);
	int err = origin_fetch(m->store, &m->origins, k, NULL, f);
	if (err == -ESTALE)	// theirs is older: ours will do
		err = 0;
	pthread_mutex_lock(&m->lock);
	l->flying = false;
	l->until_ms = err ? clock_ms() + PENANCE_S * 1000 : 0;
	l->err = err;
	snprintf(l->why, sizeof l->why, "%s", f->text);
	if (!err)
		l->name[0] = '\0';
	m->waiting--;
	m->fetched += !err;
	m->failed += err != 0;
	pthread_cond_broadcast(&m->landed);
	pthread_mutex_unlock(&m->lock);
	if (err)
		fprintf(stderr, "coffer: %s\n", f->text);
	return err;
}

__attribute__((format(printf, 3, 4))) static void refuse(struct http_response *r, int status, const char *format, ...)
{
	char why[1200];
	va_list ap;
	va_start(ap, format);
	vsnprintf(why, sizeof why, format, ap);
	va_end(ap);
	json_t *o = json_pack("{s:s}", "error", why);
	r->status = status;
	r->body = o ? json_dumps(o, JSON_COMPACT) : NULL;
	r->body_len = r->body ? strlen(r->body) : 0;
	json_decref(o);
}

// Lines of PEM in a header, as Intel writes them: percent-encoded.
static char *chain_header(const char *name, const struct collateral_item *i, bool stale)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~";
	char *out = malloc(3 * i->chain_len + strlen(name) + 128);
	size_t n = 0;
	if (!out)
		return NULL;
	if (i->chain && *name) {
		n = (size_t)sprintf(out, "%s: ", name);
		for (size_t c = 0; c < i->chain_len; c++) {
			if (strchr(plain, i->chain[c]))
				out[n++] = i->chain[c];
			else
				n += (size_t)sprintf(out + n, "%%%02X", (unsigned char)i->chain[c]);
		}
		n += (size_t)sprintf(out + n, "\r\n");
	}
	if (stale)
		n += (size_t)sprintf(out + n, "Warning: 110 coffer \"Response is Stale\"\r\n");
	out[n] = '\0';
	return out;
}

static char *pem_of_list(const struct collateral_item *i, size_t *len)
{
	X509_CRL *crl = cert_crl_read(i->body, i->body_len);
	BIO *bio = BIO_new(BIO_s_mem());
	char *text, *out = NULL;
	if (crl && bio && PEM_write_bio_X509_CRL(bio, crl) == 1) {
		*len = (size_t)BIO_get_mem_data(bio, &text);
		out = malloc(*len + 1);
		if (out)
			memcpy(out, text, *len);
	}
	BIO_free(bio);
	X509_CRL_free(crl);
	ERR_clear_error();
	return out;
}

static void answer(const struct http_head *h, struct collateral_item *i, bool stale, struct http_response *r)
{
	const char *header = "";
	bool hex = i->key.kind == COLLATERAL_ROOT_CRL && strcmp(h->path, "/IntelSGXRootCA.der");
	r->content_type = "application/octet-stream";
	switch (i->key.kind) {
	case COLLATERAL_TCB_INFO:
		r->content_type = "application/json";
		header = "TCB-Info-Issuer-Chain";
		break;
	case COLLATERAL_QE_IDENTITY:
		r->content_type = "application/json";
		header = "SGX-Enclave-Identity-Issuer-Chain";
		break;
	case COLLATERAL_PCK_CRL:
		header = "SGX-PCK-CRL-Issuer-Chain";
		r->content_type = "application/pkix-crl";
		if (!strstr(h->query, "encoding=der")) {
			r->content_type = "application/x-pem-file";
			r->body = pem_of_list(i, &r->body_len);
		}
		break;
	case COLLATERAL_ROOT_CRL:
	case COLLATERAL_AMD_CRL:
		r->content_type = "application/pkix-crl";
		break;
	case COLLATERAL_AMD_CHAIN:
		r->content_type = "application/x-pem-file";
		break;
	default:
		break;
	}
	if (hex && (r->body = malloc(2 * i->body_len + 1))) {	// as caches of Intel's service give it
		hex_encode(r->body, i->body, i->body_len);
		r->body_len = 2 * i->body_len;
	}
	r->headers = chain_header(header, i, stale);
	if (!r->body) {
		r->body = i->body;
		r->body_len = i->body_len;
		i->body = NULL;
	}
}

static void serve_item(struct mirror *m, const struct http_head *h, struct http_response *r)
{
	char target[2 * HTTP_MAX_TARGET + 2];
	struct collateral_item i;
	struct collateral_key k;
	struct fault f = {""};
	time_t now = time(NULL);
	snprintf(target, sizeof target, "%s%s%s", h->path, *h->query ? "?" : "", h->query);
	if (collateral_key_read(target, &k, &f)) {
		refuse(r, strstr(f.text, "no path of") ? 404 : 400, "%s", f.text);
		return;
	}
	int err = collateral_get(m->store, &k, &i, &f);
	bool there = !err, ending = there && i.expires >= 0 && i.expires < now + m->within_s;
	if ((!there || ending) && !m->offline) {
		err = refresh(m, &k, &f);
		if (!err) {
			if (there)
				collateral_item_free(&i);
			err = collateral_get(m->store, &k, &i, &f);
			there = !err;
		}
	}
	if (!there) {
		int status = m->offline || err == -ENOENT ? 404 : err == -EAGAIN ? 503 : 502;
		if (status == 503)
			r->headers = strdup("Retry-After: 5\r\n");
		refuse(r, status, "%s", m->offline && err == -ENOENT ? "this mirror is offline and does not have it" : f.text);
		return;
	}
	answer(h, &i, i.expires >= 0 && i.expires < now, r);
	collateral_item_free(&i);
	pthread_mutex_lock(&m->lock);
	m->served++;
	pthread_mutex_unlock(&m->lock);
}

static int list_one(void *ctx, const char *file, const struct collateral_item *i, const char *why)
{
	char about[200];
	json_t *o = json_object();
	set_text(o, "file", file);
	if (i) {
		time_t now = time(NULL);
		set_text(o, "about", collateral_about(&i->key, about));
		set_text(o, "path", i->key.path);
		set_text(o, "source", i->source);
		set_time(o, "fetched", i->fetched);
		if (i->expires >= 0) {
			set_time(o, "expires", i->expires);
			set_number(o, "days_left", (i->expires - now) / 86400);
		}
		set_text(o, "state", i->expires >= 0 && i->expires < now ? "expired" : "good");
	} else {
		set_text(o, "state", "damaged");
		set_text(o, "why", why);
	}
	json_array_append_new(ctx, o);
	return 0;
}

// Text into a page.
static void html(FILE *out, const char *s)
{
	for (; s && *s; s++) {
		if (*s == '<' || *s == '>' || *s == '&' || *s == '"')
			fprintf(out, "&#%d;", *s);
		else
			fputc(*s, out);
	}
}

static void cell(FILE *out, const json_t *o, const char *name)
{
	fputs("<td>", out);
	html(out, json_string_value(json_object_get(o, name)));
}

static void page(const json_t *status, struct http_response *r)
{
	size_t i;
	json_t *o;
	FILE *out = open_memstream(&r->body, &r->body_len);
	if (!out) {
		refuse(r, 500, "out of memory");
		return;
	}
	fputs("<!DOCTYPE html><html lang=en><meta charset=utf-8><title>Collateral</title><style>body{font:15px sans-serif;margin:2em}"
	      "td,th{text-align:left;padding:.2em 1em .2em 0}.expired,.damaged{color:#b00;font-weight:bold}</style><h1>Collateral</h1><p>", out);
	html(out, json_string_value(json_object_get(status, "store")));
	fprintf(out, ", %s. The same for programs: <a href=/status.json>/status.json</a>.<table><tr><th>State<th>What<th>Until<th>Fetched<th>From",
		json_is_true(json_object_get(status, "offline")) ? "offline" : "fetched from the makers where it is missing or about to end");
	json_array_foreach(json_object_get(status, "items"), i, o) {
		const char *state = json_string_value(json_object_get(o, "state"));
		fprintf(out, "<tr><td class=%s>%s", state, state);
		cell(out, o, json_object_get(o, "about") ? "about" : "file");
		cell(out, o, "expires");
		cell(out, o, "fetched");
		cell(out, o, json_object_get(o, "source") ? "source" : "why");
	}
	fputs("</table></html>\n", out);
	fclose(out);
	r->content_type = "text/html; charset=utf-8";
}

static void serve_status(struct mirror *m, bool for_people, struct http_response *r)
{
	struct fault f = {""};
	json_t *items = json_array();
	if (collateral_each(m->store, list_one, items, &f))
		refuse(r, 500, "%s", f.text);
	pthread_mutex_lock(&m->lock);
	json_t *o = json_pack("{s:s, s:b, s:i, s:i, s:i, s:o}", "store", collateral_dir(m->store), "offline", m->offline, "served", (int)m->served,
			      "fetched", (int)m->fetched, "failed", (int)m->failed, "items", items);
	pthread_mutex_unlock(&m->lock);
	if (r->body)
		;
	else if (for_people)
		page(o, r);
	else if ((r->body = json_dumps(o, JSON_COMPACT)))
		r->body_len = strlen(r->body);
	json_decref(o);
}

static void handle(void *ctx, const struct http_request *request, struct http_response *r)
{
	struct mirror *m = ctx;
	const struct http_head *h = request->head;
	if (strcmp(h->method, "GET"))
		refuse(r, 405, "only GET is served");
	else if (!strcmp(h->path, "/status.json"))
		serve_status(m, false, r);
	else if (!strcmp(h->path, "/status") || !strcmp(h->path, "/"))
		serve_status(m, true, r);
	else
		serve_item(m, h, r);
}

// A certificate of its own beside the items, made once.
static int own_certificate(const char *dir, const char *address, char **cert, char **key, char path[PATH_MAX], struct fault *f)
{
	char key_path[PATH_MAX], names[256];
	size_t len;
	snprintf(path, PATH_MAX, "%s/.mirror-cert.pem", dir);
	snprintf(key_path, PATH_MAX, "%s/.mirror-key.pem", dir);
	if (!access(key_path, F_OK)) {
		int err = file_read_private(key_path, 1 << 16, key, &len, f);
		return err ? err : file_read(path, 1 << 16, cert, &len, f);
	}
	snprintf(names, sizeof names, "localhost,127.0.0.1,::1%s%s", strcmp(address, "127.0.0.1") && strcmp(address, "::1") ? "," : "",
		 strcmp(address, "127.0.0.1") && strcmp(address, "::1") ? address : "");
	int err = tls_make_certificate("Coffer mirror of collateral", names, cert, key, f);
	if (!err)
		err = file_write(path, *cert, strlen(*cert), 0644, false, f);
	return err ? err : file_write(key_path, *key, strlen(*key), 0600, false, f);
}

// "ADDRESS:PORT", IPv6 in brackets.
static bool split_listen(const char *text, char *address, size_t size, unsigned int *port)
{
	const char *colon = strrchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : 0;
	if (n > 1 && text[0] == '[' && text[n - 1] == ']') {
		text++;
		n -= 2;
	}
	if (!n || n >= size || !colon[1] || strspn(colon + 1, "0123456789") != strlen(colon + 1) || atol(colon + 1) > 65535)
		return false;
	memcpy(address, text, n);
	address[n] = '\0';
	*port = (unsigned int)atol(colon + 1);
	return true;
}

static int run(struct mirror *m, const char *dir, const char *listen, const char *cert_file, const char *key_file, struct fault *f)
{
	char *cert = NULL, *key = NULL, address[64], cert_path[PATH_MAX] = "";
	struct http_server_options o = {.handle = handle, .ctx = m, .address = address, .workers = WORKERS};
	struct http_server *server;
	sigset_t stop;
	size_t len, key_len = 0;
	int sig, err;
	if (!split_listen(listen, address, sizeof address, &o.port))
		return fault_set(f, -EINVAL, "--listen takes ADDRESS:PORT, a numeric address");
	sigemptyset(&stop);
	sigaddset(&stop, SIGINT);
	sigaddset(&stop, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &stop, NULL);
	signal(SIGPIPE, SIG_IGN);
	err = collateral_open(&m->store, dir, true, f);
	if (!err && cert_file) {
		err = file_read(cert_file, 1 << 18, &cert, &len, f);
		if (!err)
			err = file_read_private(key_file, 1 << 16, &key, &key_len, f);
		snprintf(cert_path, sizeof cert_path, "%s", cert_file);
	} else if (!err) {
		err = own_certificate(collateral_dir(m->store), address, &cert, &key, cert_path, f);
	}
	if (!err && !(o.tls = tls_server_context(cert, key, f)))
		err = -EINVAL;
	if (!err)
		err = http_server_start(&server, &o, f);
	free(cert);
	free_wiped(key, key ? strlen(key) : 0);
	if (!err) {
		bool ipv6 = strchr(address, ':');
		printf("Serving %s%s at https://%s%s%s:%u (/status). Its certificate: %s\n", collateral_dir(m->store), m->offline ? ", offline," : "",
		       ipv6 ? "[" : "", address, ipv6 ? "]" : "", http_server_port(server), cert_path);
		fflush(stdout);
		sigwait(&stop, &sig);
		http_server_stop(server);
	}
	SSL_CTX_free(o.tls);
	collateral_close(m->store);
	return err;
}

int collateral_serve(int argc, char **argv)
{
	static const struct option options[] = {
		ORIGIN_OPTIONS, {"store", required_argument, NULL, 's'}, {"listen", required_argument, NULL, 'l'}, {"offline", no_argument, NULL, 'o'},
		{"within", required_argument, NULL, 'w'}, {"certificate", required_argument, NULL, 'c'}, {"key", required_argument, NULL, 'k'}, {0},
	};
	// A client waits for a fetch: it is not to wait for long.
	struct mirror m = {.origins = {.timeout_s = 20, .patience_s = 5}, .lock = PTHREAD_MUTEX_INITIALIZER, .landed = PTHREAD_COND_INITIALIZER};
	const char *dir = NULL, *listen = DEFAULT_LISTEN, *cert = NULL, *key = NULL;
	long within = 2;
	struct fault f = {""};
	int option;

	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's': dir = optarg; break;
		case 'l': listen = optarg; break;
		case 'o': m.offline = true; break;
		case 'w': within = atol(optarg); break;
		case 'c': cert = optarg; break;
		case 'k': key = optarg; break;
		default:
			if (!origin_option(&m.origins, option, optarg))
				return cli_usage(&command_collateral, "wrong option of serve");
		}
	}
	if (optind != argc || within < 0 || within > 3650 || !cert != !key)
		return cli_usage(&command_collateral, "serve takes --store, --listen, --offline, --within DAYS, --certificate with --key");
	m.within_s = within * 86400;
	return run(&m, dir, listen, cert, key, &f) ? cli_fail(&f) : EXIT_OK;
}
