// SPDX-License-Identifier: Apache-2.0
// Terminals and job control: ptys, the line discipline, sessions, process groups, the controlling terminal.
#include <poll.h>
#include <pty.h>
#include <sys/ioctl.h>
#include <termios.h>

#include "tests/kernel/t.h"

static int master, slave;

static void open_pair(void)
{
	master = posix_openpt(O_RDWR | O_NOCTTY);
	if (master < 0 || grantpt(master) || unlockpt(master))
		t_fail(__LINE__, "openpt: errno %d", errno);
	slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	if (slave < 0)
		t_fail(__LINE__, "open(%s): errno %d", ptsname(master), errno);
}

static void set(tcflag_t lflag_off, tcflag_t oflag_off)
{
	struct termios t;
	if (tcgetattr(slave, &t))
		t_fail(__LINE__, "tcgetattr: errno %d", errno);
	t.c_lflag &= ~lflag_off;
	t.c_oflag &= ~oflag_off;
	if (tcsetattr(slave, TCSANOW, &t))
		t_fail(__LINE__, "tcsetattr: errno %d", errno);
}

static bool readable(int fd)
{
	struct pollfd p = {fd, POLLIN, 0};
	return poll(&p, 1, 0) == 1 && (p.revents & POLLIN);
}

// Linux passes what was typed on by a worker: it is there soon, not at once.
static void becomes_readable(int fd)
{
	struct pollfd p = {fd, POLLIN, 0};
	if (poll(&p, 1, -1) != 1)
		t_fail(__LINE__, "poll: errno %d", errno);
}

// A child that leads a session with the slave as its controlling terminal and runs fn.
static pid_t session(void (*fn)(void))
{
	pid_t p = fork();
	if (p < 0)
		t_fail(__LINE__, "fork: errno %d", errno);
	if (p)
		return p;
	close(master);
	if (setsid() < 0 || ioctl(slave, TIOCSCTTY, 0))
		t_fail(__LINE__, "setsid: errno %d", errno);
	dup2(slave, 0);
	fn();
	_exit(0);
}

static void expect(int fd, const char *want)
{
	char b[256] = "";
	size_t n = strlen(want);
	if (t_readn(fd, b, n) != n || memcmp(b, want, n))
		t_fail(__LINE__, "got \"%s\", want \"%s\"", b, want);
}

TEST(termio_of_system_v)
{
	struct { // struct termio clashes with <termios.h>
		unsigned short i, o, c, l;
		unsigned char line, cc[8];
	} io = {0};
	struct termios t;
	open_pair();
	OK(tcgetattr(slave, &t));
	OK(ioctl(slave, 0x5405 /* TCGETA */, &io));
	EQ(io.i, t.c_iflag & 0xffff);
	EQ(io.l, t.c_lflag & 0xffff);
	EQ(io.cc[0], t.c_cc[VINTR]);
	io.l &= (unsigned short)~ECHO;
	io.cc[0] = 'q';
	for (unsigned long cmd = 0x5406; cmd <= 0x5408; cmd++) // TCSETA, TCSETAW, TCSETAF
		OK(ioctl(slave, cmd, &io));
	OK(tcgetattr(slave, &t));
	EQ(t.c_lflag & ECHO, 0);
	EQ(t.c_lflag & ICANON, ICANON);
	EQ(t.c_cc[VINTR], 'q');
	memset(&t, 1, sizeof(t));
	OK(ioctl(slave, TIOCGLCKTRMIOS, &t));
	EQ(t.c_iflag, 0);
	ERR(ioctl(slave, 0x5405, (void *)8), EFAULT);
}

TEST(open_and_names)
{
	struct stat st;
	char name[64];
	open_pair();
	OK(isatty(slave) ? 0 : -1);
	OK(isatty(master) ? 0 : -1);
	ZERO(ptsname_r(master, name, sizeof(name)));
	CHECK(!strncmp(name, "/dev/pts/", 9));
	OK(fstat(slave, &st));
	CHECK(S_ISCHR(st.st_mode));
	CHECK(ttyname(slave) && !strcmp(ttyname(slave), name));
	int a, b;
	OK(openpty(&a, &b, NULL, NULL, NULL));
	CHECK(isatty(b));
}

TEST(isatty_of_others)
{
	int p[2];
	OK(pipe(p));
	EQ(isatty(p[0]), 0);
	EQ(errno, ENOTTY);
	EQ(isatty(999), 0);
	EQ(errno, EBADF);
	EQ(isatty(OK(open("/dev/null", O_RDWR))), 0);
}

TEST(default_settings)
{
	struct termios t;
	open_pair();
	OK(tcgetattr(slave, &t));
	CHECK(t.c_lflag & ICANON);
	CHECK(t.c_lflag & ECHO);
	CHECK(t.c_lflag & ISIG);
	CHECK(t.c_iflag & ICRNL);
	CHECK(t.c_oflag & OPOST && t.c_oflag & ONLCR);
	EQ(t.c_cc[VINTR], 3);
	EQ(t.c_cc[VEOF], 4);
	EQ(t.c_cc[VERASE], 127);
	EQ(t.c_cc[VMIN], 1);
}

TEST(canonical_line)
{
	char b[32] = "";
	open_pair();
	set(ECHO, 0);
	EQ(write(master, "hel", 3), 3);
	CHECK(!readable(slave));
	EQ(write(master, "lo\nrest", 7), 7);
	becomes_readable(slave);
	EQ(read(slave, b, 32), 6);
	STREQ(b, "hello\n");
	CHECK(!readable(slave));
}

TEST(canonical_carriage_return_and_short_reads)
{
	char b[32] = "";
	open_pair();
	set(ECHO, 0);
	EQ(write(master, "abc\r", 4), 4);
	EQ(read(slave, b, 2), 2);
	EQ(read(slave, b + 2, 30), 2);
	STREQ(b, "abc\n");
}

TEST(canonical_erase_and_kill)
{
	char b[32] = "";
	open_pair();
	set(ECHO, 0);
	EQ(write(master, "abx\177c\n", 6), 6);
	EQ(read(slave, b, 32), 4);
	STREQ(b, "abc\n");
	EQ(write(master, "junk\025ok\n", 8), 8);
	memset(b, 0, sizeof(b));
	EQ(read(slave, b, 32), 3);
	STREQ(b, "ok\n");
}

TEST(canonical_end_of_file)
{
	char b[32] = "";
	open_pair();
	set(ECHO, 0);
	EQ(write(master, "\004", 1), 1);
	EQ(read(slave, b, 32), 0);
	EQ(write(master, "part\004", 5), 5);
	EQ(read(slave, b, 32), 4);
	STREQ(b, "part");
	EQ(write(master, "x\n", 2), 2); // the terminal goes on
	EQ(read(slave, b, 32), 2);
}

TEST(echo)
{
	open_pair();
	EQ(write(master, "hi\r", 3), 3);
	expect(master, "hi\r\n");
	EQ(write(master, "\003", 1), 1);
	expect(master, "^C");
}

TEST(output_newline_translation)
{
	open_pair();
	EQ(write(slave, "a\nb\n", 4), 4);
	expect(master, "a\r\nb\r\n");
	set(0, OPOST);
	EQ(write(slave, "a\n", 2), 2);
	expect(master, "a\n");
}

TEST(raw_mode)
{
	char b[8] = "";
	struct termios t;
	open_pair();
	OK(tcgetattr(slave, &t));
	cfmakeraw(&t);
	OK(tcsetattr(slave, TCSANOW, &t));
	EQ(write(master, "\003\004\r", 3), 3);
	EQ(t_readn(slave, b, 3), 3);
	CHECK(!memcmp(b, "\003\004\r", 3));
	CHECK(!readable(master)); // no echo
	EQ(write(slave, "\n", 1), 1);
	expect(master, "\n");
}

TEST(raw_min_and_time)
{
	char b[8];
	struct termios t;
	open_pair();
	OK(tcgetattr(slave, &t));
	cfmakeraw(&t);
	t.c_cc[VMIN] = 0;
	t.c_cc[VTIME] = 0;
	OK(tcsetattr(slave, TCSANOW, &t));
	EQ(read(slave, b, 8), 0);
	t.c_cc[VTIME] = 1;
	OK(tcsetattr(slave, TCSANOW, &t));
	EQ(read(slave, b, 8), 0); // after a tenth of a second
	EQ(write(master, "xy", 2), 2);
	becomes_readable(slave);
	EQ(read(slave, b, 8), 2);
	t.c_cc[VMIN] = 3;
	t.c_cc[VTIME] = 0;
	OK(tcsetattr(slave, TCSANOW, &t));
	EQ(write(master, "abc", 3), 3);
	EQ(read(slave, b, 8), 3);
}

TEST(window_size)
{
	struct winsize ws = {.ws_row = 40, .ws_col = 132}, got;
	open_pair();
	OK(ioctl(master, TIOCSWINSZ, &ws));
	OK(ioctl(slave, TIOCGWINSZ, &got));
	EQ(got.ws_row, 40);
	EQ(got.ws_col, 132);
	ERR(ioctl(slave, 0x5499, &ws), ENOTTY);
}

TEST(nonblocking_and_queue)
{
	char c;
	int n = -1;
	open_pair();
	set(ECHO, 0);
	OK(fcntl(slave, F_SETFL, O_NONBLOCK));
	ERR(read(slave, &c, 1), EAGAIN);
	EQ(write(master, "abc\n", 4), 4);
	becomes_readable(slave);
	OK(ioctl(slave, FIONREAD, &n));
	EQ(n, 4);
	OK(tcflush(slave, TCIFLUSH));
	ERR(read(slave, &c, 1), EAGAIN);
}

TEST(hang_up_of_master)
{
	char c;
	open_pair();
	close(master);
	EQ(read(slave, &c, 1), 0);
	ERR(write(slave, "x", 1), EIO);
	struct pollfd p = {slave, POLLIN, 0};
	EQ(poll(&p, 1, 0), 1);
	CHECK(p.revents & POLLHUP);
}

TEST(master_after_last_slave)
{
	char c;
	open_pair();
	EQ(write(slave, "x", 1), 1);
	close(slave);
	EQ(read(master, &c, 1), 1);
	ERR(read(master, &c, 1), EIO);
}

static void wait_for_int(void)
{
	t_writen(slave, "r", 1);
	for (;;)
		pause();
}

TEST(control_c_interrupts_foreground)
{
	open_pair();
	pid_t p = session(wait_for_int);
	expect(master, "r");
	EQ(write(master, "\003", 1), 1);
	EQ(t_wait(p), 128 + SIGINT);
}

TEST(control_backslash_quits)
{
	open_pair();
	pid_t p = session(wait_for_int);
	expect(master, "r");
	EQ(write(master, "\034", 1), 1);
	EQ(t_wait(p), 128 + SIGQUIT);
}

static void two_groups(void)
{
	pid_t fg = fork();
	if (!fg) {
		setpgid(0, 0);
		for (;;)
			pause();
	}
	setpgid(fg, fg);
	signal(SIGTTOU, SIG_IGN);
	signal(SIGINT, SIG_DFL); // would end this process if it were hit
	OK(tcsetpgrp(0, fg));
	EQ(tcgetpgrp(0), fg);
	t_writen(slave, "r", 1);
	EQ(t_wait(fg), 128 + SIGINT);
}

TEST(control_c_spares_background)
{
	open_pair();
	pid_t p = session(two_groups);
	expect(master, "r");
	EQ(write(master, "\003", 1), 1);
	EQ(t_wait(p), 0);
}

static void suspend_child(void)
{
	int st;
	pid_t fg = fork();
	if (!fg) {
		setpgid(0, 0);
		for (;;)
			pause();
	}
	setpgid(fg, fg);
	signal(SIGTTOU, SIG_IGN);
	OK(tcsetpgrp(0, fg));
	t_writen(slave, "r", 1);
	EQ(waitpid(fg, &st, WUNTRACED), fg);
	CHECK(WIFSTOPPED(st));
	EQ(WSTOPSIG(st), SIGTSTP);
	OK(tcsetpgrp(0, getpgrp()));
	OK(kill(-fg, SIGCONT));
	EQ(waitpid(fg, &st, WCONTINUED), fg);
	t_end(fg);
}

TEST(control_z_suspends_and_continues)
{
	open_pair();
	pid_t p = session(suspend_child);
	expect(master, "r");
	EQ(write(master, "\032", 1), 1);
	EQ(t_wait(p), 0);
}

static void background_read(void)
{
	int st;
	pid_t bg = fork();
	if (!bg) {
		char c;
		setpgid(0, 0);
		(void)!read(0, &c, 1);
		_exit(9);
	}
	setpgid(bg, bg);
	EQ(waitpid(bg, &st, WUNTRACED), bg);
	CHECK(WIFSTOPPED(st));
	EQ(WSTOPSIG(st), SIGTTIN);
	t_end(bg);
	bg = fork(); // with the signal ignored the read fails
	if (!bg) {
		char c;
		setpgid(0, 0);
		signal(SIGTTIN, SIG_IGN);
		_exit(read(0, &c, 1) == -1 && errno == EIO ? 0 : 1);
	}
	EQ(t_wait(bg), 0);
}

TEST(background_read_stops)
{
	open_pair();
	EQ(t_wait(session(background_read)), 0);
}

static void background_write(void)
{
	int st;
	struct termios t;
	OK(tcgetattr(0, &t));
	pid_t bg = fork();
	if (!bg) {
		setpgid(0, 0);
		t_writen(slave, "free", 4); // no TOSTOP: background output is allowed
		tcsetattr(0, TCSANOW, &t);  // but a change of settings is not
		_exit(9);
	}
	setpgid(bg, bg);
	EQ(waitpid(bg, &st, WUNTRACED), bg);
	CHECK(WIFSTOPPED(st));
	EQ(WSTOPSIG(st), SIGTTOU);
	t_end(bg);
}

TEST(background_settings_stop)
{
	open_pair();
	EQ(t_wait(session(background_write)), 0);
	expect(master, "free");
}

static volatile int winch;
static void on_winch(int s)
{
	winch = s;
}

static void wait_for_winch(void)
{
	struct winsize ws;
	sigset_t block, none;
	sigemptyset(&none);
	sigemptyset(&block);
	sigaddset(&block, SIGWINCH);
	sigprocmask(SIG_BLOCK, &block, NULL);
	t_on(SIGWINCH, on_winch, 0);
	t_writen(slave, "r", 1);
	while (!winch)
		sigsuspend(&none);
	OK(ioctl(0, TIOCGWINSZ, &ws));
	EQ(ws.ws_col, 99);
}

TEST(window_change_signals)
{
	struct winsize ws = {.ws_row = 9, .ws_col = 99};
	open_pair();
	pid_t p = session(wait_for_winch);
	expect(master, "r");
	OK(ioctl(master, TIOCSWINSZ, &ws));
	EQ(t_wait(p), 0);
}

static void read_dev_tty(void)
{
	char b[8] = "";
	int t = OK(open("/dev/tty", O_RDWR));
	CHECK(isatty(t));
	EQ(tcgetpgrp(t), getpid());
	EQ(tcgetsid(t), getpid());
	t_writen(t, "r", 1);
	EQ(read(t, b, 8), 3);
	STREQ(b, "hi\n");
}

TEST(dev_tty)
{
	open_pair();
	pid_t p = session(read_dev_tty);
	expect(master, "r");
	EQ(write(master, "hi\n", 3), 3);
	EQ(t_wait(p), 0);
	pid_t q = OK(fork());
	if (!q) {
		setsid();
		ERR(open("/dev/tty", O_RDWR), ENXIO);
		_exit(0);
	}
	EQ(t_wait(q), 0);
}

static void open_takes_terminal(void)
{
	pid_t p = fork();
	if (!p) {
		setsid();
		int t = OK(open(ptsname(master), O_RDWR)); // no O_NOCTTY
		EQ(tcgetsid(t), getpid());
		OK(open("/dev/tty", O_RDWR));
		_exit(0);
	}
	EQ(t_wait(p), 0);
}

TEST(open_makes_controlling_terminal)
{
	open_pair();
	open_takes_terminal();
}

static void leader_exits(void)
{
	pid_t p = fork();
	if (!p) {
		signal(SIGHUP, SIG_DFL);
		t_writen(slave, "r", 1);
		for (;;)
			pause();
	}
	char c;
	(void)!read(0, &c, 1); // until the test says so
}

TEST(hang_up_when_session_leader_exits)
{
	// The foreground group gets SIGHUP; the grandchild's death closes the last slave.
	char b[16];
	open_pair();
	pid_t p = session(leader_exits);
	expect(master, "r");
	close(slave);
	EQ(write(master, "\n", 1), 1);
	EQ(t_wait(p), 0);
	while (read(master, b, sizeof(b)) > 0)
		;
	EQ(errno, EIO);
}

TEST(master_close_hangs_up_session)
{
	open_pair();
	pid_t p = session(wait_for_int);
	expect(master, "r");
	close(slave);
	close(master);
	EQ(t_wait(p), 128 + SIGHUP);
}

TEST(setsid_rules)
{
	pid_t p = OK(fork());
	if (!p) {
		pid_t me = getpid();
		EQ(setsid(), me);
		EQ(getsid(0), me);
		EQ(getpgrp(), me);
		ERR(setsid(), EPERM); // leads a group already
		ERR(setpgid(0, 0), EPERM); // a session leader stays where it is
		_exit(0);
	}
	EQ(t_wait(p), 0);
	ERR(getsid(1 << 22), ESRCH);
}

TEST(setpgid_rules)
{
	pid_t p = OK(fork());
	if (!p)
		for (;;)
			pause();
	OK(setpgid(p, p));
	EQ(getpgid(p), p);
	OK(setpgid(p, getpgrp()));
	EQ(getpgid(p), getpgrp());
	ERR(setpgid(p, -1), EINVAL);
	ERR(setpgid(1 << 22, 0), ESRCH);
	ERR(setpgid(p, 1 << 22), EPERM);
	ERR(getpgid(1 << 22), ESRCH);
	t_end(p);
}

TEST(setpgid_after_exec_is_refused)
{
	int q[2];
	char c;
	OK(pipe(q));
	pid_t p = OK(fork());
	if (!p) {
		dup2(q[1], 1);
		execl(t_self, t_self, "--helper", "say", NULL);
		_exit(1);
	}
	EQ(t_readn(q[0], &c, 1), 1);
	ERR(setpgid(p, p), EACCES);
	t_end(p);
}

HELPER(say)
{
	t_writen(1, "x", 1);
	pause();
	return 0;
}

TEST(no_terminal_ioctls_on_pipes)
{
	int p[2];
	struct termios t;
	OK(pipe(p));
	ERR(tcgetattr(p[0], &t), ENOTTY);
	ERR(tcgetpgrp(p[0]), ENOTTY);
	ERR(ioctl(p[0], TIOCGWINSZ, &t), ENOTTY);
}
