// SPDX-License-Identifier: Apache-2.0
// See http.h. Pure; no locks.
#include "lib/http.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

size_t http_head_length(const char *bytes, size_t len)
{
	const char *end = memmem(bytes, len, "\r\n\r\n", 4);
	return end ? (size_t)(end - bytes) + 4 : 0;
}

static int copy(char *out, size_t size, const char *from, size_t len)
{
	if (len >= size)
		return -E2BIG;
	memcpy(out, from, len);
	out[len] = '\0';
	return 0;
}

static bool is_token(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)s[i]) && (!s[i] || !strchr("!#$%&'*+-.^_`|~", s[i])))
			return false;
	}
	return len > 0;
}

static bool is_text(const char *s, size_t len)
{
	for (size_t i = 0; i < len; i++) {
		unsigned char c = (unsigned char)s[i];
		if ((c < ' ' && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

static int request_line(struct http_head *h, const char *s, size_t len)
{
	const char *end = s + len, *sp = memchr(s, ' ', len);
	if (!sp || !is_token(s, (size_t)(sp - s)))
		return -EINVAL;
	int err = copy(h->method, sizeof h->method, s, (size_t)(sp - s));
	const char *target = sp + 1, *sp2 = memchr(target, ' ', (size_t)(end - target));
	if (err || !sp2 || *target != '/')
		return err ? err : -EINVAL;
	for (const char *p = target; p < sp2; p++) {
		if ((unsigned char)*p <= ' ' || (unsigned char)*p >= 0x7f)
			return -EINVAL;
	}
	size_t version = (size_t)(end - sp2 - 1);
	if (version != 8 || (memcmp(sp2 + 1, "HTTP/1.1", 8) && memcmp(sp2 + 1, "HTTP/1.0", 8)))
		return -EINVAL;
	h->version_1_1 = h->keep_alive = sp2[8] == '1';
	const char *q = memchr(target, '?', (size_t)(sp2 - target));
	err = copy(h->path, sizeof h->path, target, (size_t)((q ? q : sp2) - target));
	if (!err && q)
		err = copy(h->query, sizeof h->query, q + 1, (size_t)(sp2 - q - 1));
	return err;
}

static int status_line(struct http_head *h, const char *s, size_t len)
{
	if (len < 12 || memcmp(s, "HTTP/1.", 7) || (s[7] != '0' && s[7] != '1') || s[8] != ' ' ||
	    !isdigit((unsigned char)s[9]) || !isdigit((unsigned char)s[10]) || !isdigit((unsigned char)s[11]) ||
	    (len > 12 && s[12] != ' '))
		return -EINVAL;
	h->keep_alive = s[7] == '1';
	h->status = (s[9] - '0') * 100 + (s[10] - '0') * 10 + (s[11] - '0');
	return 0;
}

static bool is_name(const char *s, size_t len, const char *name)
{
	return len == strlen(name) && !strncasecmp(s, name, len);
}

static int content_length(struct http_head *h, const char *v, size_t len)
{
	size_t n = 0;
	if (h->has_length || !len || len > 15)
		return -EINVAL;
	for (size_t i = 0; i < len; i++) {
		if (!isdigit((unsigned char)v[i]))
			return -EINVAL;
		n = n * 10 + (size_t)(v[i] - '0');
	}
	h->has_length = true;
	h->content_length = n;
	return 0;
}

#define WEEK_S (7 * 86400u)

// A date asks for nothing that a machine without a trusted clock could do.
static unsigned int seconds(const char *v, size_t len)
{
	unsigned int n = 0;
	for (size_t i = 0; i < len; i++) {
		if (!isdigit((unsigned char)v[i]))
			return 0;
		n = n < WEEK_S ? n * 10 + (unsigned int)(v[i] - '0') : n;
	}
	return n < WEEK_S ? n : WEEK_S;
}

// IMF-fixdate (RFC 9110 section 5.6.7): "Sun, 06 Nov 1994 08:49:37 GMT". 0 for anything else.
static int64_t date(const char *v, size_t len)
{
	static const char form[] = "aaa, 00 aaa 0000 00:00:00 GMT", months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	char text[sizeof form];
	struct tm t = {0};
	bool good = len == sizeof form - 1;
	for (size_t i = 0; i < len && good; i++)
		good = form[i] == '0' ? isdigit((unsigned char)v[i]) : form[i] == 'a' ? isalpha((unsigned char)v[i]) : v[i] == form[i];
	if (!good)
		return 0;
	memcpy(text, v, len);
	text[len] = text[11] = '\0';
	const char *month = strstr(months, text + 8);
	t.tm_mday = atoi(text + 5);
	t.tm_mon = month ? (int)(month - months) / 3 : 0;
	t.tm_year = atoi(text + 12) - 1900;
	t.tm_hour = atoi(text + 17);
	t.tm_min = atoi(text + 20);
	t.tm_sec = atoi(text + 23);
	if (!month || (month - months) % 3 || t.tm_year < 70 || t.tm_mday < 1 || t.tm_mday > 31 || t.tm_hour > 23 || t.tm_min > 59 || t.tm_sec > 60)
		return 0;
	return timegm(&t);
}

// "close" among the words of "keep-alive, close".
static bool has_word(const char *v, size_t len, const char *word)
{
	for (size_t i = 0; i < len;) {
		size_t n = 0;
		while (i + n < len && v[i + n] != ',')
			n++;
		const char *w = v + i;
		size_t k = n;
		while (k && (*w == ' ' || *w == '\t')) {
			w++;
			k--;
		}
		while (k && (w[k - 1] == ' ' || w[k - 1] == '\t'))
			k--;
		if (is_name(w, k, word))
			return true;
		i += n + 1;
	}
	return false;
}

static int header(struct http_head *h, const char *s, size_t len, bool reply)
{
	const char *colon = memchr(s, ':', len);
	if (!colon || !is_token(s, (size_t)(colon - s)))
		return -EINVAL;
	size_t name = (size_t)(colon - s);
	const char *v = colon + 1, *end = s + len;
	while (v < end && (*v == ' ' || *v == '\t'))
		v++;
	while (end > v && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	size_t n = (size_t)(end - v);
	if (!is_text(v, n))
		return -EINVAL;
	if (is_name(s, name, "Content-Length"))
		return content_length(h, v, n);
	if (is_name(s, name, "Transfer-Encoding"))
		return -EOPNOTSUPP;
	if (is_name(s, name, "Connection")) {
		if (has_word(v, n, "close"))
			h->keep_alive = false;
		return 0;
	}
	if (reply && is_name(s, name, "Retry-After")) {
		h->retry_after_s = seconds(v, n);
		return 0;
	}
	if (reply && is_name(s, name, "Date")) {
		h->date_s = date(v, n);
		return 0;
	}
	if (!reply && is_name(s, name, "Host")) {
		if (h->has_host)
			return -EINVAL;
		h->has_host = true;
		return copy(h->host, sizeof h->host, v, n);
	}
	if (is_name(s, name, "Expect")) {
		h->expects_continue = is_name(v, n, "100-continue");
		return 0;
	}
	const struct { const char *name; char *out; size_t size; } once[] = {
		{"Authorization", h->authorization, sizeof h->authorization},
		{"Origin", h->origin, sizeof h->origin}, {"Content-Digest", h->content_digest, sizeof h->content_digest},
		{"Signature-Input", h->signature_input, sizeof h->signature_input}, {"Signature", h->signature, sizeof h->signature},
	};
	for (size_t i = 0; i < sizeof once / sizeof *once; i++) {
		if (is_name(s, name, once[i].name))
			return once[i].out[0] ? -EINVAL : copy(once[i].out, once[i].size, v, n);
	}
	if (is_name(s, name, reply ? "Set-Cookie" : "Cookie") && !h->cookie[0])
		return copy(h->cookie, sizeof h->cookie, v, n);
	return 0;
}

int http_parse_head(struct http_head *h, const char *bytes, size_t len, bool reply)
{
	memset(h, 0, sizeof *h);
	if (len < 4 || memcmp(bytes + len - 4, "\r\n\r\n", 4))
		return -EINVAL;
	const char *p = bytes, *last = bytes + len - 2;
	for (bool first = true; p < last; first = false) {
		const char *end = memmem(p, (size_t)(last - p) + 2, "\r\n", 2);
		size_t n = (size_t)(end - p);
		if (memchr(p, '\n', n) || memchr(p, '\r', n))
			return -EINVAL;
		int err = !first ? header(h, p, n, reply) : reply ? status_line(h, p, n) : request_line(h, p, n);
		if (err)
			return err;
		p = end + 2;
	}
	return reply || h->has_host || !h->version_1_1 ? 0 : -EINVAL;
}

bool http_cookie(const char *header, const char *name, char *out, size_t size)
{
	size_t n = strlen(name);
	for (const char *p = header; *p;) {
		while (*p == ' ' || *p == ';')
			p++;
		size_t len = strcspn(p, ";");
		if (len > n && p[n] == '=' && !memcmp(p, name, n))
			return copy(out, size, p + n + 1, len - n - 1) == 0;
		p += len;
	}
	return false;
}

int http_parse_url(struct http_url *u, const char *url)
{
	memset(u, 0, sizeof *u);
	if (strncmp(url, "https://", 8))
		return -EINVAL;
	const char *p = url + 8;
	size_t n;
	u->ipv6 = *p == '[';
	if (u->ipv6) {
		n = strcspn(++p, "]");
		if (p[n] != ']' || copy(u->host, sizeof u->host, p, n))
			return -EINVAL;
		p += n + 1;
	} else {
		n = strcspn(p, ":/");
		if (copy(u->host, sizeof u->host, p, n))
			return -EINVAL;
		p += n;
	}
	for (const char *c = u->host; *c; c++) {
		if (!isalnum((unsigned char)*c) && !strchr(u->ipv6 ? ":.%" : "-._", *c))
			return -EINVAL;
	}
	if (!u->host[0])
		return -EINVAL;
	strcpy(u->port, "443");
	if (*p == ':') {
		n = strspn(++p, "0123456789");
		if (!n || copy(u->port, sizeof u->port, p, n) || atoi(u->port) > 65535)
			return -EINVAL;
		p += n;
	}
	if (*p && *p != '/')
		return -EINVAL;
	n = strlen(p);
	while (n && p[n - 1] == '/')
		n--;
	if (copy(u->prefix, sizeof u->prefix, p, n))
		return -EINVAL;
	for (const char *c = u->prefix; *c; c++) {
		if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7f)
			return -EINVAL;
	}
	return 0;
}
