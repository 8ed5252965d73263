// SPDX-License-Identifier: Apache-2.0
// Fuzzes the line discipline: bytes from the host's terminal, mode changes and reads in any order. The first half of
// each step's byte pair says what to do. Checks that offsets stay within the buffers and that no read returns more
// than was typed. It includes the kernel source, which needs nothing of a kernel but the buffers.
#include "kernel/fs/ldisc.c"

void *memset(void *d, int c, size_t n);
__attribute__((noreturn)) void abort(void);

static struct tty t;
static u8 out[TTY_OUT], sink[TTY_IN];

size_t iter_put(struct iter *it, const void *src, size_t n)
{
	if (n > it->left || it->off + n > sizeof(sink))
		abort();
	memcpy(sink + it->off, src, n);
	it->off += n;
	it->left -= n;
	return n;
}

static void check(void)
{
	if (t.head - t.tail > TTY_IN || t.canon_head - t.tail > t.head - t.tail || t.out_len > TTY_OUT ||
	    t.out_head >= TTY_OUT)
		abort();
}

static void change_modes(u8 v)
{
	struct ktermios old = t.t;

	t.t.c_lflag = (v & 1 ? ICANON : 0) | (v & 2 ? ECHO | ECHOE | ECHOK | ECHOKE : 0) | (v & 4 ? ISIG : 0) |
		      (v & 8 ? IEXTEN : 0) | (v & 16 ? ECHOCTL : 0) | (v & 32 ? ECHOPRT : 0);
	t.t.c_iflag = (v & 64 ? ICRNL | IXON | IXANY | IUTF8 : INLCR | PARMRK | IMAXBEL);
	t.t.c_oflag = v & 128 ? OPOST | ONLCR | TABDLY : 0;
	ldisc_termios_changed(&t, &old);
}

int LLVMFuzzerTestOneInput(const u8 *data, size_t n)
{
	bool eof, fault;

	memset(&t, 0, sizeof(t));
	t.out = out;
	ldisc_init(&t);
	for (size_t i = 0; i + 1 < n; i += 2) {
		struct iter it = {.left = data[i + 1] * 16u};

		switch (data[i] & 7) {
		case 0: change_modes(data[i + 1]); break;
		case 1: ldisc_copy(&t, &it, &eof, &fault); break;
		case 2: // a long line
			for (u32 k = 0; k < data[i + 1] * 32u; k++)
				ldisc_input(&t, 'x');
			break;
		case 3:
			t.out_head = (t.out_head + t.out_len) & (TTY_OUT - 1);
			t.out_len = 0;
			break;
		case 4: ldisc_write(&t, data, n > 512 ? 512 : n); break;
		default: ldisc_input(&t, data[i + 1]);
		}
		check();
		if (ldisc_count(&t) > TTY_IN)
			abort();
	}
	return 0;
}
