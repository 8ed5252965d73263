// SPDX-License-Identifier: Apache-2.0
// See gpu.h.
#include "tests/attest/make/gpu.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/encode.h"

#define YEAR (365ll * 86400)

const struct gpu_spec gpu_good = {.version = 0x11, .request = 0xe0, .answer = 0x60, .wanted = 0xff, .specification = 1, .blocks = 64,
				  .driver = "580.95.05", .leaf_to = GPU_MADE_NOW + 7 * YEAR};

static struct pki root;

X509 *gpu_made_root(void)
{
	if (!root.cert)
		root = pki_make(&(struct pki_spec){"TEST Device Identity CA", NULL, true, "P-384", GPU_MADE_NOW - YEAR, GPU_MADE_NOW + 90 * YEAR, NULL});
	return root.cert;
}

static uint8_t *le16(uint8_t *p, size_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
	return p + 2;
}

static uint8_t *field(uint8_t *p, unsigned int type, const void *bytes, size_t n)
{
	p = le16(le16(p, type), n);
	return mempcpy(p, bytes, n);
}

static uint8_t *block(const struct gpu_spec *s, uint8_t *p, unsigned int index)
{
	*p++ = (uint8_t)index;
	*p++ = s->specification;
	p = le16(p, 51);
	*p++ = 1;
	p = le16(p, 48);
	memset(p, index % 8 ? (int)index : 0, 48);	// some are empty, as a GPU's are
	return p + 48;
}

static uint8_t *messages(const struct gpu_spec *s, uint8_t *p, const uint8_t firmware[48])
{
	static const uint8_t vbios[8] = {0x00, 0x74, 0x00, 0x96, 0x1a};
	unsigned int count = s->blocks + (s->twice ? 1 : 0);
	uint8_t *opaque;
	*p++ = s->version;
	*p++ = s->request;
	*p++ = 1;
	*p++ = s->wanted;
	if (s->nonce)
		memcpy(p, s->nonce, 32);
	else
		memset(p, 0x5a, 32);
	p += 32;
	*p++ = 0;
	*p++ = s->version;
	*p++ = s->answer;
	*p++ = 0;
	*p++ = 0;
	*p++ = (uint8_t)count;
	p = le16(p, count * 55);
	*p++ = 0;
	for (unsigned int i = 1; i <= s->blocks; i++)
		p = block(s, p, i);
	if (s->twice)
		p = block(s, p, (unsigned int)s->twice);
	memset(p, 0xa5, 32);
	opaque = p += 32;
	p += 2;
	if (!s->no_vbios)
		p = field(p, 6, vbios, 8);
	for (int i = 0; s->driver && i < 1 + s->driver_twice; i++)
		p = field(p, 3, s->driver, strlen(s->driver) + 1);
	p = field(p, 15, "882\0\0\0\0\0", 9);
	p = field(p, 11, "\x55", 1);
	p = field(p, 36, "\0\0", 2);
	if (s->unknown_field)
		p = field(p, 777, "new", 3);
	if (!s->no_firmware)
		p = field(p, 20, firmware, 48);
	le16(opaque, (size_t)(p - opaque - 2) + (s->unsigned_opaque_tail ? 4000 : 0));
	return p;
}

void gpu_make(const struct gpu_spec *s, struct gpu_made *m)
{
	uint8_t firmware[48], dice[4 + 2 + 9 + 50] = {0x30, sizeof dice - 2, 0xa6, sizeof dice - 4, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02,
						     0x04, 48};
	const struct pki_extension x[] = {{"2.23.133.5.4.1", dice, sizeof dice}, {NULL, NULL, 0}};
	memset(m, 0, sizeof *m);
	gpu_made_root();
	memset(firmware, 0xf1, sizeof firmware);
	memcpy(dice + sizeof dice - 48, firmware, 48);
	struct pki chip = pki_make(&(struct pki_spec){"TEST GSP BROM", &root, true, "P-384", GPU_MADE_NOW - YEAR, GPU_MADE_NOW + 90 * YEAR, NULL});
	struct pki leaf = pki_make(&(struct pki_spec){"TEST GSP FMC", &chip, s->leaf_is_ca, "P-384", GPU_MADE_NOW - 86400, s->leaf_to, x});
	if (s->other_firmware)
		firmware[5] ^= 1;
	uint8_t *p = messages(s, m->report, firmware);
	pki_sign(leaf.key, 48, m->report, (size_t)(p - m->report), p);
	p += 96 + s->trailing;
	m->len = (size_t)(p - m->report);
	m->pem = pki_pem(leaf.cert, chip.cert, root.cert, NULL);
	if (cert_list_add_pem(&m->certs, m->pem, strlen(m->pem), NULL))
		abort();
	m->crls.crls[m->crls.count++] = pki_crl(&chip, s->revoked ? leaf.cert : NULL, GPU_MADE_NOW - 86400, GPU_MADE_NOW + 86400);
	m->crls.crls[m->crls.count++] = pki_crl(&root, NULL, GPU_MADE_NOW - 86400, GPU_MADE_NOW + 86400);
	pki_free(&leaf);
	pki_free(&chip);
}

void gpu_made_free(struct gpu_made *m)
{
	cert_list_free(&m->certs);
	cert_crls_free(&m->crls);
	free(m->pem);
}

char *gpu_made_json(const struct gpu_made *const *devices, unsigned int count)
{
	json_t *list = json_array();
	for (unsigned int i = 0; i < count; i++) {
		static char report[BASE64_SIZE(sizeof devices[i]->report)], certs[BASE64_SIZE(16384)];
		char uuid[32];
		base64_encode(report, devices[i]->report, devices[i]->len, BASE64_STD);
		base64_encode(certs, devices[i]->pem, strlen(devices[i]->pem), BASE64_STD);
		snprintf(uuid, sizeof uuid, "GPU-%u", i);
		json_array_append_new(list, json_pack("{s:s, s:s, s:s, s:s}", "arch", "HOPPER", "uuid", uuid, "evidence", report, "certificate", certs));
	}
	json_t *o = json_pack("{s:o}", "device_evidence_list", list);
	char *text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	return text;
}
