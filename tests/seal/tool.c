// SPDX-License-Identifier: Apache-2.0
// The owner's tools on real files: seal a folder, open it again, compare; refusals; nothing escapes; disk full.
#include "seal/tool.h"
#include "seal/hostio.h"
#include "tests/seal/mem.h"
#include "tests/folder.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static char base[64];
static struct seal_tool_err err;
static struct seal_tool_stats st;
static u8 id[16];
static const struct seal_tool_options plain, forced = {.force = true};

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
	CHECK_EQ(seal_tool_seal(in("src"), in("v.vol"), test_key, &plain, &st, id, &err), 0);
	CHECK_EQ(st.files, 504);
	CHECK_EQ(seal_tool_open(in("v.vol"), test_key, in("out"), &plain, &st, &err), 0);
	CHECK_EQ(sh("diff -r --no-dereference -x fifo src out"), 0);
	CHECK_EQ(sh("(cd src && find . ! -type l -printf '%%p %%m %%T@ %%n %%y\\n' | sort) >l1; "
		    "(cd out && find . ! -type l ! -name . -printf '%%p %%m %%T@ %%n %%y\\n' | sort) >l2; "
		    "grep -v '^\\. ' l1 >l1b; cmp l1b l2"),
		 0);
	CHECK_EQ(sh("test $(du -k out/sparse | cut -f1) -lt 1000 && test $(du -k v.vol | cut -f1) -lt 8000"), 0);
	struct seal_fsck_stats f;
	CHECK_EQ(seal_tool_fsck(in("v.vol"), test_key, false, 0, &(struct seal_checker){0}, &f, &err), 0);
	CHECK_EQ(f.files, 504 + 3);
}

static void plaintext_is_not_in_the_volume(void)
{
	CHECK_EQ(sh("grep -c -a -e hello -e file-17 -e sparse v.vol; test $? -eq 1"), 0);
}

static void refuses_to_overwrite(void)
{
	CHECK_EQ(seal_tool_seal(in("src"), in("v.vol"), test_key, &plain, &st, id, &err), -EEXIST);
	CHECK(strstr(err.text, "exists already"));
	CHECK_EQ(seal_tool_create(in("v.vol"), test_key, 0, false, id, &err), -EEXIST);
	CHECK_EQ(seal_tool_open(in("v.vol"), test_key, in("out"), &plain, &st, &err), -ENOTEMPTY);
	CHECK_EQ(seal_tool_open(in("v.vol"), test_key, in("out"), &forced, &st, &err), 0);
	CHECK_EQ(sh("diff -r --no-dereference -x fifo src out"), 0);
	CHECK_EQ(seal_tool_seal(in("src"), in("v.vol"), test_key, &forced, &st, id, &err), 0);
}

static void single_file(void)
{
	CHECK_EQ(seal_tool_seal(in("src/a/hello"), in("one.vol"), test_key, &plain, &st, id, &err), 0);
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
	CHECK_EQ(seal_tool_open(in("v.vol"), other, in("out2"), &plain, &st, &err), SEAL_EKEY);
	CHECK(strstr(err.text, "key does not fit"));
	CHECK(access(in("out2"), F_OK) != 0);
	CHECK_EQ(seal_tool_open(in("src/a/b/big"), test_key, in("out2"), &plain, &st, &err), SEAL_ENOTVOLUME);
	CHECK_EQ(seal_tool_id(in("src/a/hello"), id, &version, &err), SEAL_ENOTVOLUME);
	CHECK_EQ(seal_tool_id(in("missing"), id, &version, &err), -ENOENT);
	CHECK_EQ(seal_tool_id(in("v.vol"), id, &version, &err), 0);
}

static void tampered_volume_is_refused(void)
{
	CHECK_EQ(sh("cp v.vol bad.vol && s=$(stat -c %%s bad.vol) && for o in $(seq 300000 40000 $s); do "
		    "printf '\\377\\000' | dd of=bad.vol bs=1 seek=$o conv=notrunc; done"),
		 0);
	CHECK_EQ(seal_tool_open(in("bad.vol"), test_key, in("out3"), &plain, &st, &err), SEAL_ETAMPER);
	CHECK(strstr(err.text, "does not match the tag"));
	CHECK_EQ(sh("cp v.vol cut.vol && truncate -s -4096 cut.vol"), 0);
	CHECK_EQ(seal_tool_open(in("cut.vol"), test_key, in("out4"), &plain, &st, &err), SEAL_ETAMPER);
	CHECK(strstr(err.text, "cut short"));
}

static char heard[600];
static unsigned int hears;

static void hear(void *ctx, const char *text)
{
	(void)ctx;
	hears++;
	snprintf(heard, sizeof heard, "%s", text);
}

// One file's block: all others come out whole, and what had its name before stays.
static void one_damaged_file_among_others(void)
{
	static const struct seal_tool_options hearing = {.damaged = hear}, replacing = {.force = true};
	CHECK_EQ(sh("mkdir -p dmg/a dmg/z && echo one >dmg/a/one && head -c 8M /dev/urandom >dmg/m && echo two >dmg/z/two"), 0);
	CHECK_EQ(seal_tool_seal(in("dmg"), in("dmg.vol"), test_key, &plain, &st, id, &err), 0);
	CHECK_EQ(sh("head -c 4096 /dev/zero | dd of=dmg.vol bs=4096 seek=$(($(stat -c %%s dmg.vol) / 8192)) conv=notrunc"), 0);
	CHECK_EQ(seal_tool_open(in("dmg.vol"), test_key, in("dmg.out"), &hearing, &st, &err), SEAL_ETAMPER);
	CHECK(strstr(err.text, "dmg.vol: m: ") && strstr(err.text, "1 are damaged") && strstr(err.text, "coffer volume fsck"));
	CHECK(hears == 1 && strstr(heard, "dmg.vol: m: "));
	CHECK(st.files == 2 && st.damaged == 1);
	CHECK_EQ(sh("diff -r -x m dmg dmg.out && test ! -e dmg.out/m && test -z \"$(ls -A dmg.out | grep partial)\" && echo old >dmg.out/m"), 0);
	CHECK_EQ(seal_tool_open(in("dmg.vol"), test_key, in("dmg.out"), &replacing, &st, &err), SEAL_ETAMPER);
	CHECK_EQ(sh("test $(cat dmg.out/m) = old && diff -r -x m dmg dmg.out && rm -r dmg dmg.out dmg.vol"), 0);
}

static void symlinks_do_not_lead_out(void)
{
	CHECK_EQ(sh("mkdir -p trap outside src2/d && echo in >src2/d/f && echo in >src2/g"), 0);
	CHECK_EQ(seal_tool_seal(in("src2"), in("t.vol"), test_key, &plain, &st, id, &err), 0);
	CHECK_EQ(sh("ln -s ../outside trap/d"), 0);
	CHECK(seal_tool_open(in("t.vol"), test_key, in("trap"), &forced, &st, &err) < 0);
	CHECK_EQ(sh("test ! -e outside/f"), 0);
	CHECK_EQ(sh("rm trap/d && echo old >outside/g && ln -sf ../outside/g trap/g"), 0);
	CHECK_EQ(seal_tool_open(in("t.vol"), test_key, in("trap"), &forced, &st, &err), 0);
	CHECK_EQ(sh("test \"$(cat outside/g)\" = old && test \"$(cat trap/g)\" = in && test ! -L trap/g"), 0);
}

// What stands where a new volume would grow is not ours to remove, unless it is one.
static void a_stranger_in_the_way(void)
{
	CHECK_EQ(sh("mkdir way && echo x >way/f && echo precious >way.vol.partial"), 0);
	CHECK_EQ(seal_tool_seal(in("way"), in("way.vol"), test_key, &plain, &st, id, &err), -EEXIST);
	CHECK(strstr(err.text, "move it away"));
	CHECK_EQ(sh("test $(cat way.vol.partial) = precious && rm way.vol.partial && mkfifo way.vol.partial"), 0);
	CHECK_EQ(seal_tool_seal(in("way"), in("way.vol"), test_key, &plain, &st, id, &err), -EEXIST);
	CHECK_EQ(sh("test -p way.vol.partial && rm way.vol.partial && cp v.vol way.vol.partial"), 0);
	CHECK_EQ(seal_tool_seal(in("way"), in("way.vol"), test_key, &plain, &st, id, &err), 0);
	CHECK_EQ(sh("test -e way.vol && test ! -e way.vol.partial && rm -r way way.vol"), 0);
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
	int r = seal_tool_seal(in("src"), in("full.vol"), test_key, &plain, &st, id, &err);
	struct seal_tool_err err2;
	int r2 = seal_tool_open(in("v.vol"), test_key, in("out5"), &plain, &st, &err2);
	setrlimit(RLIMIT_FSIZE, &old);
	CHECK_EQ(r, -ENOSPC);
	CHECK(strstr(err.text, "removed"));
	CHECK_EQ(sh("ls full.vol*; test $? -ne 0"), 0);
	CHECK_EQ(r2, -EFBIG);
	CHECK(strstr(err2.text, "left in"));
	CHECK_EQ(sh("test ! -e out5/a/b/big"), 0);
}

// Stops the run that is under way after so many bytes.
static u64 stop_at;
static void stop_then(void *ctx, u64 files, u64 bytes, u64 total)
{
	(void)ctx, (void)files, (void)total;
	if (bytes >= stop_at)
		seal_tool_stop = 1;
}
static const struct seal_tool_progress stopping = {.fn = stop_then};

static void resumed_sealing(void)
{
	struct seal_tool_options o = {.progress = &stopping, .resume = true};
	CHECK_EQ(sh("mkdir -p r/d && echo theirs >r/d/.coffer-partial.1.1 && for i in 1 2 3 4 5 6; do head -c 20000000 /dev/urandom >r/d/$i; done; ln r/d/1 r/d/one; "
		    "ln -s x r/l; mkdir r/gone; echo x >r/gone/x; truncate -s 600M r/z-large; "
		    "head -c 3000000 /dev/urandom | dd of=r/z-large bs=1M seek=400 conv=notrunc"),
		 0);
	for (stop_at = 30u << 20; stop_at < 400u << 20; stop_at += 170u << 20) {
		seal_tool_stop = 0;
		CHECK_EQ(seal_tool_seal(in("r"), in("r.vol"), test_key, &o, &st, id, &err), -EINTR);
		CHECK(strstr(err.text, "--resume"));
		CHECK(access(in("r.vol"), F_OK) && !access(in("r.vol.partial"), F_OK));
		if (stop_at == 30u << 20) // the folder changes between two runs
			CHECK_EQ(sh("rm -r r/gone && echo new >r/d/0 && rm r/d/2 && mkdir r/d/2 && echo y >r/d/2/y"), 0);
	}
	seal_tool_stop = 0;
	CHECK(st.kept >= 5);
	o.progress = NULL;
	CHECK_EQ(seal_tool_seal(in("r"), in("r.vol"), test_key, &o, &st, id, &err), 0);
	CHECK(st.kept >= 5);
	CHECK(access(in("r.vol.partial"), F_OK));
	struct seal_fsck_stats f;
	CHECK_EQ(seal_tool_fsck(in("r.vol"), test_key, false, 0, &(struct seal_checker){0}, &f, &err), 0);
	CHECK_EQ(seal_tool_open(in("r.vol"), test_key, in("r.out"), &plain, &st, &err), 0);
	CHECK_EQ(sh("diff -r --no-dereference r r.out && test r.out/d/1 -ef r.out/d/one && test $(du -k r.out/z-large | cut -f1) -lt 4000"),
		 0);
}

static void resumed_opening(void)
{
	struct seal_tool_options o = {.progress = &stopping, .resume = true};
	for (stop_at = 30u << 20; stop_at < 400u << 20; stop_at += 170u << 20) {
		seal_tool_stop = 0;
		CHECK_EQ(seal_tool_open(in("r.vol"), test_key, in("r.out2"), &o, &st, &err), -EINTR);
		CHECK(strstr(err.text, "--resume"));
		// what has its name is whole
		CHECK_EQ(sh("cd r.out2 && for f in $(find . -type f ! -name '.coffer-partial.*'); do cmp $f ../r/$f || exit 1; done"), 0);
	}
	seal_tool_stop = 0;
	CHECK(st.kept >= 4);
	o.progress = NULL;
	// The machine was down meanwhile, and contents that were never written to its disk are gone: nothing is trusted then.
	CHECK_EQ(sh("cd r.out2 && test -s .coffer-partial.run && echo another >.coffer-partial.run && touch -r d/3 stamp && "
		    "dd if=/dev/zero of=d/3 bs=1M count=2 conv=notrunc && touch -r stamp d/3 && rm stamp && "
		    "for f in $(find . -name '.coffer-partial.[0-9]*' ! -name '*.1.1'); do s=$(stat -c %%s $f); truncate -s 0 $f; truncate -s $s $f; done"),
		 0);
	CHECK_EQ(sh("echo stray >r.out2/d/.coffer-partial.7.7"), 0);
	CHECK_EQ(seal_tool_open(in("r.vol"), test_key, in("r.out2"), &o, &st, &err), 0);
	CHECK_EQ(sh("diff -r --no-dereference r r.out2 && test r.out2/d/1 -ef r.out2/d/one && ! ls r.out2/.coffer-partial.run"), 0);
	// a file that is there and is another one is not replaced
	CHECK_EQ(sh("echo mine >r.out2/d/3"), 0);
	CHECK_EQ(seal_tool_open(in("r.vol"), test_key, in("r.out2"), &o, &st, &err), -EEXIST);
	CHECK_EQ(sh("test $(cat r.out2/d/3) = mine; rm -rf r r.out r.out2 r.vol"), 0);
}

static void extended_attributes(void)
{
	if (sh("mkdir x && echo x >x/f && setfattr -n user.a -v one x/f && setfattr -n user.b -v two x")) {
		printf("# no extended attributes here\n");
		return;
	}
	CHECK_EQ(seal_tool_seal(in("x"), in("x.vol"), test_key, &plain, &st, id, &err), 0);
	CHECK_EQ(seal_tool_open(in("x.vol"), test_key, in("x.out"), &plain, &st, &err), 0);
	CHECK_EQ(sh("test $(getfattr --only-values -n user.a x.out/f) = one"), 0);
	if (sh("setfattr -n user.big -v $(head -c 3900 /dev/zero | tr '\\0' x) x/f && setfattr -n user.c -v $(head -c 400 /dev/zero | tr '\\0' x) x/f"))
		return; // the host has the same limit
	CHECK(seal_tool_seal(in("x"), in("x.vol"), test_key, &forced, &st, id, &err) < 0);
	CHECK(strstr(err.text, "4 KiB"));
}

static void two_writers_are_refused(void)
{
	struct hostio a, b;
	CHECK_EQ(hostio_open(&a, in("v.vol"), HOSTIO_WRITE), 0);
	CHECK_EQ(hostio_open(&b, in("v.vol"), HOSTIO_READ), -EBUSY);
	hostio_close(&a);
}

static int somebody_opens(void *ctx, const u8 volume[SEAL_ID_BYTES], struct seal_tool_err *e)
{
	struct hostio b;
	(void)volume, (void)e;
	*(int *)ctx = hostio_open(&b, in("old.vol"), HOSTIO_READ);
	return 0;
}

static struct hostio other;

static int another_comes(void *ctx, const u8 volume[SEAL_ID_BYTES], struct seal_tool_err *e)
{
	(void)ctx, (void)volume, (void)e;
	return sh("mv newer.vol old.vol") ? -EIO : hostio_open(&other, in("old.vol"), HOSTIO_READ);
}

// What has the name is kept from others while it is replaced; where that cannot be, it stays.
static void what_is_replaced(void)
{
	int opened = 0, free_fd = dup(0);
	struct rlimit was, few;
	struct seal_tool_options o = {.force = true, .ready = somebody_opens, .ctx = &opened};
	close(free_fd);
	CHECK_EQ(sh("mkdir rep && echo x >rep/f && cp v.vol old.vol && cp v.vol newer.vol"), 0);
	CHECK_EQ(seal_tool_seal(in("rep"), in("old.vol"), test_key, &o, &st, id, &err), 0);
	CHECK_EQ(opened, -EBUSY);
	CHECK(!sh("cmp old.vol v.vol; test $? = 1 && cp v.vol old.vol"));
	o.ready = another_comes;
	CHECK_EQ(seal_tool_seal(in("rep"), in("old.vol"), test_key, &o, &st, id, &err), -EBUSY);
	CHECK(strstr(err.text, "in use"));
	hostio_close(&other);
	CHECK_EQ(sh("cmp old.vol v.vol && rm -f old.vol.partial"), 0);
	CHECK(!getrlimit(RLIMIT_NOFILE, &was));
	few = (struct rlimit){.rlim_cur = (rlim_t)free_fd, .rlim_max = was.rlim_max};
	CHECK(!setrlimit(RLIMIT_NOFILE, &few));
	int r = seal_tool_seal(in("rep"), in("old.vol"), test_key, &forced, &st, id, &err);
	CHECK(!setrlimit(RLIMIT_NOFILE, &was));
	CHECK_EQ(r, -EMFILE);
	CHECK(strstr(err.text, "cannot tell whether somebody has it open"));
	CHECK_EQ(sh("cmp old.vol v.vol && rm -r rep old.vol"), 0);
}

// A host tells of an error once; whoever flushes after that is told by us.
static void a_flush_that_failed(void)
{
	struct hostio h;
	int ends[2];
	CHECK_EQ(hostio_open(&h, in("v.vol"), HOSTIO_WRITE), 0);
	CHECK_EQ(h.io.flush(h.io.ctx), 0);
	int file = dup(h.fd);
	CHECK(file >= 0 && !pipe(ends));
	CHECK_EQ(dup2(ends[1], h.fd), h.fd); // cannot be flushed
	CHECK_EQ(h.io.flush(h.io.ctx), -EINVAL);
	CHECK_EQ(dup2(file, h.fd), h.fd);
	CHECK_EQ(h.io.flush(h.io.ctx), -EINVAL);
	close(file);
	close(ends[0]);
	close(ends[1]);
	CHECK_EQ(hostio_close(&h), 0);
}

static int remembers(void *ctx, const u8 asked[SEAL_ID_BYTES], struct seal_anchor *out, struct seal_tool_err *e)
{
	(void)ctx, (void)e;
	*out = (struct seal_anchor){.epoch = 1, .generation = 1000000};
	return memcmp(asked, id, sizeof id) ? -ENOENT : 0;
}

// What the anchor was asked about has to be what opens: an id that it does not know, in one header, opens nothing.
static void anchor_is_asked_about_what_opens(void)
{
	static const struct seal_tool_anchor anchor = {.get = remembers};
	CHECK_EQ(sh("mkdir anc && echo x >anc/f"), 0);
	CHECK_EQ(seal_tool_seal(in("anc"), in("anc.vol"), test_key, &plain, &st, id, &err), 0);
	seal_tool_set_anchor(&anchor);
	CHECK_EQ(seal_tool_open(in("anc.vol"), test_key, in("anc.out"), &plain, &st, &err), SEAL_EROLLBACK);
	CHECK_EQ(sh("printf 'another id......' | dd of=anc.vol bs=1 seek=16 conv=notrunc"), 0);
	CHECK_EQ(seal_tool_open(in("anc.vol"), test_key, in("anc.out"), &plain, &st, &err), SEAL_EIDENTITY);
	seal_tool_set_anchor(NULL);
}

static u8 kept[SEAL_KEY_BYTES];

static int keep_and_fail(void *ctx, struct seal_tool_err *e)
{
	memcpy(kept, ctx, sizeof kept);
	snprintf(e->text, sizeof e->text, "no answer");
	return -EIO;
}

// The new key may have been kept although that was not heard of: no key is taken away then.
static void unheard_new_key(void)
{
	u8 key[SEAL_KEY_BYTES] = "another thirty-two bytes of key";
	CHECK_EQ(sh("mkdir rk && echo x >rk/f"), 0);
	CHECK_EQ(seal_tool_seal(in("rk"), in("rk.vol"), test_key, &plain, &st, id, &err), 0);
	CHECK_EQ(seal_tool_rekey(in("rk.vol"), test_key, key, false, keep_and_fail, key, NULL, &err), -EIO);
	CHECK_EQ(seal_tool_open(in("rk.vol"), kept, in("rk.new"), &plain, &st, &err), 0);
	CHECK_EQ(seal_tool_open(in("rk.vol"), test_key, in("rk.old"), &plain, &st, &err), 0);
}

int main(void)
{
	if (!test_folder(base, "seal"))
		return 1;
	RUN(round_trip);
	RUN(plaintext_is_not_in_the_volume);
	RUN(refuses_to_overwrite);
	RUN(single_file);
	RUN(wrong_key_and_other_files);
	RUN(tampered_volume_is_refused);
	RUN(one_damaged_file_among_others);
	RUN(symlinks_do_not_lead_out);
	RUN(a_stranger_in_the_way);
	RUN(key_files);
	RUN(host_disk_full);
	RUN(resumed_sealing);
	RUN(resumed_opening);
	RUN(extended_attributes);
	RUN(two_writers_are_refused);
	RUN(what_is_replaced);
	RUN(a_flush_that_failed);
	RUN(anchor_is_asked_about_what_opens);
	RUN(unheard_new_key);
	return test_failures != 0;
}
