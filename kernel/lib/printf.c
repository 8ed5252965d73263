// SPDX-License-Identifier: Apache-2.0
// Formatted text into a buffer (the subset that kstring.h lists) and number parsing. Takes no locks.
#include "kernel/include/kstring.h"
#include "kernel/include/uapi.h"

struct out {
	char *buf;
	size_t n, pos; // pos counts what does not fit, too
};

static inline void put(struct out *o, char c)
{
	if (o->pos < o->n)
		o->buf[o->pos] = c;
	o->pos++;
}

static void pad(struct out *o, char c, int count)
{
	while (count-- > 0)
		put(o, c);
}

enum { F_LEFT = 1, F_ZERO = 2, F_PLUS = 4, F_SPACE = 8, F_ALT = 16, F_UPPER = 32, F_NEG = 64 };

struct spec {
	int flags, width, precision;
};

static void put_number(struct out *o, u64 v, u32 base, struct spec sp)
{
	const char *digits = sp.flags & F_UPPER ? "0123456789ABCDEF" : "0123456789abcdef";
	char tmp[24], prefix[3];
	int n = 0, np = 0;

	if (sp.flags & F_NEG)
		prefix[np++] = '-';
	else if (sp.flags & F_PLUS)
		prefix[np++] = '+';
	else if (sp.flags & F_SPACE)
		prefix[np++] = ' ';
	if ((sp.flags & F_ALT) && base == 16 && v) {
		prefix[np++] = '0';
		prefix[np++] = sp.flags & F_UPPER ? 'X' : 'x';
	}
	if (v || sp.precision)
		do {
			tmp[n++] = digits[v % base];
			v /= base;
		} while (v);
	if ((sp.flags & F_ALT) && base == 8 && (!n || tmp[n - 1] != '0'))
		tmp[n++] = '0';

	int zeros = sp.precision > n ? sp.precision - n : 0;
	if (sp.precision < 0 && (sp.flags & F_ZERO) && !(sp.flags & F_LEFT))
		zeros = max(sp.width - n - np, 0);
	int fill = sp.width - n - np - zeros;
	if (!(sp.flags & F_LEFT))
		pad(o, ' ', fill);
	for (int i = 0; i < np; i++)
		put(o, prefix[i]);
	pad(o, '0', zeros);
	while (n)
		put(o, tmp[--n]);
	if (sp.flags & F_LEFT)
		pad(o, ' ', fill);
}

static void put_string(struct out *o, const char *s, struct spec sp)
{
	if (!s)
		s = "(null)";
	size_t len = sp.precision >= 0 ? strnlen(s, (size_t)sp.precision) : strlen(s);
	int fill = len < (size_t)max(sp.width, 0) ? sp.width - (int)len : 0;
	if (!(sp.flags & F_LEFT))
		pad(o, ' ', fill);
	for (size_t i = 0; i < len; i++)
		put(o, s[i]);
	if (sp.flags & F_LEFT)
		pad(o, ' ', fill);
}

static int parse_flags(const char **f)
{
	int flags = 0;
	for (;; (*f)++) {
		switch (**f) {
		case '-': flags |= F_LEFT; break;
		case '0': flags |= F_ZERO; break;
		case '+': flags |= F_PLUS; break;
		case ' ': flags |= F_SPACE; break;
		case '#': flags |= F_ALT; break;
		default: return flags;
		}
	}
}

// One directive; f stands behind the '%'. Returns what follows it.
static const char *directive(struct out *o, const char *f, va_list *ap)
{
	struct spec sp = { .flags = parse_flags(&f), .width = 0, .precision = -1 };
	if (*f == '*') {
		f++;
		sp.width = va_arg(*ap, int);
		if (sp.width < 0) {
			sp.flags |= F_LEFT;
			sp.width = -sp.width;
		}
	} else {
		while (*f >= '0' && *f <= '9')
			sp.width = sp.width * 10 + (*f++ - '0');
	}
	if (*f == '.') {
		f++;
		sp.precision = 0;
		if (*f == '*') {
			f++;
			sp.precision = va_arg(*ap, int);
		} else {
			while (*f >= '0' && *f <= '9')
				sp.precision = sp.precision * 10 + (*f++ - '0');
		}
	}
	int size = 0; // 0 int, 1 long, -1 short, -2 char
	for (;; f++) {
		if (*f == 'l' || *f == 'z' || *f == 'j' || *f == 't')
			size = 1;
		else if (*f == 'h')
			size--;
		else
			break;
	}
	switch (*f) {
	case 'd':
	case 'i': {
		s64 v = size == 1 ? va_arg(*ap, long) : va_arg(*ap, int);
		if (size == -1)
			v = (s16)v;
		else if (size == -2)
			v = (s8)v;
		if (v < 0)
			sp.flags |= F_NEG;
		put_number(o, v < 0 ? -(u64)v : (u64)v, 10, sp);
		break;
	}
	case 'u':
	case 'o':
	case 'x':
	case 'X': {
		u64 v = size == 1 ? va_arg(*ap, unsigned long) : va_arg(*ap, unsigned int);
		if (size == -1)
			v = (u16)v;
		else if (size == -2)
			v = (u8)v;
		if (*f == 'X')
			sp.flags |= F_UPPER;
		sp.flags &= ~(F_PLUS | F_SPACE);
		put_number(o, v, *f == 'u' ? 10 : *f == 'o' ? 8 : 16, sp);
		break;
	}
	case 'p':
		sp.flags |= F_ALT;
		put_number(o, (u64)va_arg(*ap, void *), 16, sp);
		break;
	case 'c': {
		char c[2] = { (char)va_arg(*ap, int), 0 };
		if (!(sp.flags & F_LEFT))
			pad(o, ' ', sp.width - 1);
		put(o, c[0]);
		if (sp.flags & F_LEFT)
			pad(o, ' ', sp.width - 1);
		break;
	}
	case 's':
		put_string(o, va_arg(*ap, const char *), sp);
		break;
	case '%':
		put(o, '%');
		break;
	case 0:
		return f;
	default: // not in the subset: shown as it is, so that the mistake is seen
		put(o, '%');
		put(o, *f);
	}
	return f + 1;
}

int vsnprintf(char *buf, size_t n, const char *fmt, va_list args)
{
	struct out o = { buf, n, 0 };
	va_list ap;
	va_copy(ap, args);
	while (*fmt) {
		if (*fmt == '%')
			fmt = directive(&o, fmt + 1, &ap);
		else
			put(&o, *fmt++);
	}
	va_end(ap);
	if (n)
		buf[min(o.pos, n - 1)] = 0;
	return (int)o.pos;
}

int snprintf(char *buf, size_t n, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int r = vsnprintf(buf, n, fmt, ap);
	va_end(ap);
	return r;
}

int scnprintf(char *buf, size_t n, const char *fmt, ...)
{
	va_list ap;
	va_start(ap, fmt);
	int r = vsnprintf(buf, n, fmt, ap);
	va_end(ap);
	if (!n)
		return 0;
	return min(r, (int)(n - 1));
}

static int digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return 99;
}

int kstrtou64(const char *s, const char **end, u64 *out)
{
	u64 v = 0;
	int base = 10;
	if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X') && digit(s[2]) < 16) {
		base = 16;
		s += 2;
	}
	if (digit(*s) >= base)
		return -EINVAL;
	for (; digit(*s) < base; s++)
		if (__builtin_mul_overflow(v, (u64)base, &v) || __builtin_add_overflow(v, (u64)digit(*s), &v))
			return -ERANGE;
	if (end)
		*end = s;
	else if (*s)
		return -EINVAL;
	*out = v;
	return 0;
}
