// SPDX-License-Identifier: Apache-2.0
// Fuzzes the record layer: what a peer with the right keys sends (each record any type and content), what one without them does (any bytes), and what becomes
// of records on their way. Data are only what the peer sealed as such, in its order; behind an error there are none.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ratls/layer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t secret[RECORD_SECRET_MAX] = "a secret";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t record[RECORD_HEAD + 65536 + 64], sealed[1 << 17], got[1 << 16];
	struct tls13_keys peer;
	const bool longer = size & 2;	// of the suites two, of two makes
	const uint16_t suite = longer ? 0x1302 : 0x1301;
	const size_t secret_len = longer ? 48 : 32;
	int fds[2];
	size_t want = 0, have = 0;
	ssize_t n = -EAGAIN;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds) || tls13_open_keys(&peer, suite, secret, secret_len, true))
		abort();
	struct layer *l = calloc(1, sizeof *l);
	if (!l || !(l->wire = wire_new(fds[0])))
		abort();
	l->alert = -1;
	l->server = size & 1;
	if (tls13_open_keys(&l->in, suite, secret, secret_len, false) || tls13_open_keys(&l->out, suite, secret, secret_len, true))
		abort();
	bool honest = true;
	while (size >= 4 && (n > 0 || n == -EAGAIN)) {
		uint8_t type = data[0], how = data[1];
		size_t len = (size_t)data[2] << 8 | data[3];
		data += 4;
		size -= 4;
		len = len < size ? len : size;
		ssize_t whole = (ssize_t)len;
		if (how & 1) {	// as it is
			memcpy(record, data, len);
			honest &= !len;
		} else {
			whole = tls13_seal(&peer, type, NULL, 0, data, len, record);
			if (whole < 0)
				abort();
			if (how & 2) {	// changed on its way
				record[(how >> 2) % whole] ^= type | 1;
				honest = false;
			} else {
				// A "type" of zero is padding, before which the content has the true one.
				size_t content = len;
				while (!type && content)
					type = data[--content];
				if (type == RECORD_HANDSHAKE && content == 5 && data[0] == 24 && tls13_update_keys(&peer))
					abort();
				if (honest && type == RECORD_DATA && want + content <= sizeof sealed) {
					memcpy(sealed + want, data, content);
					want += content;
				}
			}
		}
		data += len;
		size -= len;
		if (write(fds[1], record, (size_t)whole) != whole)
			break;
		while ((n = layer_read(l, got, (how >> 4) ? sizeof got : 1)) > 0) {
			if (have + (size_t)n > want || memcmp(sealed + have, got, (size_t)n))
				abort();	// nobody sealed that
			have += (size_t)n;
		}
		while (read(fds[1], got, sizeof got) > 0)	// its alerts and new keys
			;
	}
	if (n != -EAGAIN && n != 0 && layer_read(l, got, sizeof got) != n)
		abort();	// an error is for good
	if (l->error && layer_write(l, NULL, 0, secret, 1) != -EPIPE)
		abort();
	tls13_close_keys(&peer);
	layer_free(l);
	close(fds[0]);
	close(fds[1]);
	return 0;
}
