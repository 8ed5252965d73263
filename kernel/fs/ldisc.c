// SPDX-License-Identifier: Apache-2.0
// The N_TTY line discipline: editing, echo, signals and flow control on input, post-processing on output
// (man 3 termios). Works on the buffers of struct tty only; all functions are called with tty->lock held.
#include "kernel/fs/tty.h"
#include "kernel/include/kstring.h"

#define I(t, f)	 ((t)->t.c_iflag & (f))
#define O(t, f)	 ((t)->t.c_oflag & (f))
#define L(t, f)	 ((t)->t.c_lflag & (f))
#define CC(t, i) ((t)->t.c_cc[i])
#define IDX(p)	 ((p) & (TTY_IN - 1))
#define DISABLED 0

static bool is_cc(struct tty *t, int i, u8 c) { return c == CC(t, i) && CC(t, i) != DISABLED; }

static bool marked(struct tty *t, u32 p) { return t->mark[IDX(p) / 64] >> (IDX(p) % 64) & 1; }

static void set_mark(struct tty *t, u32 p, bool on)
{
	u64 bit = 1ul << (IDX(p) % 64);

	if (on)
		t->mark[IDX(p) / 64] |= bit;
	else
		t->mark[IDX(p) / 64] &= ~bit;
}

void ldisc_init(struct tty *t)
{
	t->t = (struct ktermios){
		.c_iflag = ICRNL | IXON | IUTF8,
		.c_oflag = OPOST | ONLCR,
		.c_cflag = B38400 | CS8 | CREAD | HUPCL,
		.c_lflag = ISIG | ICANON | ECHO | ECHOE | ECHOK | ECHOCTL | ECHOKE | IEXTEN,
		.c_ispeed = 38400,
		.c_ospeed = 38400,
	};
	memcpy(t->t.c_cc, "\003\034\177\025\004\0\1\0\021\023\032\0\022\017\027\026\0", 17);
}

// --- output

static void out_put(struct tty *t, u8 c)
{
	t->out[(t->out_head + t->out_len) & (TTY_OUT - 1)] = c;
	t->out_len++;
	t->pending_flush = true;
}

static bool continuation(struct tty *t, u8 c) { return I(t, IUTF8) && (c & 0xc0) == 0x80; }

// One character with post-processing; false when the ring lacks room.
static bool output_char(struct tty *t, u8 c)
{
	u32 room = out_room(t), spaces;

	if (!room)
		return false;
	switch (c) {
	case '\n':
		if (O(t, ONLRET))
			t->column = 0;
		if (O(t, ONLCR)) {
			if (room < 2)
				return false;
			out_put(t, '\r');
			t->column = 0;
		}
		t->canon_column = t->column;
		break;
	case '\r':
		if (O(t, ONOCR) && !t->column)
			return true;
		if (O(t, OCRNL)) {
			c = '\n';
			if (O(t, ONLRET))
				t->canon_column = t->column = 0;
			break;
		}
		t->canon_column = t->column = 0;
		break;
	case '\t':
		spaces = 8 - (t->column & 7);
		if (O(t, TABDLY) == XTABS) {
			if (room < spaces)
				return false;
			t->column += spaces;
			while (spaces--)
				out_put(t, ' ');
			return true;
		}
		t->column += spaces;
		break;
	case '\b':
		if (t->column)
			t->column--;
		break;
	default:
		if (c < 32 || c == 127)
			break;
		if (O(t, OLCUC) && c >= 'a' && c <= 'z')
			c -= 32;
		if (!continuation(t, c))
			t->column++;
	}
	out_put(t, c);
	return true;
}

u32 ldisc_write(struct tty *t, const u8 *buf, u32 n)
{
	u32 i;

	if (t->stopped)
		return 0;
	if (!O(t, OPOST)) {
		n = min(n, out_room(t));
		for (i = 0; i < n; i++)
			out_put(t, buf[i]);
		return n;
	}
	for (i = 0; i < n && output_char(t, buf[i]); i++)
		;
	return i;
}

// --- echo: what does not fit is not shown

static void echo_raw(struct tty *t, u8 c)
{
	if (O(t, OPOST))
		output_char(t, c);
	else if (out_room(t))
		out_put(t, c);
}

static void echo_char(struct tty *t, u8 c)
{
	if (L(t, ECHOCTL) && (c < 32 || c == 127) && c != '\t' && c != '\n') {
		echo_raw(t, '^');
		echo_raw(t, c ^ 0x40);
		return;
	}
	echo_raw(t, c);
}

static void echo_str(struct tty *t, const char *s)
{
	for (; *s; s++)
		echo_raw(t, *s);
}

static void finish_erasing(struct tty *t)
{
	if (t->erasing) {
		echo_raw(t, '/');
		t->erasing = false;
	}
}

// --- the buffer

static void put_char(struct tty *t, u8 c)
{
	// One byte stays free for the end of the line.
	u32 limit = L(t, ICANON) && t->canon_head == t->tail ? TTY_IN - 1 : TTY_IN;

	if (t->head - t->tail >= limit) {
		if (I(t, IMAXBEL))
			echo_raw(t, '\a');
		return;
	}
	t->in[IDX(t->head)] = c;
	set_mark(t, t->head, false);
	t->head++;
}

static void end_line(struct tty *t, u8 c)
{
	if (t->head - t->tail >= TTY_IN) // full: the line loses its last byte, not its end
		t->head--;
	t->in[IDX(t->head)] = c;
	set_mark(t, t->head, true);
	t->head++;
	t->canon_head = t->head;
}

void ldisc_flush_input(struct tty *t)
{
	t->head = t->tail = t->canon_head = 0;
	memset(t->mark, 0, sizeof(t->mark));
	t->lnext = t->erasing = false;
}

// Columns that the text of the line being typed takes up to position `end`, starting where it began.
static u32 column_at(struct tty *t, u32 end)
{
	u32 col = t->canon_column;

	for (u32 p = t->canon_head; p != end; p++) {
		u8 c = t->in[IDX(p)];

		if (c == '\t')
			col = (col | 7) + 1;
		else if (c < 32 || c == 127)
			col += L(t, ECHOCTL) ? 2 : 0;
		else if (!continuation(t, c))
			col++;
	}
	return col;
}

static void echo_erased(struct tty *t, u8 c)
{
	u32 n;

	if (c == '\t') {
		u32 col = column_at(t, t->head);

		for (n = t->column > col ? t->column - col : 0; n; n--)
			echo_raw(t, '\b');
		return;
	}
	n = c < 32 || c == 127 ? (L(t, ECHOCTL) ? 2 : 0) : 1;
	while (n--)
		echo_str(t, "\b \b");
}

static bool word_char(u8 c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c >= 0x80;
}

static void erase(struct tty *t, u8 by)
{
	bool kill = is_cc(t, VKILL, by), word = !kill && is_cc(t, VWERASE, by), seen = false;

	if (t->head == t->canon_head)
		return;
	if (kill && (!L(t, ECHO) || !L(t, ECHOK) || !L(t, ECHOKE) || !L(t, ECHOE))) {
		t->head = t->canon_head;
		if (L(t, ECHO)) {
			finish_erasing(t);
			echo_char(t, by);
			if (L(t, ECHOK))
				echo_raw(t, '\n');
		}
		return;
	}
	while (t->head != t->canon_head) {
		u32 p = t->head;
		u8 c;

		do
			c = t->in[IDX(--p)];
		while (continuation(t, c) && p != t->canon_head);
		if (word) {
			if (word_char(c))
				seen = true;
			else if (seen)
				break;
		}
		t->head = p;
		if (L(t, ECHO)) {
			if (L(t, ECHOPRT)) {
				if (!t->erasing) {
					echo_raw(t, '\\');
					t->erasing = true;
				}
				echo_char(t, c);
			} else if (!kill && !L(t, ECHOE)) {
				echo_char(t, by);
			} else {
				echo_erased(t, c);
			}
		}
		if (!kill && !word)
			break;
	}
	if (t->head == t->canon_head && L(t, ECHO))
		finish_erasing(t);
}

static void reprint(struct tty *t)
{
	finish_erasing(t);
	echo_char(t, CC(t, VREPRINT));
	echo_raw(t, '\n');
	for (u32 p = t->canon_head; p != t->head; p++)
		echo_char(t, t->in[IDX(p)]);
}

static void input_signal(struct tty *t, int sig, u8 c)
{
	t->pending_signals |= SIGBIT(sig);
	if (!L(t, NOFLSH)) {
		ldisc_flush_input(t);
		t->out_head = (t->out_head + t->out_len) & (TTY_OUT - 1);
		t->out_len = 0;
	}
	if (I(t, IXON))
		t->stopped = false;
	if (L(t, ECHO))
		echo_char(t, c);
}

// Flow control and signals; true when c has been dealt with.
static bool input_control(struct tty *t, u8 c)
{
	if (I(t, IXON)) {
		if (is_cc(t, VSTART, c)) {
			t->stopped = false;
			t->pending_flush = true;
			return true;
		}
		if (is_cc(t, VSTOP, c)) {
			t->stopped = true;
			return true;
		}
	}
	if (!L(t, ISIG))
		return false;
	if (is_cc(t, VINTR, c))
		input_signal(t, SIGINT, c);
	else if (is_cc(t, VQUIT, c))
		input_signal(t, SIGQUIT, c);
	else if (is_cc(t, VSUSP, c))
		input_signal(t, SIGTSTP, c);
	else
		return false;
	return true;
}

// Line editing; true when c has been dealt with.
static bool input_canonical(struct tty *t, u8 c)
{
	if (is_cc(t, VERASE, c) || is_cc(t, VKILL, c) || (L(t, IEXTEN) && is_cc(t, VWERASE, c))) {
		erase(t, c);
		return true;
	}
	if (L(t, IEXTEN) && is_cc(t, VLNEXT, c)) {
		t->lnext = true;
		if (L(t, ECHO)) {
			finish_erasing(t);
			if (L(t, ECHOCTL)) {
				echo_raw(t, '^');
				echo_raw(t, '\b');
			}
		}
		return true;
	}
	if (L(t, IEXTEN) && L(t, ECHO) && is_cc(t, VREPRINT, c)) {
		reprint(t);
		return true;
	}
	if (c == '\n') {
		if (L(t, ECHO) || L(t, ECHONL))
			echo_raw(t, '\n');
		end_line(t, c);
		return true;
	}
	if (is_cc(t, VEOF, c)) {
		end_line(t, DISABLED); // a marked zero byte ends the line and is not read
		return true;
	}
	if (is_cc(t, VEOL, c) || (L(t, IEXTEN) && is_cc(t, VEOL2, c))) {
		if (L(t, ECHO)) {
			finish_erasing(t);
			echo_char(t, c);
		}
		end_line(t, c);
		return true;
	}
	return false;
}

void ldisc_input(struct tty *t, u8 c)
{
	if (I(t, ISTRIP))
		c &= 0x7f;
	if (t->stopped && I(t, IXON) && I(t, IXANY) && !is_cc(t, VSTART, c) && !is_cc(t, VSTOP, c)) {
		t->stopped = false;
		t->pending_flush = true;
	}
	if (t->lnext) {
		t->lnext = false;
		if (L(t, ECHO))
			echo_char(t, c);
		put_char(t, c);
		return;
	}
	if (I(t, IUCLC) && L(t, IEXTEN) && c >= 'A' && c <= 'Z')
		c += 32;
	if (!L(t, EXTPROC)) {
		if (input_control(t, c))
			return;
		if (c == '\r') {
			if (I(t, IGNCR))
				return;
			if (I(t, ICRNL))
				c = '\n';
		} else if (c == '\n' && I(t, INLCR)) {
			c = '\r';
		}
	}
	if (L(t, ICANON) && input_canonical(t, c))
		return;
	if (L(t, ECHO)) {
		finish_erasing(t);
		if (c == '\n') {
			echo_raw(t, '\n');
		} else {
			if (t->canon_head == t->head)
				t->canon_column = t->column;
			echo_char(t, c);
		}
	}
	if (I(t, PARMRK) && c == 0xff)
		put_char(t, c);
	put_char(t, c);
}

void ldisc_termios_changed(struct tty *t, const struct ktermios *old)
{
	if ((old->c_lflag ^ t->t.c_lflag) & ICANON) {
		memset(t->mark, 0, sizeof(t->mark));
		if (L(t, ICANON) && t->head != t->tail) {
			set_mark(t, t->head - 1, true); // what was typed before counts as one line
			t->canon_head = t->head;
		} else {
			t->canon_head = t->tail;
		}
		t->erasing = t->lnext = false;
	}
	if ((old->c_iflag & IXON) && !I(t, IXON) && t->stopped) {
		t->stopped = false;
		t->pending_flush = true;
	}
}

// --- reading

bool ldisc_readable(struct tty *t, bool for_poll)
{
	u32 amount = for_poll && !CC(t, VTIME) && CC(t, VMIN) ? CC(t, VMIN) : 1;

	return L(t, ICANON) ? t->canon_head != t->tail : t->head - t->tail >= amount;
}

u32 ldisc_count(struct tty *t)
{
	u32 n = 0;

	if (!L(t, ICANON))
		return t->head - t->tail;
	for (u32 p = t->tail; p != t->canon_head; p++)
		n += !(marked(t, p) && t->in[IDX(p)] == DISABLED);
	return n;
}

u32 ldisc_copy(struct tty *t, struct iter *it, bool *eof, bool *fault)
{
	bool canon = L(t, ICANON), drop = false;
	u32 n = 0, end = canon ? t->canon_head : t->head, done = 0;

	*eof = *fault = false;
	while (t->tail + n != end && n < it->left) {
		u32 p = t->tail + n;

		if (canon && marked(t, p)) {
			drop = t->in[IDX(p)] == DISABLED;
			n += !drop;
			break;
		}
		n++;
	}
	// A full read that stops right before an end-of-file mark takes the mark too, or the next read would give 0.
	if (canon && !drop && n && n == it->left && t->tail + n != end && marked(t, t->tail + n) &&
	    !marked(t, t->tail + n - 1))
		drop = t->in[IDX(t->tail + n)] == DISABLED;
	while (done < n) {
		u32 part = min(n - done, TTY_IN - IDX(t->tail)), got;

		got = iter_put(it, t->in + IDX(t->tail), part);
		t->tail += got;
		if (!canon)
			t->canon_head = t->tail;
		done += got;
		if (got < part) {
			*fault = true;
			return done;
		}
	}
	if (drop) {
		t->tail++;
		*eof = !done;
	}
	return done;
}
