// SPDX-License-Identifier: Apache-2.0
// The send cache: files that are sent by sendfile(2) again and again through sockets of the host. Natively such a call copies nothing, because the
// network takes the pages of the page cache themselves. The enclave's pages are not for the host; but bytes that a program has already sent in
// plaintext are the host's anyway, and of those it keeps a copy in memory of its own (a memfd), from the second time on that they are sent. Later
// calls are one sendfile of the host's.
// - Only bytes that a program hands to a plaintext socket at that moment are copied there: never the rest of their page or file.
// - A copy counts for one generation of the file's data (pc->data_gen, which every change bumps) and while nobody maps the file to write.
// - Packets in flight may still lie in a slot's pages: a slot that gets other contents has its pages punched out first, which leaves them to those.
// The host can change what it sends from here, as it can on the wire.
// Locks: `lock` (leaf) guards all slots; host calls are made without it, by whoever has counted itself in s->users.
#include "kernel/net/sendcache.h"
#include "kernel/include/alloc.h"
#include "kernel/include/hostcall.h"
#include "kernel/include/ktime.h"
#include "kernel/include/lock.h"
#include "kernel/include/mm.h"
#include "kernel/include/uapi.h"
#include "kernel/include/usercopy.h"

#define SLOT (128u << 10)	// bytes of a file, beginning at a multiple of this
#define WAYS 8u
#define SETS 32u		// 32 MiB in all
#define SMALL (8u << 10)	// what is cheaper to copy
#define SEEN 1024u		// pieces of files that were sent once
#define PATIENCE 16u		// misses that a full set lets pass before it gives up a slot: files that do not all fit would chase each other out
#define IDLE_NS (30 * NSEC_PER_SEC)

struct slot {
	u64 file, index, gen;	// file 0: nothing is in it
	u64 last;		// when it was used, in uses
	u32 from, to;		// the bytes that it has
	u32 users;		// in the middle of a host call
	bool filling;		// one of them adds to it
	bool pages;		// the host may hold pages for it
};

static struct mutex lock;
static struct slot *slots;	// made by the first file that is sent twice
static u32 seen[SEEN];
static u64 files, uses, used_at;
static u32 misses[SETS];

static u64 place(const struct slot *s) { return (u64)(s - slots) * SLOT; }

static u64 mix(u64 a, u64 b) { return (a * 0x9E3779B97F4A7C15ul ^ b) * 0xC2B2AE3D27D4EB4Ful; }

static bool current_data(const struct pagecache *pc, u64 gen)
{
	return __atomic_load_n(&pc->data_gen, __ATOMIC_ACQUIRE) == gen && !__atomic_load_n(&pc->wmapcount, __ATOMIC_ACQUIRE);
}

// Was it sent before, as it is now? Remembered for the next time.
static bool sent_before(u64 file, u64 index, u64 gen)
{
	u64 h = mix(mix(file, index), gen);
	u32 tag = (u32)h | 1, *at = &seen[(h >> 32) % SEEN];

	if (*at == tag)
		return true;
	*at = tag;
	return false;
}

// The slot to take for new contents, which nobody uses; NULL: none now. `mine`: what the piece has already and no longer fits.
static struct slot *choose(struct slot *set, struct slot *mine, u64 gen)
{
	struct slot *best = NULL;

	if (mine && mine->gen != gen)
		return mine->users ? NULL : mine;
	for (u32 k = 0; k < WAYS; k++) {
		if (set[k].users || (mine && &set[k] != mine)) // two slots for one piece would be one too many
			continue;
		if (!set[k].file)
			return &set[k];
		if (!best || set[k].last < best->last)
			best = &set[k];
	}
	return ++misses[(u64)(set - slots) / WAYS] % PATIENCE ? NULL : best;
}

// A slot that has the bytes from..to of the piece, or is to get them (*fill: from where on; else SLOT); counted as used. NULL: none.
static struct slot *take(struct pagecache *pc, u64 index, u32 from, u32 to, u32 *fill)
{
	u64 gen = __atomic_load_n(&pc->data_gen, __ATOMIC_ACQUIRE);
	struct slot *s = NULL, *set;

	*fill = SLOT;
	if (!pc->sent_as)
		pc->sent_as = ++files;
	set = slots ? slots + mix(pc->sent_as, index) % SETS * WAYS : NULL;
	for (u32 k = 0; set && k < WAYS && !s; k++)
		if (set[k].file == pc->sent_as && set[k].index == index)
			s = &set[k];
	if (likely(s && s->gen == gen && s->from <= from)) {
		if (likely(to <= s->to))
			goto found;
		if (from <= s->to) { // more of it
			if (s->filling)
				return NULL;
			*fill = s->to;
			goto fill;
		}
	}
	if (!sent_before(pc->sent_as, index, gen))
		return NULL;
	if (!slots) {
		slots = kzalloc(SETS * WAYS * sizeof(*slots));
		if (!slots)
			return NULL;
		set = slots + mix(pc->sent_as, index) % SETS * WAYS;
	}
	s = choose(set, s, gen);
	if (!s)
		return NULL;
	*s = (struct slot){ .file = pc->sent_as, .index = index, .gen = gen, .from = from, .to = from, .pages = s->pages };
	*fill = from;
fill:
	s->filling = true;
found:
	s->users++;
	s->last = ++uses;
	return s;
}

// Copies the bytes fill..to of a piece, which `it` begins with at `from`, into the slot. Only the caller fills it.
static bool fill_slot(struct slot *s, const struct iter *it, u32 from, u32 fill, u32 to)
{
	struct pagecache *pc = it->pc;
	struct iter part = *it;
	bool fresh = s->to == s->from, ok = true;

	if (fresh && s->pages)
		ok = !hc_cache_drop(place(s), SLOT);
	iter_advance(&part, fill - from);
	ok = ok && !hc_cache_put(&part, to - fill, place(s) + fill);
	mutex_lock(&lock);
	s->pages = true;
	s->filling = false;
	ok = ok && current_data(pc, s->gen);
	if (ok) {
		s->to = to;
	} else {
		s->users--;
		if (fresh)
			s->file = 0;
	}
	mutex_unlock(&lock);
	return ok;
}

long sendcache_send(int hfd, struct iter *it, size_t n)
{
	struct pagecache *pc = it->pc;
	u64 index = it->off / SLOT;
	u32 from = (u32)(it->off % SLOT), to = (u32)min((u64)SLOT, from + n), fill;
	struct slot *s;
	long r;

	if (to - from < SMALL || __atomic_load_n(&pc->wmapcount, __ATOMIC_ACQUIRE))
		return 0;
	mutex_lock(&lock);
	s = take(pc, index, from, to, &fill);
	mutex_unlock(&lock);
	if (!s || (fill < SLOT && !fill_slot(s, it, from, fill, to)))
		return 0;
	r = hc_cache_send(hfd, place(s) + from, to - from);
	mutex_lock(&lock);
	s->users--;
	if (unlikely(!r || r == -EBADF || r == -EINVAL || r == -EIO || r == -ENOMEM)) { // the host has no copy: what is wrong with the socket, a send tells
		s->file = 0;
		r = 0;
	}
	mutex_unlock(&lock);
	if (unlikely(r == -EINTR)) // a kick, which may mean nothing to the program: the host's sendfile minds it though it does not sleep, a send does not
		return 0;
	if (r > 0)
		iter_advance(it, (size_t)r);
	return r;
}

void sendcache_trim(void)
{
	static u64 seen_uses;
	u64 now = ktime_mono();

	if (!__atomic_load_n(&slots, __ATOMIC_ACQUIRE))
		return;
	mutex_lock(&lock);
	if (seen_uses != uses) {
		seen_uses = uses;
		used_at = now;
	}
	for (u32 k = 0; k < SETS * WAYS && now - used_at > IDLE_NS; k++) {
		struct slot *s = &slots[k];

		if (!s->pages || s->users)
			continue;
		s->file = 0;
		s->users = 1;
		mutex_unlock(&lock);
		bool kept = hc_cache_drop(place(s), SLOT);
		mutex_lock(&lock);
		s->users = 0;
		s->pages = kept;
	}
	mutex_unlock(&lock);
}
