// SPDX-License-Identifier: Apache-2.0
// The owner's tools on real files: seal a folder, open it again, compare; refusals; nothing escapes; disk full.
#include "seal/tool.h"
#include "seal/hostio.h"
#include "tests/seal/mem.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char base[64];
static struct seal_tool_err err;
static struct seal_tool_stats st;
static u8 id[16];

static const char *in(const char *name)
{
	static char b[4][256];
	static int k;
	char *p = b[k++ % 4];
	snprintf(p, 256, "%s/%s", base, name);
	return p;
}

static int sh(const char *fmt, ...)
{
	char cmd[1024], full[1200];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(cmd, sizeof cmd, fmt, ap);
	va_end(ap);
	snprintf(full, sizeof full, "cd %s && { %s; } >/dev/null 2>&1", base, cmd);
	return system(full);
}

static void round_trip(void)
{
	CHECK_EQ(sh("mkdir -p src/a/b/c src/empty && printf hello >src/a/hello && : >src/nothing && "
		    "head -c 3000000 /dev/urandom >src/a/b/big && truncate -s 50M src/sparse && "
		    "printf x | dd of=src/sparse bs=1 seek=30000000 conv=notrunc && ln -s ../hello src/a/b/link && "
		    "ln -s /etc/passwd src/abs && ln src/a/hello src/a/b/c/hard && mkfifo src/fifo && chmod 750 src/a "
		    "&& "
		    "chmod 400 src/a/b/big && touch -d '2001-02-03 04:05:06.789' src/a/hello && "
		    "for i in $(seq 500); do echo $i >src/empty/file-$i; done && touch -d '1999-01-01' src/empty"),
		 0);
	CHECK_EQ(seal_tool_seal(in("src"), in("v.vol"), test_key, false, false, NULL, &st, id, &err), 0);
	CHECK_EQ(st.files, 504);
	CHECK_EQ(seal_tool_open(in("v.vol"), test_key, in("out"), false, NULL, &st, &err), 0);
	CHECK_EQ(sh("diff -r --no-dereference -x fifo src out"), 0);
	CHECK_EQ(sh("(cd src && find . ! -type l -printf '%%p %%m %%T@ %%n %%y\\n' | sort) >l1; "
		    "(cd out && find . ! -type l ! -name . -printf '%%p %%m %%T@ %%n %%y\\n' | sort) >l2; "
		    "grep -v '^\\. ' l1 >l1b; cmp l1b l2"),
		 0);
	CHECK_EQ(sh("test $(du -k out/sparse | cut -f1) -lt 1000 && test $(du -k v.vol | cut -f1) -lt 8000"), 0);
	struct seal_fsck_stats f;
	CHECK_EQ(seal_tool_fsck(in("v.vol"), test_key, NULL, NULL, &f, &err), 0);
	CHECK_EQ(f.files, 504 + 3);
}

static void plaintext_is_not_in_the_volume(void)
{
	CHECK_EQ(sh("grep -c -a -e hello -e file-17 -e sparse v.vol; test $? -eq 1"), 0);
}

static void refuses_to_overwrite(void)
{
	CHECK_EQ(seal_tool_seal(in("src"), in("v.vol"), test_key, false, false, NULL, &st, id, &err), -EEXIST);
	CHECK(strstr(err.text, "exists already"));
	CHECK_EQ(seal_tool_create(in("v.vol"), test_key, 0, false, id, &err), -EEXIST);
	CHECK_EQ(seal_tool_open(in("v.vol"), test_key, in("out"), false, NULL, &st, &err), -ENOTEMPTY);
	CHECK_EQ(seal_tool_open(in("v.vol"), test_key, in("out"), true, NULL, &st, &err), 0);
	CHECK_EQ(sh("diff -r --no-dereference -x fifo src out"), 0);
	CHECK_EQ(seal_tool_seal(in("src"), in("v.vol"), test_key, true, false, NULL, &st, id, &err), 0);
}

static void single_file(void)
{
	CHECK_EQ(seal_tool_seal(in("src/a/hello"), in("one.vol"), test_key, false, false, NULL, &st, id, &err), 0);
	int fd = open(in("catted"), O_WRONLY | O_CREAT, 0600);
	CHECK_EQ(seal_tool_cat(in("one.vol"), test_key, "hello", fd, &err), 0);
	close(fd);
	CHECK_EQ(sh("test \"$(cat catted)\" = hello"), 0);
	fd = open("/dev/null", O_WRONLY);
	CHECK_EQ(seal_tool_cat(in("one.vol"), test_key, "no/such", fd, &err), -ENOENT);
	close(fd);
}

static void wrong_key_and_other_files(void)
{
	u8 other[32] = {1};
	u32 version;
	CHECK_EQ(seal_tool_open(in("v.vol"), other, in("out2"), false, NULL, &st, &err), SEAL_EKEY);
	CHECK(strstr(err.text, "key does not fit"));
	CHECK(access(in("out2"), F_OK) != 0);
	CHECK_EQ(seal_tool_open(in("src/a/b/big"), test_key, in("out2"), false, NULL, &st, &err), SEAL_ENOTVOLUME);
	CHECK_EQ(seal_tool_id(in("src/a/hello"), id, &version, &err), SEAL_ENOTVOLUME);
	CHECK_EQ(seal_tool_id(in("missing"), id, &version, &err), -ENOENT);
	CHECK_EQ(seal_tool_id(in("v.vol"), id, &version, &err), 0);
}

static void tampered_volume_is_refused(void)
{
	CHECK_EQ(sh("cp v.vol bad.vol && s=$(stat -c %%s bad.vol) && for o in $(seq 300000 40000 $s); do "
		    "printf '\\377\\000' | dd of=bad.vol bs=1 seek=$o conv=notrunc; done"),
		 0);
	CHECK_EQ(seal_tool_open(in("bad.vol"), test_key, in("out3"), false, NULL, &st, &err), SEAL_ETAMPER);
	CHECK(strstr(err.text, "does not match the tag"));
	CHECK_EQ(sh("cp v.vol cut.vol && truncate -s -4096 cut.vol"), 0);
	CHECK_EQ(seal_tool_open(in("cut.vol"), test_key, in("out4"), false, NULL, &st, &err), SEAL_ETAMPER);
	CHECK(strstr(err.text, "cut short"));
}

static void symlinks_do_not_lead_out(void)
{
	CHECK_EQ(sh("mkdir -p trap outside src2/d && echo in >src2/d/f && echo in >src2/g"), 0);
	CHECK_EQ(seal_tool_seal(in("src2"), in("t.vol"), test_key, false, false, NULL, &st, id, &err), 0);
	CHECK_EQ(sh("ln -s ../outside trap/d"), 0);
	CHECK(seal_tool_open(in("t.vol"), test_key, in("trap"), true, NULL, &st, &err) < 0);
	CHECK_EQ(sh("test ! -e outside/f"), 0);
	CHECK_EQ(sh("rm trap/d && echo old >outside/g && ln -sf ../outside/g trap/g"), 0);
	CHECK_EQ(seal_tool_open(in("t.vol"), test_key, in("trap"), true, NULL, &st, &err), 0);
	CHECK_EQ(sh("test \"$(cat outside/g)\" = old && test \"$(cat trap/g)\" = in && test ! -L trap/g"), 0);
}

static void key_files(void)
{
	u8 key[32], back[32];
	CHECK_EQ(seal_tool_new_key(key, &err), 0);
	CHECK_EQ(seal_tool_save_key(in("k"), key, &err), 0);
	CHECK_EQ(seal_tool_save_key(in("k"), key, &err), -EEXIST);
	CHECK_EQ(seal_tool_load_key(in("k"), back, &err), 0);
	CHECK(!memcmp(key, back, 32));
	CHECK_EQ(sh("chmod 644 k"), 0);
	CHECK_EQ(seal_tool_load_key(in("k"), back, &err), -EACCES);
	CHECK_EQ(sh("chmod 600 k && echo abc >k"), 0);
	CHECK_EQ(seal_tool_load_key(in("k"), back, &err), -EINVAL);
	CHECK_EQ(seal_tool_load_key(in("nokey"), back, &err), -ENOENT);
}

// A file size limit stands for a full disk: writes fail midway.
static void host_disk_full(void)
{
	struct rlimit old, lim;
	getrlimit(RLIMIT_FSIZE, &old);
	lim = old;
	lim.rlim_cur = 1u << 20;
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &lim);
	int r = seal_tool_seal(in("src"), in("full.vol"), test_key, false, false, NULL, &st, id, &err);
	struct seal_tool_err err2;
	int r2 = seal_tool_open(in("v.vol"), test_key, in("out5"), false, NULL, &st, &err2);
	setrlimit(RLIMIT_FSIZE, &old);
	CHECK_EQ(r, -ENOSPC);
	CHECK(strstr(err.text, "removed"));
	CHECK_EQ(sh("ls full.vol*; test $? -ne 0"), 0);
	CHECK_EQ(r2, -EFBIG);
	CHECK(strstr(err2.text, "left in"));
	CHECK_EQ(sh("test ! -e out5/a/b/big"), 0);
}

static void two_writers_are_refused(void)
{
	struct hostio a, b;
	CHECK_EQ(hostio_open(&a, in("v.vol"), HOSTIO_WRITE), 0);
	CHECK_EQ(hostio_open(&b, in("v.vol"), HOSTIO_READ), -EBUSY);
	hostio_close(&a);
}

int main(void)
{
	snprintf(base, sizeof base, "%s/coffer-seal-XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	if (!mkdtemp(base))
		return 1;
	RUN(round_trip);
	RUN(plaintext_is_not_in_the_volume);
	RUN(refuses_to_overwrite);
	RUN(single_file);
	RUN(wrong_key_and_other_files);
	RUN(tampered_volume_is_refused);
	RUN(symlinks_do_not_lead_out);
	RUN(key_files);
	RUN(host_disk_full);
	RUN(two_writers_are_refused);
	char cmd[256];
	snprintf(cmd, sizeof cmd, "chmod -R u+w %s; rm -rf %s", base, base);
	return system(cmd) || test_failures != 0;
}
