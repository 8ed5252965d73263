// SPDX-License-Identifier: Apache-2.0
// Growable text, string lists and sets, canonical JSON output (see text.h).
#include "image/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/fault.h"

static void out_of_memory(void)
{
	fputs("coffer: out of memory\n", stderr);
	_exit(70);
}

void *xmalloc(size_t size)
{
	void *p = malloc(size ? size : 1);

	if (!p)
		out_of_memory();
	return p;
}

void *xrealloc(void *p, size_t size)
{
	p = realloc(p, size ? size : 1);
	if (!p)
		out_of_memory();
	return p;
}

char *xstrdup(const char *s)
{
	return xstrndup(s, strlen(s));
}

char *xstrndup(const char *s, size_t n)
{
	char *copy = xmalloc(n + 1);

	memcpy(copy, s, n);
	copy[n] = '\0';
	return copy;
}

char *xasprintf(const char *format, ...)
{
	va_list args;
	char *s;
	int n;

	va_start(args, format);
	n = vasprintf(&s, format, args);
	va_end(args);
	if (n < 0)
		out_of_memory();
	return s;
}

void text_add(struct text *t, const void *bytes, size_t len)
{
	if (t->len + len + 1 > t->capacity) {
		size_t capacity = t->capacity ? t->capacity : 256;

		while (capacity < t->len + len + 1)
			capacity *= 2;
		t->data = xrealloc(t->data, capacity);
		t->capacity = capacity;
	}
	if (len)
		memcpy(t->data + t->len, bytes, len);
	t->len += len;
	t->data[t->len] = '\0';
}

void text_puts(struct text *t, const char *s)
{
	text_add(t, s, strlen(s));
}

void text_printf(struct text *t, const char *format, ...)
{
	va_list args;
	char *s;
	int n;

	va_start(args, format);
	n = vasprintf(&s, format, args);
	va_end(args);
	if (n < 0)
		out_of_memory();
	text_add(t, s, (size_t)n);
	free(s);
}

void text_json(struct text *t, const char *s)
{
	text_puts(t, "\"");
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '"' || c == '\\')
			text_printf(t, "\\%c", c);
		else if (c == '\n')
			text_puts(t, "\\n");
		else if (c < 0x20 || c == 0x7f)
			text_printf(t, "\\u%04x", c);
		else
			text_add(t, s, 1);
	}
	text_puts(t, "\"");
}

// The length of the character that begins here; 0: it is not UTF-8 (RFC 3629: shortest form, no surrogates, at most U+10FFFF).
static size_t utf8_length(const unsigned char *s, size_t n)
{
	size_t k = s[0] < 0x80 ? 1 : s[0] >= 0xc2 && s[0] < 0xe0 ? 2 : s[0] >= 0xe0 && s[0] < 0xf0 ? 3 : s[0] >= 0xf0 && s[0] < 0xf5 ? 4 : 0;

	if (!k || k > n)
		return 0;
	for (size_t i = 1; i < k; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0) || (s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90))
		return 0;
	return k;
}

void text_json_bytes(struct text *t, const char *s, size_t n)
{
	text_puts(t, "\"");
	for (size_t at = 0, k; at < n; at += k ? k : 1) {
		unsigned char c = (unsigned char)s[at];

		k = utf8_length((const unsigned char *)s + at, n - at);
		if (!k)
			text_puts(t, "\xef\xbf\xbd");
		else if (c == '"' || c == '\\')
			text_printf(t, "\\%c", c);
		else if (c < 0x20 || c == 0x7f)
			text_printf(t, "\\u%04x", c);
		else
			text_add(t, s + at, k);
	}
	text_puts(t, "\"");
}

void text_free(struct text *t)
{
	free(t->data);
	*t = (struct text){0};
}

void string_list_add(struct string_list *l, const char *s)
{
	if (l->count == l->capacity) {
		l->capacity = l->capacity ? l->capacity * 2 : 8;
		l->items = xrealloc(l->items, l->capacity * sizeof(*l->items));
	}
	l->items[l->count++] = xstrdup(s);
}

bool string_list_has(const struct string_list *l, const char *s)
{
	for (size_t i = 0; i < l->count; i++)
		if (!strcmp(l->items[i], s))
			return true;
	return false;
}

static int compare_strings(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

void string_list_sort(struct string_list *l)
{
	if (l->count)
		qsort(l->items, l->count, sizeof(*l->items), compare_strings);
}

void string_list_free(struct string_list *l)
{
	for (size_t i = 0; i < l->count; i++)
		free(l->items[i]);
	free(l->items);
	*l = (struct string_list){0};
}

void text_json_list(struct text *t, const struct string_list *l)
{
	text_puts(t, "[");
	for (size_t i = 0; i < l->count; i++) {
		if (i)
			text_puts(t, ",");
		text_json(t, l->items[i]);
	}
	text_puts(t, "]");
}

static size_t set_find(const struct string_set *s, const char *key)
{
	uint64_t hash = 14695981039346656037ull;
	size_t at;

	for (const char *c = key; *c; c++)
		hash = (hash ^ (unsigned char)*c) * 1099511628211ull;
	at = (size_t)(hash ^ hash >> 32) & (s->capacity - 1);
	while (s->slots[at].key && strcmp(s->slots[at].key, key) != 0)
		at = (at + 1) & (s->capacity - 1);
	return at;
}

bool string_set_add(struct string_set *s, const char *key, const char *value)
{
	size_t at;

	if ((s->count + 1) * 2 > s->capacity) {
		struct string_set bigger = {.capacity = s->capacity ? s->capacity * 2 : 64};

		bigger.slots = xmalloc(bigger.capacity * sizeof(*bigger.slots));
		memset(bigger.slots, 0, bigger.capacity * sizeof(*bigger.slots));
		for (size_t i = 0; i < s->capacity; i++)
			if (s->slots[i].key)
				bigger.slots[set_find(&bigger, s->slots[i].key)] = s->slots[i];
		bigger.count = s->count;
		free(s->slots);
		*s = bigger;
	}
	at = set_find(s, key);
	if (s->slots[at].key)
		return false;
	s->slots[at].key = xstrdup(key);
	s->slots[at].value = value ? xstrdup(value) : NULL;
	s->count++;
	return true;
}

bool string_set_has(const struct string_set *s, const char *key)
{
	return s->capacity && s->slots[set_find(s, key)].key;
}

const char *string_set_get(const struct string_set *s, const char *key)
{
	return s->capacity ? s->slots[set_find(s, key)].value : NULL;
}

void string_set_free(struct string_set *s)
{
	for (size_t i = 0; i < s->capacity; i++) {
		free(s->slots[i].key);
		free(s->slots[i].value);
	}
	free(s->slots);
	*s = (struct string_set){0};
}

bool starts_with(const char *s, const char *prefix)
{
	return !strncmp(s, prefix, strlen(prefix));
}

bool ends_with(const char *s, const char *suffix)
{
	size_t n = strlen(s), m = strlen(suffix);

	return n >= m && !memcmp(s + n - m, suffix, m);
}

char *human_size(char out[32], uint64_t bytes)
{
	static const char *const unit[] = {"B", "KB", "MB", "GB", "TB"};
	double value = (double)bytes;
	unsigned int i = 0;

	while (value >= 999.5 && i < 4) {
		value /= 1000;
		i++;
	}
	snprintf(out, 32, i && value < 99.95 ? "%.1f %s" : "%.0f %s", value, unit[i]);
	return out;
}

char *hex_text(char *out, const uint8_t *bytes, size_t len)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < len; i++) {
		out[2 * i] = digits[bytes[i] >> 4];
		out[2 * i + 1] = digits[bytes[i] & 15];
	}
	out[2 * len] = '\0';
	return out;
}

unsigned int edit_distance(const char *a, const char *b)
{
	enum { LONGEST = 48 };
	unsigned int cost[LONGEST + 1][LONGEST + 1];
	size_t n = strlen(a), m = strlen(b);

	if (n > LONGEST || m > LONGEST)
		return LONGEST;
	for (size_t i = 0; i <= n; i++)
		cost[i][0] = (unsigned int)i;
	for (size_t j = 0; j <= m; j++)
		cost[0][j] = (unsigned int)j;
	for (size_t i = 1; i <= n; i++) {
		for (size_t j = 1; j <= m; j++) {
			unsigned int best = cost[i - 1][j - 1] + (a[i - 1] != b[j - 1]);

			if (cost[i - 1][j] + 1 < best)
				best = cost[i - 1][j] + 1;
			if (cost[i][j - 1] + 1 < best)
				best = cost[i][j - 1] + 1;
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] && cost[i - 2][j - 2] + 1 < best)
				best = cost[i - 2][j - 2] + 1;
			cost[i][j] = best;
		}
	}
	return cost[n][m];
}

int text_read_file(struct text *out, const char *path, size_t limit, struct fault *p)
{
	char buffer[65536];
	ssize_t n;
	int fd, err = 0;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return fault_errno(p, errno, "cannot open %s", path);
	while ((n = read(fd, buffer, sizeof(buffer))) != 0) {
		if (n < 0) {
			if (errno == EINTR)
				continue;
			err = fault_errno(p, errno, "cannot read %s", path);
			goto out;
		}
		if (out->len + (size_t)n > limit) {
			err = fault_set(p, -EFBIG, "%s is larger than %zu bytes", path, limit);
			goto out;
		}
		text_add(out, buffer, (size_t)n);
	}
	text_add(out, "", 0);
out:
	close(fd);
	return err;
}

int text_write_file(const char *path, const void *bytes, size_t len, struct fault *p)
{
	char *temporary = xasprintf("%s.tmp.%d", path, (int)getpid());
	const char *at = bytes;
	int fd, err = 0;

	fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0) {
		err = fault_errno(p, errno, "cannot create %s", path);
		free(temporary);
		return err;
	}
	while (len) {
		ssize_t n = write(fd, at, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			err = fault_errno(p, errno, "cannot write %s", path);
			break;
		}
		at += n;
		len -= (size_t)n;
	}
	if (!err && fchmod(fd, 0644) < 0)
		err = fault_errno(p, errno, "cannot set the mode of %s", path);
	if (close(fd) < 0 && !err)
		err = fault_errno(p, errno, "cannot write %s", path);
	if (!err && rename(temporary, path) < 0)
		err = fault_errno(p, errno, "cannot rename %s", path);
	if (err)
		unlink(temporary);
	free(temporary);
	return err;
}
