// SPDX-License-Identifier: Apache-2.0
// What the stream protocol between two gateways costs beside the connection's encryption: bytes through mux_output and mux_input of two ends, whose
// users say that they gave and took them but touch none, and AES-256-GCM over records of 16 KiB, encrypted once and decrypted once as the connection
// does. One thread; time is the thread's own; the median of rounds counts.
//
//	mux [-q]	name, unit, value, one line each; for the protocol also its part of the encryption's time
#include <openssl/evp.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tunnel/mux.h"

#define BUFFER (8 * 16384 - 4)
#define ROUNDS_MAX 15

static double gcm_ns;
static size_t per_pull = SIZE_MAX, taken, to_send;
static uint8_t source[65536];

static double now_s(void)
{
	struct timespec t;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int opened(void *ctx, struct mux_stream *s)
{
	(void)ctx;
	mux_accept(s);
	return 0;
}

static void nothing(void *ctx, struct mux_stream *s)
{
	(void)ctx, (void)s;
}

static ssize_t pull(void *ctx, struct mux_stream *s, uint8_t *buf, size_t size)
{
	(void)ctx, (void)s;
	size = size < per_pull ? size : per_pull;
	size = size < to_send ? size : to_send;
	if (!size)
		return -EAGAIN;
	(void)buf;
	to_send -= size;
	return (ssize_t)size;
}

static ssize_t take(void *ctx, struct mux_stream *s, const uint8_t *bytes, size_t len)
{
	(void)ctx, (void)s, (void)bytes;
	taken += len;
	return (ssize_t)len;
}

static void closed(void *ctx, struct mux_stream *s, enum mux_error why)
{
	(void)ctx, (void)s, (void)why;
}

static const struct mux_ops ops = {opened, nothing, pull, take, nothing, closed, NULL, NULL};

static size_t move(struct mux *from, struct mux *to, uint8_t *buf)
{
	size_t n = mux_output(from, buf, BUFFER);
	if (n && mux_input(to, buf, n))
		abort();
	return n;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return x < y ? -1 : x > y;
}

static void streams(const char *name, enum mux_kind kind, size_t count, size_t piece, size_t bytes, int rounds)
{
	static uint8_t buf[BUFFER];
	double t[ROUNDS_MAX];
	struct mux_options client = {.client = true}, server = {0};
	struct mux *a = mux_new(&client, &ops, NULL), *b = mux_new(&server, &ops, NULL);
	struct mux_stream **s = calloc(count, sizeof(*s));
	if (!a || !b || !s)
		abort();
	per_pull = piece;
	to_send = 0;
	for (size_t i = 0; i < count; i++) {
		if (mux_open(&s[i], a, kind, NULL, NULL))
			abort();
	}
	while (move(a, b, buf) + move(b, a, buf))
		;
	for (int r = 0; r < rounds; r++) {
		double from = now_s();
		taken = 0;
		to_send = bytes;
		for (size_t i = 0; i < count; i++)
			mux_ready(s[i]);
		while (move(a, b, buf) + move(b, a, buf))
			;
		t[r] = now_s() - from;
		if (taken != bytes)
			abort();
	}
	qsort(t, (size_t)rounds, sizeof(double), by_value);
	double ns = t[rounds / 2] * 1e9 / ((double)bytes / 1024);
	printf("%s\tns/KiB\t%.2f\t%.2f %%\n", name, ns, 100 * ns / gcm_ns);
	mux_free(a);
	mux_free(b);
	free(s);
}

static void gcm(size_t bytes, int rounds)
{
	static uint8_t out[16384 + 16], back[16384];
	uint8_t key[32] = {1}, iv[12] = {2}, tag[16];
	double t[ROUNDS_MAX];
	EVP_CIPHER_CTX *e = EVP_CIPHER_CTX_new(), *d = EVP_CIPHER_CTX_new();
	if (!e || !d || EVP_EncryptInit_ex(e, EVP_aes_256_gcm(), NULL, key, iv) != 1 || EVP_DecryptInit_ex(d, EVP_aes_256_gcm(), NULL, key, iv) != 1)
		abort();
	for (int r = 0; r < rounds; r++) {
		double from = now_s();
		for (size_t left = bytes / 16384; left; left--) {
			int n, good = EVP_EncryptInit_ex(e, NULL, NULL, NULL, iv);
			good &= EVP_EncryptUpdate(e, out, &n, source, 16384) & EVP_EncryptFinal_ex(e, out + 16384, &n);
			good &= EVP_CIPHER_CTX_ctrl(e, EVP_CTRL_GCM_GET_TAG, 16, tag);
			good &= EVP_DecryptInit_ex(d, NULL, NULL, NULL, iv) & EVP_DecryptUpdate(d, back, &n, out, 16384);
			good &= EVP_CIPHER_CTX_ctrl(d, EVP_CTRL_GCM_SET_TAG, 16, tag) & EVP_DecryptFinal_ex(d, back, &n);
			if (good != 1)
				abort();
		}
		t[r] = now_s() - from;
	}
	EVP_CIPHER_CTX_free(e);
	EVP_CIPHER_CTX_free(d);
	qsort(t, (size_t)rounds, sizeof(double), by_value);
	gcm_ns = t[rounds / 2] * 1e9 / ((double)bytes / 1024);
	printf("aes-256-gcm\tns/KiB\t%.2f\n", gcm_ns);
}

int main(int argc, char **argv)
{
	bool quick = argc > 1 && !strcmp(argv[1], "-q");
	int rounds = quick ? 5 : ROUNDS_MAX;
	size_t bytes = quick ? 64u << 20 : 512u << 20;
	memset(source, 5, sizeof(source));
	gcm(bytes, rounds);
	streams("mux.1-stream", MUX_TCP, 1, SIZE_MAX, bytes, rounds);
	streams("mux.100-streams", MUX_TCP, 100, SIZE_MAX, bytes, rounds);
	streams("mux.10000-streams", MUX_TCP, 10000, SIZE_MAX, bytes, rounds);
	streams("mux.pieces-of-1-KiB", MUX_TCP, 100, 1024, bytes / 8, rounds);
	streams("mux.datagrams-of-1400", MUX_UDP, 4, 1400, bytes / 8, rounds);
	return 0;
}
