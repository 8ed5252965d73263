// SPDX-License-Identifier: Apache-2.0
// The platform extension of a PCK certificate: a SEQUENCE of (OID, value) pairs, one of whose values is such a sequence again. Read
// with a small DER reader of fixed depth. See dcap_tcb.h. Pure; the fuzz target fuzz_dcap drives it.
#include <errno.h>
#include <string.h>

#include "attest/bytes.h"
#include "attest/dcap_tcb.h"

enum { DER_BOOLEAN = 0x01, DER_INTEGER = 0x02, DER_OCTETS = 0x04, DER_OID = 0x06, DER_ENUM = 0x0a, DER_SEQUENCE = 0x30 };

// 1.2.840.113741.1.13.1
static const uint8_t prefix[] = {0x2a, 0x86, 0x48, 0x86, 0xf8, 0x4d, 0x01, 0x0d, 0x01};

// The next element's tag and content. -EINVAL when there is none or its length is indefinite or wrong.
static int element(struct cursor *c, uint8_t *tag, struct cursor *content)
{
	const uint8_t *h = cursor_take(c, 2);
	if (!h)
		return -EINVAL;
	size_t len = h[1];
	if (len & 0x80) {
		size_t n = len & 0x7f;
		if (!n || n > 2)
			return -EINVAL;
		len = (size_t)cursor_be(c, n);
	}
	*tag = h[0];
	*content = cursor_part(c, len);
	return content->short_of ? -EINVAL : 0;
}

static int number(const struct cursor *v, int *out)
{
	struct cursor c = *v;
	if (c.left < 1 || c.left > 3 || (c.p[0] & 0x80))
		return -EINVAL;
	*out = (int)cursor_be(&c, c.left);
	return *out > 0xffff ? -EINVAL : 0;
}

static int octets(uint8_t tag, const struct cursor *v, uint8_t *out, size_t n)
{
	if (tag != DER_OCTETS || v->left != n)
		return -EINVAL;
	memcpy(out, v->p, n);
	return 0;
}

// One (OID, value) pair: the OID's arcs behind `base` (one) and the value.
static int pair(struct cursor *list, const uint8_t *base, size_t base_len, uint8_t *arc, uint8_t *tag, struct cursor *value)
{
	struct cursor both, oid;
	if (element(list, tag, &both) || *tag != DER_SEQUENCE || element(&both, tag, &oid) || *tag != DER_OID ||
	    oid.left != base_len + 1 || memcmp(oid.p, base, base_len) || element(&both, tag, value) || both.left)
		return -EINVAL;
	*arc = oid.p[base_len];
	return 0;
}

static int read_tcb(struct cursor list, struct pck_platform *p)
{
	uint8_t base[sizeof prefix + 1], arc, tag;
	uint32_t seen = 0;
	struct cursor value;
	memcpy(base, prefix, sizeof prefix);
	base[sizeof prefix] = 2;
	while (list.left) {
		int err = pair(&list, base, sizeof base, &arc, &tag, &value);
		if (err || arc < 1 || arc > 18 || (seen & 1u << arc))
			return -EINVAL;
		if (arc == 18)
			err = octets(tag, &value, p->cpu_svn, 16);
		else if (tag != DER_INTEGER)
			err = -EINVAL;
		else
			err = number(&value, arc == 17 ? &p->pce_svn : &p->sgx[arc - 1]);
		if (err)
			return err;
		seen |= 1u << arc;
	}
	return seen == 0x7fffe ? 0 : -EINVAL;
}

static int read_configuration(struct cursor list, struct pck_platform *p)
{
	uint8_t base[sizeof prefix + 1], arc, tag;
	struct cursor value;
	memcpy(base, prefix, sizeof prefix);
	base[sizeof prefix] = 7;
	while (list.left) {
		if (pair(&list, base, sizeof base, &arc, &tag, &value) || tag != DER_BOOLEAN || value.left != 1)
			return -EINVAL;
		int *where = arc == 1 ? &p->dynamic : arc == 2 ? &p->cached_keys : arc == 3 ? &p->smt : NULL;
		if (where)
			*where = value.p[0] != 0;
	}
	return 0;
}

int pck_platform_read(const uint8_t *der, size_t len, struct pck_platform *p, struct fault *f)
{
	struct cursor c = cursor_of(der, len), list, value;
	uint8_t arc, tag;
	uint32_t seen = 0;
	memset(p, 0, sizeof *p);
	p->dynamic = p->cached_keys = p->smt = -1;
	if (element(&c, &tag, &list) || tag != DER_SEQUENCE || c.left)
		return fault_set(f, -EINVAL, "the PCK certificate's SGX extension is malformed");
	while (list.left) {
		int err = pair(&list, prefix, sizeof prefix, &arc, &tag, &value);
		if (!err && (arc > 31 || (seen & 1u << arc)))
			err = -EINVAL;
		if (!err && arc == 1)
			err = octets(tag, &value, p->ppid, 16);
		else if (!err && arc == 2)
			err = tag == DER_SEQUENCE ? read_tcb(value, p) : -EINVAL;
		else if (!err && arc == 3)
			err = octets(tag, &value, p->pce_id, 2);
		else if (!err && arc == 4)
			err = octets(tag, &value, p->fmspc, 6);
		else if (!err && arc == 5)
			err = tag == DER_ENUM ? number(&value, &p->type) : -EINVAL;
		else if (!err && arc == 6)
			err = octets(tag, &value, p->instance_id, 16);
		else if (!err && arc == 7)
			err = tag == DER_SEQUENCE ? read_configuration(value, p) : -EINVAL;
		if (err)
			return fault_set(f, -EINVAL, "the PCK certificate's SGX extension is malformed");
		seen |= 1u << arc;
	}
	p->has_instance = seen >> 6 & 1;
	if ((seen & 0x3e) != 0x3e)
		return fault_set(f, -EINVAL, "the PCK certificate's SGX extension is incomplete");
	return 0;
}
