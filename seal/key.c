// SPDX-License-Identifier: Apache-2.0
// The volume's secret and the master keys. All keys of a volume derive from a random secret, which each root slot holds
// encrypted ("wrapped") under the master key that the broker keeps. So the master key can be changed without rewriting
// data: first both slots get a wrap under the new key beside the old one, then both lose the old one; at each moment the
// one key or the other opens both slots. A wrap's key derives from the master key, the volume's id and a salt of its
// own, and is used once; the wraps are authenticated together with the root besides.
#include "seal/root.h"
#include "seal/sha256.h"

struct wrap_aad {
	u8 purpose[16];
	u8 id[16];
};

void root_keys(struct seal_vol *v, const u8 secret[32], const u8 id[SEAL_ID_BYTES])
{
	memcpy(v->id, id, SEAL_ID_BYTES);
	seal_hkdf_extract(id, SEAL_ID_BYTES, secret, 32, v->prk);
	sv_session_forget_keys(v);
}

void root_old_keys(struct seal_vol *v, const u8 secret[32])
{
	memcpy(v->old_secret, secret, 32);
	seal_hkdf_extract(v->id, SEAL_ID_BYTES, secret, 32, v->old_prk);
	sv_session_forget_keys(v);
}

bool root_has_old(const struct seal_vol *v)
{
	static const u8 none[32];
	return memcmp(v->old_secret, none, 32) != 0;
}

static bool wrap_used(const struct d_wrap *w)
{
	static const struct d_wrap none;
	return memcmp(w, &none, sizeof none) != 0;
}

// The key of one wrap into keyslot 0's place; *check is what the wrap of this master key shows.
static const struct gcm_key *wrap_key(struct seal_vol *v, const u8 *master, const u8 *id, const struct d_wrap *w, u8 check[16])
{
	u8 prk[32], key[32];
	seal_hkdf_extract(id, SEAL_ID_BYTES, master, SEAL_KEY_BYTES, prk);
	seal_hkdf_expand(prk, "coffer key check", NULL, 0, check, 16);
	seal_hkdf_expand(prk, "coffer key wrap", w->salt, 32, key, 32);
	v->keys[0].valid = false;
	fpu_begin(v);
	gcm_key_set(&v->keys[0].key, key);
	fpu_end(v);
	explicit_bzero(key, sizeof key);
	explicit_bzero(prk, sizeof prk);
	return &v->keys[0].key;
}

static void wrap_aad(const u8 *id, struct wrap_aad *a)
{
	memcpy(a->purpose, "coffer key wrap", 16);
	memcpy(a->id, id, 16);
}

int key_wrap(struct seal_vol *v, const u8 master[32], const u8 secret[32], struct d_wrap *w)
{
	static const u8 nonce[12]; // the key is used once
	struct wrap_aad a;
	int r = v->env.random(v->env.ctx, w->salt, sizeof w->salt);
	if (r)
		return r;
	wrap_aad(v->id, &a);
	const struct gcm_key *k = wrap_key(v, master, v->id, w, w->check);
	fpu_begin(v);
	gcm_encrypt(k, v->gcm, w->secret, secret, 32, nonce, &a, sizeof a, w->tag);
	fpu_end(v);
	explicit_bzero(&v->keys[0], sizeof v->keys[0]);
	return 0;
}

int key_unwrap(struct seal_vol *v, const u8 master[32], const struct d_slot *head, u8 secret[32])
{
	static const u8 nonce[12];
	int r = SEAL_EKEY;
	for (u32 n = 0; n < NWRAPS && r; n++) {
		const struct d_wrap *w = &head->wrap[n];
		struct wrap_aad a;
		u8 check[16];
		if (!wrap_used(w))
			continue;
		const struct gcm_key *k = wrap_key(v, master, head->id, w, check);
		if (memcmp(check, w->check, 16))
			continue;
		wrap_aad(head->id, &a);
		fpu_begin(v);
		r = gcm_decrypt(k, v->gcm, secret, w->secret, 32, nonce, &a, sizeof a, w->tag) ? SEAL_ETAMPER : 0;
		fpu_end(v);
	}
	explicit_bzero(&v->keys[0], sizeof v->keys[0]);
	return r;
}

u32 key_wraps(const struct seal_vol *v)
{
	u32 n = 0;
	for (u32 k = 0; k < NWRAPS; k++)
		n += wrap_used(&v->wrap[k]);
	return n;
}

u32 key_count(const struct seal_vol *v)
{
	const struct d_wrap *all[2 * NWRAPS];
	u32 n = 0;
	for (u32 k = 0; k < 2 * NWRAPS; k++) {
		const struct d_wrap *w = k < NWRAPS ? &v->newest_wrap[k] : &v->other_wrap[k - NWRAPS];
		u32 j = 0;
		while (j < n && memcmp(all[j]->check, w->check, sizeof w->check))
			j++;
		if (wrap_used(w) && j == n)
			all[n++] = w;
	}
	return n;
}

// The volume's present secret, from the wrap that `master` opens, for wrapping it anew: it is not kept in memory.
static int secret_get(struct seal_vol *v, const u8 master[32], u8 secret[32])
{
	struct d_slot head;
	memcpy(head.id, v->id, sizeof head.id);
	memcpy(head.wrap, v->wrap, sizeof head.wrap);
	return key_unwrap(v, master, &head, secret);
}

static bool key_fits(struct seal_vol *v, const u8 master[32])
{
	u8 secret[32];
	int r = secret_get(v, master, secret);
	explicit_bzero(secret, sizeof secret);
	return !r;
}

// Both root slots get the present wraps, so that none is left that has others.
static int wraps_store(struct seal_vol *v)
{
	vol_changed(v);
	return vol_commit(v, true);
}

int seal_rekey_begin(struct seal_vol *v, const u8 old[SEAL_KEY_BYTES], const u8 key[SEAL_KEY_BYTES])
{
	u8 secret[32];
	struct d_wrap w;
	memset(&w, 0, sizeof w);
	vol_lock(v);
	int r = sv_op_begin(v, 16, true);
	if (!r)
		r = secret_get(v, old, secret);
	if (!r && key_wraps(v) == NWRAPS)
		r = key_fits(v, key) ? 0 : -EBUSY; // the same one again: begun already
	else if (!r && !key_fits(v, key)) {
		r = key_wrap(v, key, secret, &w);
		if (!r)
			v->wrap[wrap_used(&v->wrap[0])] = w;
	}
	if (!r)
		r = wraps_store(v);
	explicit_bzero(secret, sizeof secret);
	vol_unlock(v);
	return r;
}

int seal_rekey_finish(struct seal_vol *v, const u8 key[SEAL_KEY_BYTES])
{
	vol_lock(v);
	int r = sv_op_begin(v, 16, true);
	for (u32 k = 0; k < NWRAPS && !r; k++) {
		struct d_wrap kept = v->wrap[k];
		struct d_slot head;
		u8 secret[32];
		memset(&head, 0, sizeof head);
		memcpy(head.id, v->id, sizeof head.id);
		head.wrap[0] = kept;
		int e = key_unwrap(v, key, &head, secret);
		explicit_bzero(secret, sizeof secret);
		if (e)
			continue;
		memset(v->wrap, 0, sizeof v->wrap);
		v->wrap[0] = kept;
		r = wraps_store(v);
		goto out;
	}
	r = r ? r : SEAL_EKEY;
out:
	vol_unlock(v);
	return r;
}

int seal_rekey(struct seal_vol *v, const u8 old[SEAL_KEY_BYTES], const u8 key[SEAL_KEY_BYTES])
{
	int r = seal_rekey_begin(v, old, key);
	return r ? r : seal_rekey_finish(v, key);
}

int seal_reencrypt(struct seal_vol *v, const u8 key[SEAL_KEY_BYTES], const u8 next[SEAL_KEY_BYTES])
{
	u8 secret[32] = {0}, fresh[32];
	struct d_wrap w;
	memset(&w, 0, sizeof w);
	vol_lock(v);
	int r = sv_op_begin(v, 16, true);
	if (!r && root_has_old(v))
		r = -EBUSY;
	if (!r)
		r = vol_commit(v, false);
	if (!r)
		r = secret_get(v, key, secret);
	if (!r)
		r = v->env.random(v->env.ctx, fresh, sizeof fresh);
	if (!r)
		r = key_wrap(v, next, fresh, &w);
	if (r)
		goto out;
	root_keys(v, fresh, v->id);
	root_old_keys(v, secret);
	memset(v->wrap, 0, sizeof v->wrap);
	v->wrap[0] = w;
	v->era++;
	// Nothing more is written under the old secret: a new session, and the session table's blocks anew.
	if (!v->sessions[v->cur].live)
		explicit_bzero(&v->sessions[v->cur], sizeof v->sessions[0]);
	v->cur = NO_SESSION;
	for (u32 k = 0; k < v->ntables; k++)
		v->tables[k].dirty = true;
	r = wraps_store(v);
	if (r) // memory and disk disagree about the secret
		vol_abort(v, r);
out:
	explicit_bzero(secret, sizeof secret);
	explicit_bzero(fresh, sizeof fresh);
	vol_unlock(v);
	return r;
}
