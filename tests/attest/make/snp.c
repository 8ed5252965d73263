// SPDX-License-Identifier: Apache-2.0
// See snp.h.
#include "tests/attest/make/snp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define YEAR (365ll * 86400)
#define DEFAULTS .key_kind = -1, .crl_to = SNP_MADE_NOW + 86400, .policy = SNP_POLICY_RESERVED_ONE | SNP_POLICY_SMT | 0x137

const struct snp_spec snp_milan = {DEFAULTS, .version = 2, .product = "Milan-B0", .tcb = {0, 4, 0, 24, 219}};
const struct snp_spec snp_genoa = {DEFAULTS, .version = 3, .family = 0x19, .model = 0x11, .product = "Genoa-B0",
				  .tcb = {0, 10, 0, 25, 88}, .wrapped_hwid = true};
const struct snp_spec snp_turin = {DEFAULTS, .version = 5, .family = 0x1a, .model = 0x02, .product = "Turin-B0",
				  .turin = true, .tcb = {1, 1, 1, 4, 80}};

static struct pki ark;

X509 *snp_made_root(void)
{
	if (!ark.cert)
		ark = pki_make(&(struct pki_spec){"ARK-TEST", NULL, true, "P-384", SNP_MADE_NOW - YEAR, SNP_MADE_NOW + 20 * YEAR, NULL});
	return ark.cert;
}

static void put_tcb(const struct snp_spec *s, uint8_t *p, int snp)
{
	memset(p, 0, 8);
	int first = s->turin ? 0 : -1;
	if (s->turin)
		p[0] = s->tcb[0];
	p[first + 1] = s->tcb[1];
	p[first + 2] = s->tcb[2];
	p[s->turin ? 3 : 6] = (uint8_t)(snp ? snp : s->tcb[3]);
	p[7] = s->tcb[4];
}

// Values above 127 need a leading zero.
static int integer(uint8_t out[4], uint8_t v)
{
	out[0] = 0x02;
	out[1] = v & 0x80 ? 2 : 1;
	out[2] = 0;
	out[v & 0x80 ? 3 : 2] = v;
	return v & 0x80 ? 4 : 3;
}

static struct pki make_leaf(const struct snp_spec *s, const struct pki *ask, const uint8_t chip[64])
{
	static const char *const parts[] = {"3.9", "3.1", "3.2", "3.3", "3.8"};
	uint8_t svn[5][4], product[40], hwid[66] = {0x04, 64};
	char oids[10][40];
	struct pki_extension x[12];
	int n = 0;
	for (int i = s->turin ? 0 : 1; i < 5; i++) {
		sprintf(oids[n], "1.3.6.1.4.1.3704.1.%s", parts[i]);
		x[n] = (struct pki_extension){oids[n], svn[i], integer(svn[i], s->tcb[i])};
		n++;
	}
	product[0] = 0x16;
	product[1] = (uint8_t)strlen(s->product);
	strcpy((char *)product + 2, s->product);
	x[n++] = (struct pki_extension){"1.3.6.1.4.1.3704.1.2", product, product[1] + 2};
	memcpy(hwid + 2, chip, 64);
	if (s->vlek)
		x[n++] = (struct pki_extension){"1.3.6.1.4.1.3704.1.5", (const uint8_t *)"\x16\x04TEST", 6};
	else if (s->turin)
		x[n++] = (struct pki_extension){"1.3.6.1.4.1.3704.1.4", chip, 8};
	else
		x[n++] = (struct pki_extension){"1.3.6.1.4.1.3704.1.4", s->wrapped_hwid ? hwid : chip, s->wrapped_hwid ? 66 : 64};
	x[n] = (struct pki_extension){NULL, NULL, 0};
	return pki_make(&(struct pki_spec){s->vlek ? "SEV-VLEK" : "SEV-VCEK", ask, false, "P-384", SNP_MADE_NOW - 86400,
					   SNP_MADE_NOW + (s->vlek ? 1 : 7) * YEAR, x});
}

static void make_report(const struct snp_spec *s, const struct pki *leaf, const uint8_t chip[64], uint8_t *b)
{
	uint8_t rs[96];
	memset(b, 0, SNP_REPORT_BYTES);
	b[0] = (uint8_t)s->version;
	for (int i = 0; i < 8; i++)
		b[8 + i] = (uint8_t)(s->policy >> 8 * i);
	b[0x34] = 1;
	put_tcb(s, b + 0x38, 0);
	b[0x48] = (uint8_t)((s->key_kind >= 0 ? s->key_kind : s->vlek) << 2 | (s->masked ? 2 : 0));
	if (s->bound)
		memcpy(b + 0x50, s->bound, 64);
	else
		memset(b + 0x50, 0xda, 64);
	memset(b + 0x90, 0xe1, 48);
	if (s->host_data)
		memcpy(b + 0xc0, s->host_data, 32);
	put_tcb(s, b + 0x180, s->reported_snp);
	if (s->family) {
		b[0x188] = (uint8_t)s->family;
		b[0x189] = (uint8_t)s->model;
		b[0x18a] = 1;
	}
	if (!s->masked)
		memcpy(b + 0x1a0, chip, s->turin ? 8 : 64);
	put_tcb(s, b + 0x1e0, s->committed_snp);
	b[0x1ea] = b[0x1ee] = 1;
	put_tcb(s, b + 0x1f0, s->launch_snp);
	if (s->version >= 5)
		b[0x1f8] = b[0x200] = 3;
	pki_sign(leaf->key, 48, b, SNP_SIGNED_BYTES, rs);
	for (int i = 0; i < 48; i++) {
		b[SNP_SIGNED_BYTES + i] = rs[47 - i];
		b[SNP_SIGNED_BYTES + 72 + i] = rs[95 - i];
	}
}

static void make_table(const struct snp_spec *s, struct snp_made *m)
{
	static const char *const guids[] = {"\x8d\x75\xda\x63\x64\xe6\x64\x45\xad\xc5\xf4\xb9\x3b\xe8\xac\xcd",
					    "\xc2\x07\x80\xa8\xa2\x25\x3e\x48\xaa\xe6\x39\xc0\x45\xa0\xb8\xa1",
					    "\x79\xb3\xb7\x4a\xac\xbb\xe4\x4f\xa0\x2f\x05\xae\xf3\x27\xc7\x82",
					    "\xa4\x06\xb4\xc0\x03\xa8\x52\x49\x97\x43\x3f\xb6\x01\x4c\xd0\xae"};
	size_t at = 4 * 24;
	memset(m->table, 0, sizeof m->table);
	// The root first: the order in the table means nothing.
	for (int i = 0; i < 3; i++) {
		uint8_t *der = NULL, *e = m->table + 24 * i;
		int which = 2 - i, n = i2d_X509(m->chain.certs[which], &der);
		memcpy(e, guids[which == 0 ? s->vlek : which + 1], 16);
		for (int k = 0; k < 4; k++) {
			e[16 + k] = (uint8_t)(at >> 8 * k);
			e[20 + k] = (uint8_t)(n >> 8 * k);
		}
		memcpy(m->table + at, der, (size_t)n);
		at += (size_t)n;
		OPENSSL_free(der);
	}
	m->table_len = at;
}

void snp_make(const struct snp_spec *s, struct snp_made *m)
{
	uint8_t chip[64];
	snp_made_root();
	memset(m, 0, sizeof *m);
	memset(chip, 0, sizeof chip);
	memset(chip, 0xc1, s->turin ? 8 : 64);
	struct pki ask = pki_make(&(struct pki_spec){s->vlek ? "SEV-VLEK-TEST" : "SEV-TEST", &ark, true, "P-384", SNP_MADE_NOW - YEAR,
						     SNP_MADE_NOW + 10 * YEAR, NULL});
	struct pki leaf = make_leaf(s, &ask, chip);
	make_report(s, &leaf, chip, m->report);
	X509_up_ref(ark.cert);
	m->chain = (struct snp_chain){.certs = {leaf.cert, ask.cert, ark.cert}, .count = 3};
	m->crl = pki_crl(&ark, s->revoked ? ask.cert : NULL, SNP_MADE_NOW - 86400, s->crl_to);
	make_table(s, m);
	EVP_PKEY_free(leaf.key);
	EVP_PKEY_free(ask.key);
}

void snp_made_free(struct snp_made *m)
{
	snp_chain_free(&m->chain);
	X509_CRL_free(m->crl);
}
