// SPDX-License-Identifier: Apache-2.0
// Keys and keyrings: add_key, request_key, keyctl. Each case begins with a session keyring of its own.
#include <linux/keyctl.h>
#include <pthread.h>
#include <sys/uio.h>

#include "tests/kernel/t.h"

typedef int32_t key;
#define SES KEY_SPEC_SESSION_KEYRING

static long ctl(int op, ...)
{
	va_list ap;
	long a[4];
	va_start(ap, op);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	return syscall(SYS_keyctl, op, a[0], a[1], a[2], a[3]);
}
#define CTL(...) ctl(__VA_ARGS__, 0l, 0l, 0l, 0l)
#define L(x) ((long)(x))

static key add(const char *type, const char *desc, const void *v, size_t n, key ring)
{
	return (key)syscall(SYS_add_key, type, desc, v, n, ring);
}

static key want(const char *type, const char *desc, key dest) { return (key)syscall(SYS_request_key, type, desc, NULL, dest); }

static void session(void)
{
	if (CTL(KEYCTL_JOIN_SESSION_KEYRING, 0l) < 0 && (errno == ENOSYS || errno == EPERM || errno == EDQUOT))
		SKIP("no keyrings here");
}

// Keys without links go sooner or later.
static void gone(key k)
{
	while (CTL(KEYCTL_READ, L(k), 0l, 0l) >= 0 || errno == EACCES)
		t_sleep_ms(10);
	EQ(errno, ENOKEY);
}

static const char *describe(key k)
{
	static char buf[300];
	long n = CTL(KEYCTL_DESCRIBE, L(k), L(buf), L(sizeof(buf)));
	CHECK(n > 0 && n < 300);
	EQ(buf[n - 1], 0);
	return buf;
}

TEST(user_keys)
{
	char buf[64], want_desc[64];
	session();
	key k = OK(add("user", "a", "hello", 5, SES));
	CHECK(k > 2);
	EQ(CTL(KEYCTL_READ, L(k), L(buf), L(sizeof(buf))), 5);
	CHECK(!memcmp(buf, "hello", 5));
	memset(buf, 'x', sizeof(buf));
	EQ(CTL(KEYCTL_READ, L(k), L(buf), 4l), 5); // too small: only the size
	EQ(buf[0], 'x');
	EQ(CTL(KEYCTL_READ, L(k), 0l, 0l), 5);
	snprintf(want_desc, sizeof(want_desc), "user;%u;%u;3f010000;a", getuid(), getgid());
	STREQ(describe(k), want_desc);
	EQ(CTL(KEYCTL_DESCRIBE, L(k), L(buf), 3l), (long)strlen(want_desc) + 1);
	EQ(add("user", "a", "again", 5, SES), k); // the same key with other contents
	EQ(CTL(KEYCTL_READ, L(k), L(buf), L(sizeof(buf))), 5);
	CHECK(!memcmp(buf, "again", 5));
	OK(CTL(KEYCTL_UPDATE, L(k), L("longer text"), 11l));
	EQ(CTL(KEYCTL_READ, L(k), L(buf), L(sizeof(buf))), 11);
	ERR(add("user", "b", NULL, 0, SES), EINVAL);
	ERR(add("user", "b", "", 0, SES), EINVAL);
	char big[32768] = "x";
	ERR(add("user", "b", big, 32768, SES), EINVAL);
	OK(add("user", "b", big, 32767, SES));
	ERR(add("nosuchtype", "b", "x", 1, SES), ENODEV);
	ERR(add(".secret", "b", "x", 1, SES), EPERM);
	ERR(add("", "b", "x", 1, SES), EINVAL);
	ERR(add("averyveryverylongnameofatypethatisnot", "b", "x", 1, SES), EINVAL);
	ERR(add("user", "b", (void *)8, 1, SES), EFAULT);
	ERR(add("user", (char *)8, "x", 1, SES), EFAULT);
	ERR(add("user", NULL, "x", 1, SES), EINVAL);
	ERR(add("user", "b", "x", 1, 0), EINVAL);
	ERR(add("user", "b", "x", 1, -99), EINVAL);
	ERR(add("user", "b", "x", 1, KEY_SPEC_GROUP_KEYRING), EINVAL);
	ERR(add("user", "b", "x", 1, 0x7ffffff0), ENOKEY);
	ERR(add("user", "b", "x", 1, k), ENOTDIR);
	ERR(CTL(999, 0l), EOPNOTSUPP);
}

TEST(logon_keys)
{
	char buf[64];
	session();
	ERR(add("logon", "a", "x", 1, SES), EINVAL);
	ERR(add("logon", ":a", "x", 1, SES), EINVAL);
	key k = OK(add("logon", "my:a", "x", 1, SES));
	ERR(CTL(KEYCTL_READ, L(k), L(buf), L(sizeof(buf))), EOPNOTSUPP);
	OK(CTL(KEYCTL_UPDATE, L(k), L("new"), 3l));
	CHECK(strstr(describe(k), ";my:a"));
}

TEST(keyrings)
{
	key list[8];
	session();
	key r = OK(add("keyring", "r", NULL, 0, SES));
	ERR(add("keyring", "s", "x", 1, SES), EINVAL);
	ERR(add("keyring", ".dot", NULL, 0, SES), EPERM);
	CHECK(strstr(describe(r), ";3f010000;r"));
	key a = OK(add("user", "a", "x", 1, r)), b = OK(add("user", "b", "x", 1, r));
	EQ(CTL(KEYCTL_READ, L(r), L(list), L(sizeof(list))), 8);
	CHECK((list[0] == a && list[1] == b) || (list[0] == b && list[1] == a));
	EQ(CTL(KEYCTL_READ, L(r), 0l, 0l), 8);
	ERR(CTL(KEYCTL_UPDATE, L(r), L("x"), 1l), EOPNOTSUPP);
	key other = OK(add("keyring", "r", NULL, 0, SES)); // takes the place of the first, which goes
	CHECK(other != r);
	gone(r);
	OK(CTL(KEYCTL_LINK, L(r = OK(add("keyring", "t", NULL, 0, SES))), L(other)));
	ERR(CTL(KEYCTL_LINK, L(other), L(r)), EDEADLK);
	ERR(CTL(KEYCTL_LINK, L(r), L(r)), EDEADLK);
	a = OK(add("user", "a", "x", 1, r));
	OK(CTL(KEYCTL_LINK, L(a), L(other)));
	OK(CTL(KEYCTL_UNLINK, L(a), L(r)));
	ERR(CTL(KEYCTL_UNLINK, L(a), L(r)), ENOENT);
	EQ(CTL(KEYCTL_READ, L(a), 0l, 0l), 1); // still in the other
	OK(CTL(KEYCTL_CLEAR, L(other)));
	gone(a);
	EQ(CTL(KEYCTL_READ, L(other), 0l, 0l), 0);
	a = OK(add("user", "a", "x", 1, r));
	ERR(CTL(KEYCTL_CLEAR, L(a)), ENOTDIR);
	ERR(CTL(KEYCTL_LINK, L(r), L(a)), ENOTDIR);
	ERR(CTL(KEYCTL_UNLINK, L(r), L(a)), ENOTDIR);
}

TEST(searching)
{
	session();
	key r = OK(add("keyring", "r", NULL, 0, SES)), r2 = OK(add("keyring", "r2", NULL, 0, r));
	key k = OK(add("user", "deep", "x", 1, r2)), top = OK(add("keyring", "top", NULL, 0, SES));
	EQ(CTL(KEYCTL_SEARCH, L(SES), L("user"), L("deep"), 0l), k);
	EQ(CTL(KEYCTL_SEARCH, L(SES), L("keyring"), L("r2"), 0l), r2);
	ERR(CTL(KEYCTL_SEARCH, L(SES), L("user"), L("deeper"), 0l), ENOKEY);
	ERR(CTL(KEYCTL_SEARCH, L(SES), L("logon"), L("deep"), 0l), ENOKEY);
	ERR(CTL(KEYCTL_SEARCH, L(SES), L("nosuch"), L("deep"), 0l), ENOKEY);
	ERR(CTL(KEYCTL_SEARCH, L(k), L("user"), L("deep"), 0l), ENOTDIR);
	EQ(CTL(KEYCTL_SEARCH, L(SES), L("user"), L("deep"), L(top)), k); // and links it there
	key got = 0;
	EQ(CTL(KEYCTL_READ, L(top), L(&got), 4l), 4);
	EQ(got, k);
	EQ(want("user", "deep", 0), k);
	ERR(want("user", "nothing", 0), ENOKEY);
	ERR(want("nosuch", "nothing", 0), ENOKEY);
	OK(CTL(KEYCTL_CLEAR, L(top)));
	EQ(want("user", "deep", top), k);
	EQ(CTL(KEYCTL_READ, L(top), L(&got), 4l), 4);
	OK(CTL(KEYCTL_SETPERM, L(r2), 0x37000000l)); // not to be searched
	OK(CTL(KEYCTL_CLEAR, L(top)));
	ERR(want("user", "deep", 0), ENOKEY);
}

TEST(end_of_keys)
{
	session();
	key k = OK(add("user", "a", "x", 1, SES));
	OK(CTL(KEYCTL_REVOKE, L(k)));
	ERR(CTL(KEYCTL_READ, L(k), 0l, 0l), EKEYREVOKED);
	ERR(CTL(KEYCTL_REVOKE, L(k)), EKEYREVOKED);
	ERR(want("user", "a", 0), EKEYREVOKED);
	OK(CTL(KEYCTL_UNLINK, L(k), L(SES)));
	k = OK(add("user", "a", "x", 1, SES));
	OK(CTL(KEYCTL_REVOKE, L(k)));
	key n = OK(add("user", "a", "y", 1, SES)); // a new one in its place
	CHECK(n != k);
	OK(CTL(KEYCTL_INVALIDATE, L(n)));
	gone(n);
	k = OK(add("user", "t", "y", 1, SES));
	OK(CTL(KEYCTL_SET_TIMEOUT, L(k), 1000l));
	EQ(CTL(KEYCTL_READ, L(k), 0l, 0l), 1);
	OK(CTL(KEYCTL_SET_TIMEOUT, L(k), 1l));
	while (CTL(KEYCTL_READ, L(k), 0l, 0l) == 1)
		t_sleep_ms(50);
	EQ(errno, EKEYEXPIRED);
	ERR(want("user", "t", 0), ENOKEY);
	ERR(CTL(KEYCTL_SEARCH, L(SES), L("user"), L("t"), 0l), EKEYEXPIRED);
	key u = add("user", "t", "z", 1, SES);
	EQ(CTL(KEYCTL_READ, L(u), 0l, 0l), 1);
	OK(CTL(KEYCTL_SET_TIMEOUT, L(u), 1000l));
	OK(CTL(KEYCTL_SET_TIMEOUT, L(u), 0l));
	key r = OK(add("keyring", "r", NULL, 0, SES));
	k = OK(add("user", "in", "y", 1, r));
	OK(CTL(KEYCTL_REVOKE, L(r)));
	gone(k); // it went with its keyring's contents
	ERR(add("user", "in", "y", 1, r), EKEYREVOKED);
}

TEST(permissions)
{
	session();
	key k = OK(add("user", "a", "x", 1, SES));
	ERR(CTL(KEYCTL_SETPERM, L(k), 0x40000000l), EINVAL);
	OK(CTL(KEYCTL_SETPERM, L(k), 0x29000000l));
	EQ(CTL(KEYCTL_READ, L(k), 0l, 0l), 1); // what may be found may be read
	ERR(CTL(KEYCTL_UPDATE, L(k), L("y"), 1l), EACCES);
	ERR(CTL(KEYCTL_LINK, L(k), L(SES)), EACCES);
	describe(k);
	OK(CTL(KEYCTL_SETPERM, L(k), 0x28000000l));
	ERR(CTL(KEYCTL_DESCRIBE, L(k), 0l, 0l), EACCES);
	OK(CTL(KEYCTL_SETPERM, L(k), 0x083f0000l));
	EQ(CTL(KEYCTL_READ, L(k), 0l, 0l), 1);
	EQ(CTL(KEYCTL_CHOWN, L(k), -1l, -1l), 0);
	EQ(CTL(KEYCTL_GET_SECURITY, L(k), 0l, 0l), 1);
	if (getuid())
		return;
	OK(CTL(KEYCTL_SETPERM, L(k), 0x3f3f0000l));
	OK(CTL(KEYCTL_CHOWN, L(k), 1000l, 1000l));
	CHECK(strstr(describe(k), "user;1000;1000;") != NULL);
}

TEST(another_user)
{
	if (getuid())
		SKIP("needs root");
	session();
	key k = OK(add("user", "roots own", "x", 1, SES)), open_to_all = OK(add("user", "b", "x", 1, SES));
	OK(CTL(KEYCTL_SETPERM, L(k), 0x3f3f0000l));
	OK(CTL(KEYCTL_SETPERM, L(open_to_all), 0x3f3f0003l));
	pid_t c = OK(fork());
	if (!c) {
		OK(CTL(KEYCTL_JOIN_SESSION_KEYRING, 0l)); // possesses nothing now
		OK(setgid(1000));
		OK(setuid(1000));
		ERR(CTL(KEYCTL_READ, L(k), 0l, 0l), EACCES);
		ERR(CTL(KEYCTL_REVOKE, L(k)), EACCES);
		EQ(CTL(KEYCTL_READ, L(open_to_all), 0l, 0l), 1);
		ERR(CTL(KEYCTL_UPDATE, L(open_to_all), L("y"), 1l), EACCES);
		CHECK(!strstr(t_get("/proc/keys"), "roots own"));
		key mine = OK(add("user", "m", "x", 1, KEY_SPEC_USER_KEYRING));
		ERR(CTL(KEYCTL_CHOWN, L(mine), 0l, -1l), EACCES);
		OK(CTL(KEYCTL_UNLINK, L(mine), L(KEY_SPEC_USER_KEYRING)));
		_exit(0);
	}
	EQ(t_wait(c), 0);
}

static void *thread(void *arg)
{
	key t = OK(CTL(KEYCTL_GET_KEYRING_ID, L(KEY_SPEC_THREAD_KEYRING), 0l)); // its maker had one
	CHECK(t != ((key *)arg)[0]);
	EQ(CTL(KEYCTL_GET_KEYRING_ID, L(KEY_SPEC_PROCESS_KEYRING), 0l), ((key *)arg)[1]);
	return NULL;
}

TEST(keyrings_of_thread_process_session)
{
	session();
	key ses = OK(CTL(KEYCTL_GET_KEYRING_ID, L(SES), 0l)), own[2];
	ERR(CTL(KEYCTL_GET_KEYRING_ID, L(KEY_SPEC_PROCESS_KEYRING), 0l), ENOKEY);
	own[0] = OK(CTL(KEYCTL_GET_KEYRING_ID, L(KEY_SPEC_THREAD_KEYRING), 1l));
	own[1] = OK(CTL(KEYCTL_GET_KEYRING_ID, L(KEY_SPEC_PROCESS_KEYRING), 1l));
	CHECK(strstr(describe(own[0]), "keyring;") && strstr(describe(own[0]), ";_tid"));
	CHECK(strstr(describe(own[1]), ";_pid"));
	CHECK(strstr(describe(ses), ";_ses"));
	pthread_t t;
	ZERO(pthread_create(&t, NULL, thread, own));
	ZERO(pthread_join(t, NULL));
	key p = OK(add("user", "k", "p", 1, KEY_SPEC_PROCESS_KEYRING)), s = OK(add("user", "k", "s", 1, SES));
	CHECK(p != s);
	EQ(want("user", "k", 0), p); // thread, process, session
	pid_t c = OK(fork());
	if (!c) {
		EQ(CTL(KEYCTL_GET_KEYRING_ID, L(SES), 0l), ses);
		ERR(CTL(KEYCTL_GET_KEYRING_ID, L(KEY_SPEC_PROCESS_KEYRING), 0l), ENOKEY);
		ERR(CTL(KEYCTL_GET_KEYRING_ID, L(KEY_SPEC_THREAD_KEYRING), 0l), ENOKEY);
		EQ(want("user", "k", 0), s);
		char arg[32];
		snprintf(arg, sizeof(arg), "%d", s);
		execl(t_self, t_self, "--helper", "after_exec", arg, NULL);
		_exit(9);
	}
	EQ(t_wait(c), 0);
	EQ(CTL(KEYCTL_SEARCH, L(KEY_SPEC_PROCESS_KEYRING), L("user"), L("k"), 0l), p);
}

HELPER(after_exec)
{
	return want("user", "k", 0) == atoi(argv[1]) && CTL(KEYCTL_GET_KEYRING_ID, L(KEY_SPEC_PROCESS_KEYRING), 0l) == -1 ? 0 : 1;
}

TEST(sessions_by_name)
{
	session();
	char name[32];
	snprintf(name, sizeof(name), "session of %d", getpid());
	key a = OK(CTL(KEYCTL_JOIN_SESSION_KEYRING, L(name)));
	EQ(CTL(KEYCTL_GET_KEYRING_ID, L(SES), 0l), a);
	CHECK(strstr(describe(a), ";3f130000;session of"));
	ERR(CTL(KEYCTL_JOIN_SESSION_KEYRING, L(".x")), EPERM);
	OK(CTL(KEYCTL_SETPERM, L(a), 0x3f1b0000l)); // to be searched by others of this user
	EQ(CTL(KEYCTL_JOIN_SESSION_KEYRING, L(name)), 0); // it is there already
	pid_t c = OK(fork());
	if (!c) {
		key b = OK(CTL(KEYCTL_JOIN_SESSION_KEYRING, 0l));
		CHECK(a != b);
		EQ(CTL(KEYCTL_JOIN_SESSION_KEYRING, L(name)), a);
		_exit(0);
	}
	EQ(t_wait(c), 0);
	key u = OK(CTL(KEYCTL_GET_KEYRING_ID, L(KEY_SPEC_USER_KEYRING), 0l)), us = OK(CTL(KEYCTL_GET_KEYRING_ID, L(KEY_SPEC_USER_SESSION_KEYRING), 0l));
	CHECK(strstr(describe(u), ";1f3f0000;_uid."));
	CHECK(strstr(describe(us), ";1f3f0000;_uid_ses."));
	OK(add("user", "here", "x", 1, SES));
	ERR(CTL(KEYCTL_GET_KEYRING_ID, L(KEY_SPEC_REQKEY_AUTH_KEY), 0l), ENOKEY);
}

TEST(moved_and_restricted)
{
	session();
	key a = OK(add("keyring", "a", NULL, 0, SES)), b = OK(add("keyring", "b", NULL, 0, SES)), k = OK(add("user", "k", "x", 1, a));
	OK(CTL(KEYCTL_MOVE, L(k), L(a), L(b), 0l));
	ERR(CTL(KEYCTL_MOVE, L(k), L(a), L(b), 0l), ENOENT);
	OK(add("user", "k", "x", 1, a));
	ERR(CTL(KEYCTL_MOVE, L(k), L(b), L(a), 1l), EEXIST);
	ERR(CTL(KEYCTL_MOVE, L(k), L(b), L(a), 2l), EINVAL);
	OK(CTL(KEYCTL_MOVE, L(k), L(b), L(a), 0l)); // takes the place of the other
	EQ(CTL(KEYCTL_READ, L(a), 0l, 0l), 4);
	EQ(CTL(KEYCTL_READ, L(b), 0l, 0l), 0);
	ERR(CTL(KEYCTL_RESTRICT_KEYRING, L(k), 0l, 0l), ENOTDIR);
	ERR(CTL(KEYCTL_RESTRICT_KEYRING, L(b), 0l, L("x")), EINVAL);
	OK(CTL(KEYCTL_RESTRICT_KEYRING, L(b), 0l, 0l));
	ERR(CTL(KEYCTL_RESTRICT_KEYRING, L(b), 0l, 0l), EEXIST);
	ERR(add("user", "z", "x", 1, b), EPERM);
	ERR(CTL(KEYCTL_LINK, L(k), L(b)), EPERM);
	unsigned char caps[8];
	memset(caps, 0xff, sizeof(caps));
	CHECK(CTL(KEYCTL_CAPABILITIES, L(caps), 8l) >= 2);
	EQ(caps[0] & 0xe1, 0xe1);
	EQ(caps[7], 0);
}

TEST(nobody_asked_for_this_key)
{
	session();
	key k = OK(add("user", "k", "x", 1, SES));
	struct iovec v = {"x", 1};
	ERR(CTL(KEYCTL_INSTANTIATE, L(k), L("x"), 1l, 0l), EPERM);
	ERR(CTL(KEYCTL_INSTANTIATE_IOV, L(k), L(&v), 1l, 0l), EPERM);
	ERR(CTL(KEYCTL_NEGATE, L(k), 10l, 0l), EPERM);
	ERR(CTL(KEYCTL_REJECT, L(k), 10l, 5l, 0l), EPERM);
	ERR(CTL(KEYCTL_ASSUME_AUTHORITY, -5l), EINVAL);
	EQ(CTL(KEYCTL_ASSUME_AUTHORITY, 0l), 0);
	EQ(CTL(KEYCTL_SET_REQKEY_KEYRING, -1l), 0);
	EQ(CTL(KEYCTL_SET_REQKEY_KEYRING, 3l), 0);
	EQ(CTL(KEYCTL_SET_REQKEY_KEYRING, 0l), 3);
	ERR(CTL(KEYCTL_SET_REQKEY_KEYRING, 6l), EINVAL);
	ERR(CTL(KEYCTL_SET_REQKEY_KEYRING, 99l), EINVAL);
}

TEST(shown_in_proc)
{
	char line[100];
	session();
	key k = OK(add("user", "shown in proc", "12345", 5, SES));
	OK(CTL(KEYCTL_SET_TIMEOUT, L(k), 7000l));
	snprintf(line, sizeof(line), "%08x I--Q---     1   1h 3f010000 %5d %5d user      shown in proc: 5\n", k, getuid(), getgid());
	CHECK(strstr(t_get("/proc/keys"), line));
	key r = OK(add("keyring", "also shown", NULL, 0, SES));
	snprintf(line, sizeof(line), "%08x I--Q---     1 perm 3f010000 %5d %5d keyring   also shown: empty\n", r, getuid(), getgid());
	CHECK(strstr(t_get("/proc/keys"), line));
	OK(add("user", "x", "12345", 5, r));
	CHECK(strstr(t_get("/proc/keys"), "also shown: 1\n"));
	unsigned uid, usage, a, b, c, d, e, f;
	EQ(sscanf(t_get("/proc/key-users"), "%u: %u %u/%u %u/%u %u/%u", &uid, &usage, &a, &b, &c, &d, &e, &f), 8);
	CHECK(c >= 3 && e >= 10 && d >= 200 && f >= 20000);
}

TEST(quota)
{
	if (getuid())
		SKIP("needs root");
	pid_t c = OK(fork());
	if (!c) {
		char buf[9000] = "x";
		OK(setuid(20000 + (uid_t)getpid() % 40000)); // a user's quota is the machine's: other runs have other users
		session();
		OK(add("user", "a", buf, 9000, SES));
		OK(add("user", "b", buf, 9000, SES));
		ERR(add("user", "c", buf, 9000, SES), EDQUOT);
		OK(CTL(KEYCTL_CLEAR, L(SES)));
		while (add("user", "c", buf, 9000, SES) < 0)
			EQ(errno, EDQUOT);
		char name[20];
		int n = 0;
		do
			snprintf(name, sizeof(name), "k%d", n);
		while (add("user", name, "x", 1, SES) > 0 && n++ < 300);
		EQ(errno, EDQUOT);
		CHECK(n > 150 && n < 200);
		_exit(0);
	}
	int r = t_wait(c);
	if (r == T_SKIPPED)
		SKIP("no keyrings here");
	EQ(r, 0);
}
