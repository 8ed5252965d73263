// SPDX-License-Identifier: Apache-2.0
// The audit log without a broker: the tree against a second, naive one; the log against kills at any moment, torn tails, full disks and
// a host that edits it; exports and proofs against changes of every kind.
#include "broker/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/audit_file.h"
#include "broker/audit_verify.h"
#include "lib/encode.h"
#include "lib/file.h"
#include "tests/attest/ok.h"
#include "tests/folder.h"

static char work[64];
static EVP_PKEY *key, *witness_key, *other_key;
static const char name[] = "test-log/1";

// ---- the tree ----

static uint8_t leaves[300][MERKLE_HASH];

// RFC 9162, 2.1.1, word for word.
static void naive(uint64_t from, uint64_t n, uint8_t out[MERKLE_HASH])
{
	uint8_t l[MERKLE_HASH], r[MERKLE_HASH];
	uint64_t k = 1;
	if (n == 1) {
		memcpy(out, leaves[from], MERKLE_HASH);
		return;
	}
	while (k * 2 < n)
		k *= 2;
	naive(from, k, l);
	naive(from + k, n - k, r);
	merkle_node(l, r, out);
}

static int naive_read(void *ctx, unsigned int level, uint64_t index, uint8_t out[MERKLE_HASH])
{
	uint64_t n = 1ull << level;
	if ((index + 1) * n > *(uint64_t *)ctx)
		return -ENODATA;	// no more of the tree than there is
	naive(index * n, n, out);
	return 0;
}

static void test_tree(void)
{
	// The vectors that Certificate Transparency's implementations share: eight leaves.
	static const char *const inputs[] = {"", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"};
	static const char *const roots[] = {
		"6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d", "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
		"aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77", "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
		"4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4", "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
		"ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c", "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"};
	struct merkle_range r = {0};
	uint8_t bytes[16], h[MERKLE_HASH], root[MERKLE_HASH];
	char hex[65];
	bool good = true;
	for (int i = 0; i < 8; i++) {
		size_t n = strlen(inputs[i]) / 2;
		hex_decode(bytes, n, inputs[i]);
		merkle_leaf(bytes, n, h);
		merkle_add(&r, h);
		merkle_range_root(&r, root);
		good &= !strcmp(hex_encode(hex, root, 32), roots[i]);
	}
	ok("roots of the published eight leaves", good, "last one %s", hex);

	for (unsigned int i = 0; i < 300; i++)
		merkle_leaf(&i, sizeof i, leaves[i]);
	uint64_t size = 0;
	struct merkle_source s = {naive_read, &size};
	bool roots_good = true, in = true, con = true, refused = true;
	memset(&r, 0, sizeof r);
	for (size = 1; size <= 300; size++) {
		uint8_t a[MERKLE_HASH], b[MERKLE_HASH], old_root[MERKLE_HASH];
		struct merkle_proof p;
		merkle_add(&r, leaves[size - 1]);
		merkle_range_root(&r, a);
		naive(0, size, b);
		roots_good &= !memcmp(a, b, 32) && !merkle_root(&s, size, a) && !memcmp(a, b, 32);
		for (uint64_t i = 0; i < size; i += 1 + size / 40) {
			in &= !merkle_prove_inclusion(&s, i, size, &p) && merkle_check_inclusion(leaves[i], i, size, &p, b);
			refused &= !merkle_check_inclusion(leaves[(i + 1) % 300], i, size, &p, b) &&
				   !merkle_check_inclusion(leaves[i], i ^ 1, size, &p, b);
			if (p.count) {
				p.hash[size % p.count][3] ^= 1;
				refused &= !merkle_check_inclusion(leaves[i], i, size, &p, b);
				p.hash[size % p.count][3] ^= 1;
				p.count--;
				refused &= !merkle_check_inclusion(leaves[i], i, size, &p, b);
			}
			naive(0, i + 1, old_root);
			con &= !merkle_prove_consistency(&s, i + 1, size, &p) && merkle_check_consistency(i + 1, old_root, size, b, &p);
			old_root[7] ^= 1;
			refused &= !merkle_check_consistency(i + 1, old_root, size, b, &p);
			old_root[7] ^= 1;
			if (p.count) {
				p.hash[i % p.count][0] ^= 1;
				refused &= !merkle_check_consistency(i + 1, old_root, size, b, &p);
			}
		}
		refused &= merkle_prove_inclusion(&s, size, size, &p) == -EINVAL && merkle_prove_consistency(&s, size + 1, size, &p) == -EINVAL &&
			   merkle_prove_consistency(&s, 0, size, &p) == -EINVAL;
	}
	ok("roots of 300 sizes, two ways", roots_good, "they differ");
	ok("inclusion proofs hold", in, "one does not");
	ok("consistency proofs hold", con, "one does not");
	ok("changed and foreign proofs are refused", refused, "one is not");
}

// ---- notes ----

static void test_notes(void)
{
	// C2SP's own example key and note of a witness, so that ours are read as others read theirs.
	struct note_key k, w, again;
	struct note n = {.head = {.size = 5}}, back;
	char text[NOTE_MAX], kt[NOTE_KEY_TEXT];
	uint64_t when = 0;
	strcpy(n.head.origin, name);
	bool good = !note_key_of(&k, name, NOTE_LOG, key) && !note_key_of(&w, "w.example/1", NOTE_WITNESS, witness_key) &&
		    !note_sign(&n, &k, key, 0) && !note_sign(&n, &w, witness_key, 1234567890);
	size_t len = note_text(&n, text);
	ok("a tree head is written and read", good && !note_parse(&back, text, len, NULL) && !memcmp(&n, &back, sizeof n), "%s", text);
	ok("its signatures hold", note_signed_by(&back, &k, NULL) && note_signed_by(&back, &w, &when) && when == 1234567890, "%" PRIu64, when);
	note_key_text(&w, kt);
	ok("a public key is written and read", !note_key_parse(&again, kt) && !memcmp(&again, &w, sizeof w), "%s", kt);
	static const char go_key[] = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
	static const char go_note[] =
		"PeterNeumann\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n\n";
	ok("a public key of Go's notes is read", !note_key_parse(&again, go_key) && again.kind == NOTE_LOG, "it is not");
	ok("an unsigned head is read, and nobody's", !note_parse(&back, go_note, sizeof go_note - 1, NULL) && !note_signed_by(&back, &again, NULL),
	   "it is not");
	unsigned int passed = 0, read = 0;
	for (size_t i = 0; i < len; i++) {
		text[i] ^= 1;
		if (!note_parse(&back, text, len, NULL)) {
			read++;
			passed += note_signed_by(&back, &k, NULL) && note_signed_by(&back, &w, NULL);
		}
		text[i] ^= 1;
	}
	ok("no changed byte passes both signatures", passed == 0 && read > 20, "%u of %u", passed, read);
	ok("a cut note is refused", note_parse(&back, text, len - 1, NULL) == -EINVAL, "it is not");
	back = n;
	back.signature[1].bytes[7] ^= 1;
	ok("a witness's time cannot be changed", !note_signed_by(&back, &w, NULL), "it can");
}

// ---- the log ----

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static const char *fresh(const char *what)
{
	static char dir[128];
	snprintf(dir, sizeof dir, "%s/%s", work, what);
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return dir;
}

static struct audit *reopen(const char *dir, struct fault *f)
{
	struct audit *a = NULL;
	uint64_t dropped;
	f->text[0] = '\0';
	audit_open(&a, dir, name, key, &dropped, f);
	return a;
}

static int append(struct audit *a, unsigned int n, uint64_t *index, struct fault *f)
{
	char text[40];
	snprintf(text, sizeof text, "%0*u", (int)(8 + n % 16), n);
	return audit_append(a, json_pack("{s:s, s:s}", "event", "test", "what", text), index, f);
}

// The export of a log without a broker.
static void export_to(struct audit *a, uint64_t from, FILE *out)
{
	char text[NOTE_MAX], kt[NOTE_KEY_TEXT], hash[64];
	struct merkle_range r;
	struct note n;
	struct fault f;
	audit_head(a, &n);
	audit_range(a, from, &r, &f);
	note_key_text(audit_key(a), kt);
	fprintf(out, AUDIT_EXPORT "\nkey %s\nfrom %" PRIu64 "\n", kt, from);
	for (unsigned int level = 63; level-- > 0;) {
		if (!(from >> level & 1))
			continue;
		base64_encode(hash, r.peak[level], 32, BASE64_STD);
		fprintf(out, "hash %s\n", hash);
	}
	fputc('\n', out);
	for (uint64_t at = from; at < n.head.size;) {
		char *page;
		size_t len;
		if (audit_lines(a, at, n.head.size, &page, &len, &f))
			break;
		fwrite(page, 1, len, out);
		for (size_t i = 0; i < len; i++)
			at += page[i] == '{' && (i == 0 || page[i - 1] == '\n');
		free(page);
	}
	note_text(&n, text);
	fprintf(out, "\n%s", text);
}

static char *export_text(struct audit *a, uint64_t from, size_t *len)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, len);
	export_to(a, from, out);
	fclose(out);
	return text;
}

static int verify(const char *text, size_t len, const struct audit_trust *t, struct audit_verdict *v)
{
	FILE *in = fmemopen((void *)text, len, "r");
	struct fault f = {""};
	int err = audit_verify_export(in, t, v, &f);
	fclose(in);
	return err;
}

struct shared {
	struct audit *a;
	unsigned int from, failed;
	pthread_t thread;
};

static void *append_many(void *arg)
{
	struct shared *s = arg;
	struct fault f = {""};
	for (unsigned int i = 0; i < 100; i++) {
		uint64_t index;
		char *text, want[64];
		size_t len;
		s->failed += append(s->a, s->from + i, &index, &f) != 0;
		// What was answered is there, under its number.
		snprintf(want, sizeof want, "%u\"}", s->from + i);
		if (audit_read(s->a, index, &text, &len, &f)) {
			s->failed++;
			continue;
		}
		s->failed += len < strlen(want) || strcmp(text + len - strlen(want), want) != 0;
		free(text);
	}
	return NULL;
}

static void test_log(void)
{
	const char *dir = fresh("log");
	struct fault f = {""};
	struct audit *a = reopen(dir, &f);
	struct note empty, head, later;
	uint64_t index = 99;
	if (!ok("a log is made", a != NULL, "%s", f.text))
		return;
	audit_head(a, &empty);
	ok("an empty log has a signed head", empty.head.size == 0 && note_signed_by(&empty, audit_key(a), NULL), "it has not");
	bool good = true;
	for (unsigned int i = 0; i < 700; i++)
		good &= !append(a, i, &index, &f) && index == i;
	ok("700 records", good, "%s", f.text);
	audit_head(a, &head);
	struct shared t[8];
	unsigned int failed = 0;
	for (unsigned int i = 0; i < 8; i++) {
		t[i] = (struct shared){.a = a, .from = 10000 * (i + 1)};
		pthread_create(&t[i].thread, NULL, append_many, &t[i]);
	}
	for (unsigned int i = 0; i < 8; i++) {
		pthread_join(t[i].thread, NULL);
		failed += t[i].failed;
	}
	ok("eight writers at once, each reads what it wrote", failed == 0, "%u failed", failed);
	audit_head(a, &later);
	struct merkle_proof p;
	int err = audit_prove_consistency(a, head.head.size, later.head.size, &p, &f);
	ok("the later head goes on from the earlier one", !err && later.head.size == 1500 &&
	   merkle_check_consistency(head.head.size, head.head.root, later.head.size, later.head.root, &p), "%s", f.text);
	good = true;
	for (uint64_t i = 0; i < 1500; i += 7) {
		uint8_t leaf[32];
		char *text;
		size_t len;
		good &= !audit_read(a, i, &text, &len, &f);
		merkle_leaf(text, len, leaf);
		free(text);
		good &= !audit_prove_inclusion(a, i, 1500, &p, &f) && merkle_check_inclusion(leaf, i, 1500, &p, later.head.root);
	}
	ok("records are proved by their own bytes", good, "%s", f.text);
	char *big = malloc(AUDIT_MAX_ENTRY + 10);
	memset(big, 'x', AUDIT_MAX_ENTRY + 9);
	big[AUDIT_MAX_ENTRY + 9] = '\0';
	ok("a record that is too long is refused", audit_append(a, json_pack("{s:s}", "what", big), NULL, &f) == -E2BIG, "it is not");
	free(big);
	audit_close(a);
	a = reopen(dir, &f);
	struct note again;
	ok("it is there when opened again", a != NULL, "%s", f.text);
	if (!a)
		return;
	audit_head(a, &again);
	ok("with the same head", !memcmp(&again.head, &later.head, sizeof again.head) && note_signed_by(&again, audit_key(a), NULL), "another");
	ok("and goes on", !append(a, 5, &index, &f) && index == 1500, "%s", f.text);
	audit_close(a);
	struct audit *other = NULL;
	uint64_t dropped;
	err = audit_open(&other, dir, name, other_key, &dropped, &f);
	ok("another key is refused", err == -EKEYREJECTED || err == -EBADMSG, "%d %s", err, f.text);
}

// A writer that is killed: all that it said was durable must be there, and the log must go on.
static void test_kill(void)
{
	const char *dir = fresh("kill");
	struct fault f = {""};
	unsigned int bad = 0, rounds = 24;
	uint64_t had = 0;
	for (unsigned int r = 0; r < rounds; r++) {
		int said[2];
		if (pipe(said))
			return;
		fflush(stdout);
		pid_t pid = fork();
		if (pid == 0) {
			struct audit *a = reopen(dir, &f);
			for (unsigned int i = 0; a; i++) {
				uint64_t index;
				if (append(a, i, &index, &f) || write(said[1], &index, sizeof index) != sizeof index)
					break;
			}
			_exit(1);
		}
		close(said[1]);
		uint64_t index, last = had;
		unsigned int until = 3 + r * 7 % 40;
		for (unsigned int i = 0; i < until && read(said[0], &index, sizeof index) == sizeof index; i++)
			last = index + 1;
		kill(pid, SIGKILL);
		while (read(said[0], &index, sizeof index) == sizeof index)
			last = index + 1;
		waitpid(pid, NULL, 0);
		close(said[0]);
		struct audit *a = reopen(dir, &f);
		struct note n = {0};
		if (a)
			audit_head(a, &n);
		if (!a || n.head.size < last || n.head.size > last + 1)
			bad++;
		had = n.head.size;
		audit_close(a);
	}
	ok("killed at any moment, it has what was answered", bad == 0, "%u of %u: %s", bad, rounds, f.text);
}

// Every length that a cut may leave of the last batch, and bytes that were never written.
static void test_torn(void)
{
	const char *dir = fresh("torn");
	struct fault f = {""};
	struct stat before, after;
	char path[160], mark[160], *whole, *marked;
	size_t len, mark_len, bad = 0, tried = 0;
	char why[160] = "";
	struct audit *a = reopen(dir, &f);
	snprintf(path, sizeof path, "%s/entries", dir);
	snprintf(mark, sizeof mark, "%s/mark", dir);
	for (unsigned int i = 0; i < 20; i++)
		append(a, i, NULL, &f);
	audit_close(a);
	file_read(mark, 100, &marked, &mark_len, &f);
	a = reopen(dir, &f);
	for (unsigned int i = 0; i < 3; i++)
		append(a, i, NULL, &f);
	stat(path, &before);
	append(a, 77, NULL, &f);
	stat(path, &after);
	audit_close(a);
	file_read(path, 1 << 20, &whole, &len, &f);
	// The last bytes are a signature's, of which the very last is a zero in one of sixteen: what a cut took of zeros, zeros put back.
	off_t last = after.st_size;
	while (last > 0 && !whole[last - 1])
		last--;
	for (off_t cut = before.st_size; cut <= after.st_size; cut++) {
		for (int zeros = 0; zeros < 2; zeros++) {
			bool all = cut == after.st_size || (zeros && cut >= last);
			int fd = open(path, O_WRONLY | O_TRUNC);
			if (write(fd, whole, (size_t)cut) != cut || (zeros && ftruncate(fd, after.st_size)))
				bad++;
			close(fd);
			file_write(mark, marked, mark_len, 0600, false, &f);
			a = reopen(dir, &f);
			struct note n = {0};
			if (a)
				audit_head(a, &n);
			uint64_t index = 0;
			if (!a || n.head.size != (all ? 24u : 23u) || append(a, 1, &index, &f) || index != n.head.size) {
				bad++;
				snprintf(why, sizeof why, "cut at %lld of %lld to %lld, %s zeros: %s, %llu records, the next is %llu: %.60s", (long long)cut,
					 (long long)before.st_size, (long long)after.st_size, zeros ? "with" : "without", a ? "opens" : "does not open",
					 (unsigned long long)n.head.size, (unsigned long long)index, f.text);
			}
			audit_close(a);
			tried++;
		}
	}
	ok("a torn tail is dropped, and the log goes on", bad == 0 && tried > 200, "%zu of %zu: %s", bad, tried, why);
	free(whole);
	free(marked);
}

// The folder as it was, for the next change of it.
static void restore(const char *dir, const char *whole, size_t len, bool derived)
{
	static const char *const names[] = {"mark", "index", "tree0", "tree1"};
	char path[160];
	snprintf(path, sizeof path, "%s/entries", dir);
	file_write(path, whole, len, 0600, false, NULL);
	for (size_t i = 0; i < 4 && !derived; i++) {
		snprintf(path, sizeof path, "%s/%s", dir, names[i]);
		unlink(path);
	}
}

// A record and a head over it without a signature, and behind them as much as may be the rest of a batch.
static void forge(const char *dir)
{
	static const char record[] = "{\"event\":\"allow\"}";
	static uint8_t bytes[AUDIT_BATCH + AUDIT_MAX_ENTRY + 4096 + 100];
	struct merkle_range r;
	struct fault f;
	char path[160];
	uint8_t leaf[MERKLE_HASH], *p = bytes;
	struct audit *a = reopen(dir, &f);
	if (!a || audit_range(a, 600, &r, &f))
		abort();
	audit_close(a);
	merkle_leaf(record, sizeof record - 1, leaf);
	merkle_add(&r, leaf);
	audit_store(p, sizeof record - 1, AUDIT_FRAME);
	memcpy(p + AUDIT_FRAME, record, sizeof record - 1);
	p += AUDIT_FRAME + sizeof record - 1;
	audit_store(p, (uint64_t)AUDIT_HEAD << 24 | AUDIT_HEAD_BYTES, AUDIT_FRAME);
	audit_store(p + AUDIT_FRAME, 601, 8);
	merkle_range_root(&r, p + AUDIT_FRAME + 8);
	snprintf(path, sizeof path, "%s/entries", dir);
	int fd = open(path, O_WRONLY | O_APPEND);
	if (write(fd, bytes, sizeof bytes) != (ssize_t)sizeof bytes)
		abort();
	close(fd);
}

static void test_changed(void)
{
	const char *dir = fresh("changed");
	struct fault f = {""};
	char path[160], tree[160], *whole, *text;
	size_t len, text_len;
	struct audit *a = reopen(dir, &f);
	struct note head, n;
	struct merkle_proof p;
	for (unsigned int i = 0; i < 600; i++)
		append(a, i, NULL, &f);
	audit_head(a, &head);
	audit_close(a);
	snprintf(path, sizeof path, "%s/entries", dir);
	snprintf(tree, sizeof tree, "%s/tree0", dir);
	file_read(path, 1 << 20, &whole, &len, &f);

	restore(dir, whole, len, false);
	a = reopen(dir, &f);
	if (a)
		audit_head(a, &n);
	ok("without the derived files it makes them again", a && !memcmp(&n.head, &head.head, sizeof n.head) &&
	   !audit_prove_inclusion(a, 3, 600, &p, &f), "%s", f.text);
	audit_close(a);

	whole[len / 2] ^= 1;
	restore(dir, whole, len, false);
	a = reopen(dir, &f);
	ok("a changed record is noticed when all is read again", !a && strstr(f.text, "changed behind"), "%s", f.text);
	snprintf(tree, sizeof tree, "%s/mark", dir);
	ok("and no mark says that what is before it is all", access(tree, F_OK) != 0, "there is one");
	snprintf(tree, sizeof tree, "%s/tree0", dir);
	whole[len / 2] ^= 1;

	restore(dir, whole, len, false);
	audit_close(reopen(dir, &f));
	whole[len / 2] ^= 1;
	restore(dir, whole, len, true);
	a = reopen(dir, &f);
	struct audit_trust t = {0};
	struct audit_verdict v;
	bool found = false;
	for (uint64_t i = 0; a && i < 600; i++) {
		int err = audit_read(a, i, &text, &text_len, &f);
		found |= err == -EBADMSG;
		if (!err)
			free(text);
	}
	ok("a changed record is not given out as it was logged", found, "%s", a ? "no record failed" : f.text);
	if (a) {
		text = export_text(a, 0, &text_len);
		verify(text, text_len, &t, &v);
		ok("verify names it", (strstr(v.wrong, "record ") && strstr(v.wrong, "was changed")) || strstr(v.wrong, "signature does not hold"), "%s",
		   v.wrong);
		free(text);
	}
	audit_close(a);
	whole[len / 2] ^= 1;

	restore(dir, whole, len - 300, true);
	a = reopen(dir, &f);
	ok("a log that was cut before its mark is refused", !a && strstr(f.text, "was cut"), "%s", f.text);
	audit_close(a);

	restore(dir, whole, len, true);
	tree[strlen(tree) - 1] = '1';
	uint8_t was;
	int fd = open(tree, O_RDWR);
	bool wrote = pread(fd, &was, 1, 0) == 1 && pwrite(fd, &(uint8_t){was ^ 1}, 1, 0) == 1;
	close(fd);
	a = reopen(dir, &f);
	ok("a changed tree is made again from the records", wrote && a && !audit_prove_inclusion(a, 5, 600, &p, &f), "%s", f.text);
	tree[strlen(tree) - 1] = '0';
	fd = open(tree, O_RDWR);
	wrote = pread(fd, &was, 1, 7 * 32) == 1 && pwrite(fd, &(uint8_t){was ^ 1}, 1, 7 * 32) == 1;
	close(fd);
	ok("a tree that changes while it is used proves nothing", wrote && a && audit_prove_inclusion(a, 7, 600, &p, &f) == -EBADMSG &&
	   audit_prove_consistency(a, 7, 600, &p, &f) == -EBADMSG, "%s", f.text);
	audit_close(a);

	restore(dir, whole, len, true);
	forge(dir);
	a = reopen(dir, &f);
	ok("a head that nobody signed is not believed", !a && strstr(f.text, "changed behind"), "%s", a ? "it is" : f.text);
	audit_close(a);
	free(whole);
}

// By which descriptor this process has a file open.
static int descriptor(const char *path)
{
	char link[64], to[200];
	for (int fd = 3; fd < 256; fd++) {
		snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
		ssize_t n = readlink(link, to, sizeof to - 1);
		to[n > 0 ? n : 0] = '\0';
		if (!strcmp(to, path))
			return fd;
	}
	return -1;
}

// No room: the record is refused, nothing of it stays, and the log goes on when there is room.
static void test_full(void)
{
	const char *dir = fresh("full");
	struct fault f = {""};
	struct rlimit before, small;
	struct audit *a = reopen(dir, &f);
	struct note n;
	uint64_t index = 0;
	for (unsigned int i = 0; i < 10; i++)
		append(a, i, NULL, &f);
	char path[160];
	struct stat st;
	snprintf(path, sizeof path, "%s/entries", dir);
	stat(path, &st);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	small = before;
	small.rlim_cur = (rlim_t)st.st_size + 70;
	setrlimit(RLIMIT_FSIZE, &small);
	int err = append(a, 10, &index, &f);
	setrlimit(RLIMIT_FSIZE, &before);
	audit_head(a, &n);
	ok("without room a record is refused", err == -EFBIG && n.head.size == 10, "%d %s", err, f.text);
	ok("and with room it goes on", !append(a, 10, &index, &f) && index == 10, "%s", f.text);
	snprintf(path, sizeof path, "%s/index", dir);
	int fd = descriptor(path), saved = dup(fd), full = open("/dev/full", O_RDWR);
	dup2(full, fd);
	err = append(a, 11, &index, &f);
	dup2(saved, fd);
	close(saved);
	close(full);
	audit_head(a, &n);
	ok("without room for what is derived it is refused too", err == -ENOSPC && n.head.size == 11, "%d %s", err, f.text);
	ok("and then it goes on", !append(a, 11, &index, &f) && index == 11, "%s", f.text);
	audit_close(a);
	a = reopen(dir, &f);
	if (a)
		audit_head(a, &n);
	ok("also when opened again", a && n.head.size == 12, "%s", f.text);
	audit_close(a);
}

// A log without a mark, where none can be made: it is read from the beginning, and served.
static void test_no_mark(void)
{
	const char *dir = fresh("no-mark");
	char path[160];
	struct fault f = {""};
	struct note n = {.count = 0};
	struct audit *a = reopen(dir, &f);
	for (unsigned int i = 0; i < 5000; i++)
		append(a, i % 10, NULL, &f);
	audit_close(a);
	snprintf(path, sizeof path, "%s/mark", dir);
	ok("a mark is there", !unlink(path), "no");
	mkdir(path, 0700);	// so that nothing takes its place, as on a full disk
	a = reopen(dir, &f);
	if (a)
		audit_head(a, &n);
	ok("without it, and room for one, the log opens", a && n.head.size == 5000, "%s", f.text);
	ok("and takes records", a && !append(a, 1, NULL, &f), "%s", f.text);
	audit_close(a);
}

// ---- exports and proofs ----

static char *replaced(const char *text, const char *what, const char *by)
{
	const char *at = strstr(text, what);
	char *out = NULL;
	if (at && asprintf(&out, "%.*s%s%s", (int)(at - text), text, by, at + strlen(what)) < 0)
		out = NULL;
	return out ? out : strdup(text);
}

static void wrong_says(const char *test, const char *text, const struct audit_trust *t, const char *says)
{
	struct audit_verdict v;
	int err = verify(text, strlen(text), t, &v);
	ok(test, !err && strstr(v.wrong, says), "%d '%s'", err, v.wrong);
}

static void test_export(void)
{
	struct fault f = {""};
	struct audit *a = reopen(fresh("export"), &f);
	static struct audit_trust t, none;
	static struct audit_verdict v;
	struct note early;
	size_t len;
	for (unsigned int i = 0; i < 300; i++) {
		append(a, i, NULL, &f);
		if (i == 99)
			audit_head(a, &early);
	}
	char *text = export_text(a, 0, &len), *changed;
	t.has_key = true;
	t.key = *audit_key(a);
	t.kept[t.kept_count++] = early;
	int err = verify(text, len, &t, &v);
	ok("an export is good", !err && !v.wrong[0] && v.head.head.size == 300, "%d %s", err, v.wrong);
	for (uint64_t from = 0; from <= 300; from += 50) {
		char *part = export_text(a, from, &len);
		err = verify(part, len, &none, &v);
		if (err || v.wrong[0] || v.from != from)
			ok("an export of a part", false, "%d %s", err, v.wrong);
		free(part);
	}
	char *part = export_text(a, 100, &len);
	err = verify(part, len, &t, &v);
	ok("a part goes on from the kept head", !err && !v.wrong[0], "%s", v.wrong);
	free(part);
	part = export_text(a, 101, &len);
	wrong_says("a part behind the kept head cannot", part, &t, "export from there");
	free(part);

	changed = replaced(text, "00000150", "00000151");
	wrong_says("a changed record", changed, &none, "record 150 was changed");
	free(changed);
	// A record with its newline and the head behind it taken out; then only the record.
	char *at = strstr(text, "00000150");
	while (at[-1] != '\n')
		at--;
	char *end = strchr(at, '\n') + 1;
	if (asprintf(&changed, "%.*s%s", (int)(at - text), text, end) > 0) {
		wrong_says("a record taken out", changed, &none, "some behind record 150 were taken out");
		free(changed);
	}
	if (asprintf(&changed, "%.*s%.*s%s", (int)(at - text), text, (int)(end - at), at, at) > 0) {
		wrong_says("a record put in", changed, &none, "were put in");
		free(changed);
	}
	char *heads_out = strdup(text), *to = heads_out;
	for (char *line = text; *line; line = strchr(line, '\n') + 1) {
		size_t n = (size_t)(strchr(line, '\n') + 1 - line);
		if (line[0] == '=')
			continue;
		memcpy(to, line, n);
		to += n;
	}
	*to = '\0';
	err = verify(heads_out, strlen(heads_out), &t, &v);
	ok("without the heads between records it is good too", !err && !v.wrong[0], "%s", v.wrong);
	changed = replaced(heads_out, "00000050", "00000051");
	wrong_says("then the kept head tells", changed, &t, "the first 100 records are not those of the kept tree head");
	wrong_says("or the last one", changed, &none, "not those that the tree head is over");
	free(changed);
	free(heads_out);
	changed = strndup(text, strlen(text) * 2 / 3);
	strcpy(strrchr(changed, '\n') + 1, "");
	wrong_says("a cut export", changed, &t, "is cut");
	free(changed);
	changed = replaced(text, "\n= 200 ", "\n= 200 A");
	wrong_says("a broken head between", changed, &none, "neither a record nor a tree head");
	free(changed);

	// Another log of the same key: what a host shows that went back and went on another way.
	struct audit *b = reopen(fresh("export-b"), &f);
	for (unsigned int i = 0; i < 200; i++)
		append(b, i + 1, NULL, &f);
	char *other = export_text(b, 0, &len);
	wrong_says("a log that was rewritten", other, &t, "the log was rewritten");
	free(other);
	audit_close(b);
	b = reopen(fresh("export-b"), &f);
	append(b, 0, NULL, &f);
	other = export_text(b, 0, &len);
	wrong_says("a log that was rolled back", other, &t, "rolled back");
	free(other);
	audit_close(b);

	struct audit_trust foreign = {.has_key = true};
	note_key_of(&foreign.key, name, NOTE_LOG, other_key);
	wrong_says("another key", text, &foreign, "not the one that is trusted");
	struct audit_trust watched = {.witness_count = 1, .quorum = 1};
	note_key_of(&watched.witness[0], "w.example/1", NOTE_WITNESS, witness_key);
	wrong_says("no witness", text, &watched, "0 of the witnesses");
	struct note n;
	char nt[NOTE_MAX];
	audit_head(a, &n);
	note_sign(&n, &watched.witness[0], witness_key, 1000);
	note_text(&n, nt);
	char *last = strstr(text, "\n\n");
	last = strstr(last + 2, "\n\n") + 2;
	*last = '\0';
	if (asprintf(&changed, "%s%s", text, nt) > 0) {
		err = verify(changed, strlen(changed), &watched, &v);
		ok("a witness", !err && !v.wrong[0] && v.witnesses == 1, "%d %s", err, v.wrong);
		free(changed);
	}
	free(text);
	audit_close(a);
}

static void test_proof(void)
{
	struct fault f = {""};
	struct audit *a = reopen(fresh("proof"), &f);
	static struct audit_trust t;
	static struct audit_verdict v;
	char text[8192], nt[NOTE_MAX], encoded[1024], hash[64], *record;
	struct merkle_proof p;
	struct note n;
	size_t len, good = 0, at = 0;
	for (unsigned int i = 0; i < 50; i++)
		append(a, i, NULL, &f);
	audit_head(a, &n);
	audit_read(a, 17, &record, &len, &f);
	audit_prove_inclusion(a, 17, 50, &p, &f);
	base64_encode(encoded, record, len, BASE64_STD);
	at = (size_t)sprintf(text, AUDIT_PROOF "\nextra %s\nindex 17\n", encoded);
	for (unsigned int i = 0; i < p.count; i++) {
		base64_encode(hash, p.hash[i], 32, BASE64_STD);
		at += (size_t)sprintf(text + at, "%s\n", hash);
	}
	note_text(&n, nt);
	at += (size_t)sprintf(text + at, "\n%s", nt);
	t.has_key = true;
	t.key = *audit_key(a);
	int err = audit_verify_proof(text, at, &t, &v, &f);
	ok("a proof holds", !err && !v.wrong[0] && v.index == 17 && v.record && !strcmp(v.record, record), "%s %s", f.text, v.wrong);
	free(v.record);
	for (size_t i = 0; i < at; i++) {
		text[i] ^= 2;
		if (!audit_verify_proof(text, at, &t, &v, &f) && !v.wrong[0])
			good++;
		free(v.record);
		text[i] ^= 2;
	}
	ok("no changed byte of it holds", good == 0, "%zu do", good);
	free(record);
	audit_close(a);
}

int main(void)
{
	// What is tested are kills, not power cuts: no disk is needed for that.
	if (!(access("/dev/shm", W_OK) ? test_folder(work, "audit") : test_folder_in(work, "/dev/shm", "audit")))
		return 1;
	key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	witness_key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	other_key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	test_tree();
	test_notes();
	test_log();
	test_kill();
	test_torn();
	test_changed();
	test_full();
	test_no_mark();
	test_export();
	test_proof();
	EVP_PKEY_free(key);
	EVP_PKEY_free(witness_key);
	EVP_PKEY_free(other_key);
	return ok_failed != 0;
}
