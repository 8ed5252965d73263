// SPDX-License-Identifier: Apache-2.0
// Published test vectors for the primitives: SHA-256 (FIPS 180-4), HMAC (RFC 4231), HKDF (RFC 5869), AES-256-GCM (the
// GCM submission's test cases 13-16). And that no key is left in memory when a volume has been closed.
#include "seal/sha256.h"
#include "seal/vol.h"
#include "tests/seal/mem.h"

static void unhex(const char *s, u8 *out)
{
	for (; *s; s += 2, out++) {
		unsigned x;
		sscanf(s, "%2x", &x);
		*out = (u8)x;
	}
}

static bool same(const u8 *got, const char *want)
{
	u8 w[128];
	unhex(want, w);
	return !memcmp(got, w, strlen(want) / 2);
}

static void sha256_vectors(void)
{
	u8 d[32], a[1000];
	seal_sha256(&(struct seal_bytes){"abc", 3}, 1, d);
	CHECK(same(d, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
	seal_sha256(&(struct seal_bytes){"", 0}, 1, d);
	CHECK(same(d, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"));
	seal_sha256(&(struct seal_bytes){"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56}, 1, d);
	CHECK(same(d, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"));
	struct seal_bytes million[1000];
	memset(a, 'a', sizeof a);
	for (int i = 0; i < 1000; i++)
		million[i] = (struct seal_bytes){a, 1000};
	seal_sha256(million, 1000, d);
	CHECK(same(d, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"));
}

static void hmac_vectors(void)
{
	u8 d[32], key[131];
	seal_hmac256((const u8 *)"Jefe", 4, &(struct seal_bytes){"what do ya want for nothing?", 28}, 1, d);
	CHECK(same(d, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"));
	memset(key, 0xaa, sizeof key);
	seal_hmac256(key, 131, &(struct seal_bytes){"Test Using Larger Than Block-Size Key - Hash Key First", 54}, 1,
		     d);
	CHECK(same(d, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"));
}

static void hkdf_extract_vector(void)
{
	u8 ikm[22], salt[13], prk[32];
	memset(ikm, 0x0b, sizeof ikm);
	unhex("000102030405060708090a0b0c", salt);
	seal_hkdf_extract(salt, sizeof salt, ikm, sizeof ikm, prk);
	CHECK(same(prk, "077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5"));
}

static void gcm_vectors(void)
{
	static struct gcm_key k;
	static struct gcm_ctx c;
	u8 key[32] = {0}, iv[12] = {0}, in[64] = {0}, out[64], back[64], tag[16], aad[20];
	CHECK_EQ(gcm_init(), 0);
	printf("# implementation: %s\n", gcm_impl());
	gcm_key_set(&k, key);
	gcm_encrypt(&k, &c, out, in, 0, iv, NULL, 0, tag);
	CHECK(same(tag, "530f8afbc74536b9a963b4f1c4cb738b"));
	gcm_encrypt(&k, &c, out, in, 16, iv, NULL, 0, tag);
	CHECK(same(out, "cea7403d4d606b6e074ec5d3baf39d18") && same(tag, "d0d1c8a799996bf0265b98b5d48ab919"));
	unhex("feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", key);
	unhex("d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525"
	      "b16aedf5aa0de657ba637b391aafd255",
	      in);
	unhex("cafebabefacedbaddecaf888", iv);
	unhex("feedfacedeadbeeffeedfacedeadbeefabaddad2", aad);
	gcm_key_set(&k, key);
	gcm_encrypt(&k, &c, out, in, 60, iv, aad, 20, tag);
	CHECK(same(out,
		   "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838"
		   "c5f61e6393ba7a0abcc9f662"));
	CHECK(same(tag, "76fc6ece0f4e1768cddf8853bb2d551b"));
	CHECK_EQ(gcm_decrypt(&k, &c, back, out, 60, iv, aad, 20, tag), 0);
	CHECK(!memcmp(back, in, 60));
	for (int bit = 0; bit < 128; bit++) {
		tag[bit / 8] ^= (u8)(1u << (bit % 8));
		CHECK_EQ(gcm_decrypt(&k, &c, back, out, 60, iv, aad, 20, tag), -EBADMSG);
		CHECK(back[0] == 0 && back[59] == 0);
		tag[bit / 8] ^= (u8)(1u << (bit % 8));
	}
	out[3] ^= 1;
	CHECK_EQ(gcm_decrypt(&k, &c, back, out, 60, iv, aad, 20, tag), -EBADMSG);
	out[3] ^= 1;
	aad[0] ^= 1;
	CHECK_EQ(gcm_decrypt(&k, &c, back, out, 60, iv, aad, 20, tag), -EBADMSG);
}

// What was freed, kept to be looked at.
static struct freed {
	struct freed *next;
	size_t n;
	void *p;
} *freed;

static void keep_freed(void *ctx, void *p, size_t n)
{
	struct freed *f = malloc(sizeof *f);
	(void)ctx;
	test_allocs_left--;
	if (!f)
		abort();
	*f = (struct freed){freed, n, p};
	freed = f;
}

static bool left(const void *what, size_t n)
{
	for (struct freed *f = freed; f; f = f->next)
		if (f->n >= n && memmem(f->p, f->n, what, n))
			return true;
	return false;
}

// A volume that was closed has left no key in memory; nor does one that could not be opened.
static void keys_are_wiped(void)
{
	static const u8 other[SEAL_KEY_BYTES] = "another example of such a key..";
	struct seal_env env = test_env;
	struct seal_vol *v;
	struct mem m;
	u8 prk[2][32], session[64][32];
	u32 n = 0;
	env.free = keep_freed;
	mem_init(&m);
	CHECK_EQ(seal_format(&m.io, &env, test_key, NULL, 16u << 20), 0);
	for (int k = 0; k < 3; k++) {
		struct seal_fsck_stats st;
		struct seal_inode *root, *i;
		char name[16];
		CHECK_EQ(seal_mount(&m.io, &env, k ? other : test_key, NULL, 0, &v, NULL), 0);
		root = root_of(v);
		CHECK_EQ(seal_create(v, root, name, (u32)sprintf(name, "f%d", k), 0100644, 0, 0, 0, &i), 0);
		for (u64 at = 0; at < 100; at++)
			CHECK_EQ(seal_write(v, i, at * 5000, "some text", 9), 9);
		CHECK_EQ(seal_fsync(v, i), 0);
		seal_iput(v, i);
		seal_iput(v, root);
		CHECK_EQ(seal_fsck(v, NULL, NULL, &st), 0);
		memcpy(prk[k > 1], v->prk, 32);
		if (k == 1)
			CHECK_EQ(seal_reencrypt(v, other, other), 0);
		if (!k)
			CHECK_EQ(seal_rekey(v, test_key, other), 0);
		while (seal_work(v, 1000, NULL) > 0)
			;
		for (u32 s = 0; s < v->nsessions && n < 64; s++)
			if (v->sessions[s].used)
				seal_hkdf_expand(v->prk, "coffer session key", v->sessions[s].salt, 32, session[n++], 32);
		CHECK_EQ(seal_unmount(v), 0);
	}
	CHECK_EQ(seal_mount(&m.io, &env, test_key, NULL, 0, &v, NULL), SEAL_EKEY);
	m.data[4096 * 3 + 9] ^= 1; // and the second root is not whole either
	m.data[4096 * 16 + 2000] ^= 1;
	m.data[2000] ^= 1;
	CHECK(seal_mount(&m.io, &env, other, NULL, 0, &v, NULL) < 0);
	CHECK(freed && n >= 3 && memcmp(prk[0], prk[1], 32));
	CHECK(!left(test_key, 16) && !left(other, 16));
	for (u32 k = 0; k < 2; k++)
		CHECK(!left(prk[k], 16) && !left(prk[k] + 16, 16));
	for (u32 k = 0; k < n; k++) // an expanded key begins with the key
		CHECK(!left(session[k], 16) && !left(session[k] + 16, 16));
	for (struct freed *f = freed, *next; f; f = next) {
		next = f->next;
		free(f->p);
		free(f);
	}
	freed = NULL;
	mem_free(&m);
}

int main(void)
{
	RUN(sha256_vectors);
	RUN(hmac_vectors);
	RUN(hkdf_extract_vector);
	RUN(gcm_vectors);
	RUN(keys_are_wiped);
	return test_end();
}
