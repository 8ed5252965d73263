// SPDX-License-Identifier: Apache-2.0
// Items by their makers' paths: Intel's Provisioning Certification Service, version 4 (and what its caches add), AMD's Key Distribution
// Service, Hygon's certificate service. See collateral.h. Untrusted text (requests to a mirror come through here): the fuzz target
// fuzz_collateral drives it. Pure; no locks.
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/collateral.h"
#include "lib/encode.h"

#define MAX_PARAMETERS 8

struct query {
	unsigned int count;
	struct {
		char name[16], value[72];
		bool used;
	} p[MAX_PARAMETERS];
};

static int query_read(const char *text, struct query *q, struct fault *f)
{
	memset(q, 0, sizeof *q);
	while (*text) {
		size_t n = strcspn(text, "&"), name = strcspn(text, "=&");
		size_t value = n > name ? n - name - 1 : 0;
		if (q->count == MAX_PARAMETERS || name >= sizeof q->p->name || value >= sizeof q->p->value)
			return fault_set(f, -EINVAL, "too many or too long parameters");
		memcpy(q->p[q->count].name, text, name);
		memcpy(q->p[q->count].value, text + n - value, value);
		q->count++;
		text += n + (text[n] == '&');
	}
	return 0;
}

// The value of a parameter; NULL when it is not there. Marks it as understood.
static const char *query_get(struct query *q, const char *name)
{
	const char *value = NULL;
	for (unsigned int i = 0; i < q->count; i++) {
		if (strcmp(q->p[i].name, name) || q->p[i].used)
			continue;
		if (value)	// given twice: the second stays unknown, and is refused
			break;
		q->p[i].used = true;
		value = q->p[i].value;
	}
	return value;
}

static int query_all_used(const struct query *q, struct fault *f)
{
	for (unsigned int i = 0; i < q->count; i++) {
		if (!q->p[i].used)
			return fault_set(f, -EINVAL, "a parameter '%s' that is not known here, or is given twice", q->p[i].name);
	}
	return 0;
}

static int read_update(struct query *q, struct collateral_key *k, struct fault *f)
{
	const char *update = query_get(q, "update");
	k->early = update && !strcmp(update, "early");
	return !update || k->early || !strcmp(update, "standard") ? 0 : fault_set(f, -EINVAL, "'update' is early or standard");
}

// Behind /sgx/certification/v4/ or /tdx/certification/v4/.
static int read_intel(struct collateral_key *k, const char *what, struct query *q, struct fault *f)
{
	char hex[13];
	const char *tee = k->tdx ? "tdx" : "sgx", *value, *update;
	int err = 0;
	if (!strcmp(what, "tcb")) {
		k->kind = COLLATERAL_TCB_INFO;
		value = query_get(q, "fmspc");
		if (!value || strlen(value) != 12 || hex_decode(k->fmspc, 6, value))
			return fault_set(f, -EINVAL, "'fmspc' is 12 hex digits");
		hex_encode(hex, k->fmspc, 6);
		for (char *c = hex; *c; c++)
			*c = (char)toupper((unsigned char)*c);
		err = read_update(q, k, f);
		update = k->early ? "early" : "standard";
		snprintf(k->path, sizeof k->path, "/%s/certification/v4/tcb?fmspc=%s%s", tee, hex, k->early ? "&update=early" : "");
		snprintf(k->name, sizeof k->name, "%s-tcb-%s-%s", tee, hex, update);
	} else if (!strcmp(what, "qe/identity")) {
		k->kind = COLLATERAL_QE_IDENTITY;
		err = read_update(q, k, f);
		update = k->early ? "early" : "standard";
		snprintf(k->path, sizeof k->path, "/%s/certification/v4/qe/identity%s", tee, k->early ? "?update=early" : "");
		snprintf(k->name, sizeof k->name, "%s-qe-%s", tee, update);
	} else if (!strcmp(what, "pckcrl") && !k->tdx) {
		k->kind = COLLATERAL_PCK_CRL;
		value = query_get(q, "ca");
		k->platform = value && !strcmp(value, "platform");
		if (!value || (!k->platform && strcmp(value, "processor")))
			return fault_set(f, -EINVAL, "'ca' is platform or processor");
		query_get(q, "encoding");	// of the same list: a mirror's business
		snprintf(k->path, sizeof k->path, "/sgx/certification/v4/pckcrl?ca=%s&encoding=der", value);
		snprintf(k->name, sizeof k->name, "sgx-pck-crl-%s", value);
	} else if (!strcmp(what, "rootcacrl") && !k->tdx) {
		k->kind = COLLATERAL_ROOT_CRL;
		snprintf(k->path, sizeof k->path, "/IntelSGXRootCA.der");
		snprintf(k->name, sizeof k->name, "sgx-root-crl");
	} else {
		return fault_set(f, -EINVAL, "Intel's service has no '%.64s' that is known here", what);
	}
	return err;
}

static int read_svn(struct query *q, const char *name, int *out, struct fault *f)
{
	const char *value = query_get(q, name);
	size_t n = value ? strlen(value) : 0;
	if (!n || n > 3 || strspn(value, "0123456789") != n || atoi(value) > 255)
		return fault_set(f, -EINVAL, "'%s' is a number from 0 to 255", name);
	*out = atoi(value);
	return 0;
}

static int read_vcek(struct collateral_key *k, const char *hwid, struct query *q, struct fault *f)
{
	bool turin = !strcmp(k->product, "Turin");
	char hex[129], fmc[24] = "", part[8] = "";
	k->kind = COLLATERAL_VCEK;
	k->hwid_len = strlen(hwid) / 2;
	if (k->hwid_len != (turin ? 8 : 64) || hex_decode(k->hwid, k->hwid_len, hwid))
		return fault_set(f, -EINVAL, "a chip's id has %d hex digits", turin ? 16 : 128);
	k->fmc = -1;
	int err = turin ? read_svn(q, "fmcSPL", &k->fmc, f) : 0;
	if (!err)
		err = read_svn(q, "blSPL", &k->bootloader, f);
	if (!err)
		err = read_svn(q, "teeSPL", &k->tee, f);
	if (!err)
		err = read_svn(q, "snpSPL", &k->snp, f);
	if (!err)
		err = read_svn(q, "ucodeSPL", &k->microcode, f);
	if (err)
		return err;
	hex_encode(hex, k->hwid, k->hwid_len);
	if (turin) {
		snprintf(fmc, sizeof fmc, "fmcSPL=%02d&", k->fmc);
		snprintf(part, sizeof part, "%d-", k->fmc);
	}
	snprintf(k->path, sizeof k->path, "/vcek/v1/%s/%s?%sblSPL=%02d&teeSPL=%02d&snpSPL=%02d&ucodeSPL=%02d", k->product, hex, fmc, k->bootloader,
		 k->tee, k->snp, k->microcode);
	snprintf(k->name, sizeof k->name, "vcek-%s-%s-%s%d-%d-%d-%d", k->product, hex, part, k->bootloader, k->tee, k->snp, k->microcode);
	return 0;
}

// Behind /vcek/v1/ or /vlek/v1/.
static int read_amd(struct collateral_key *k, const char *what, struct query *q, struct fault *f)
{
	static const char *const products[] = {"Milan", "Genoa", "Turin"};
	size_t n = strcspn(what, "/");
	for (size_t i = 0; i < sizeof products / sizeof *products; i++) {
		if (strlen(products[i]) == n && !memcmp(products[i], what, n))
			strcpy(k->product, products[i]);
	}
	if (!k->product[0] || what[n] != '/')
		return fault_set(f, -EINVAL, "products are Milan, Genoa and Turin");
	what += n + 1;
	const char *vek = k->vlek ? "vlek" : "vcek";
	bool crl = !strcmp(what, "crl");
	if (!crl && strcmp(what, "cert_chain")) {
		return k->vlek ? fault_set(f, -EINVAL, "a VLEK is had from the provider that runs the machine, not from AMD")
			       : read_vcek(k, what, q, f);
	}
	k->kind = crl ? COLLATERAL_AMD_CRL : COLLATERAL_AMD_CHAIN;
	snprintf(k->path, sizeof k->path, "/%s/v1/%s/%s", vek, k->product, what);
	snprintf(k->name, sizeof k->name, "amd-%s-%s-%s", vek, k->product, crl ? "crl" : "chain");
	return 0;
}

static int read_hygon(struct collateral_key *k, struct query *q, struct fault *f)
{
	const char *value = query_get(q, "snumber");
	size_t n = value ? strlen(value) : 0;
	k->kind = COLLATERAL_HSK_CEK;
	for (size_t i = 0; i < n; i++) {
		if (!isalnum((unsigned char)value[i]))
			n = 0;
	}
	if (!n || n >= sizeof k->serial)
		return fault_set(f, -EINVAL, "'snumber' is a chip's serial number");
	strcpy(k->serial, value);
	snprintf(k->path, sizeof k->path, "/hsk_cek?snumber=%s", k->serial);
	snprintf(k->name, sizeof k->name, "hygon-hsk-cek-%s", k->serial);
	return 0;
}

int collateral_key_read(const char *text, struct collateral_key *k, struct fault *f)
{
	struct query q;
	char path[COLLATERAL_MAX_PATH];
	memset(k, 0, sizeof *k);
	size_t n = strcspn(text, "?");
	if (n >= sizeof path || strlen(text) >= 2 * COLLATERAL_MAX_PATH)
		return fault_set(f, -EINVAL, "too long a path");
	memcpy(path, text, n);
	path[n] = '\0';
	int err = query_read(text + n + (text[n] == '?'), &q, f);
	if (err)
		return err;
	k->tdx = !strncmp(path, "/tdx/certification/v4/", 22);
	k->vlek = !strncmp(path, "/vlek/v1/", 9);
	if (k->tdx || !strncmp(path, "/sgx/certification/v4/", 22)) {
		err = read_intel(k, path + 22, &q, f);
	} else if (!strcmp(path, "/IntelSGXRootCA.der")) {
		err = read_intel(k, "rootcacrl", &q, f);
	} else if (k->vlek || !strncmp(path, "/vcek/v1/", 9)) {
		err = read_amd(k, path + 9, &q, f);
	} else if (!strcmp(path, "/hsk_cek")) {
		err = read_hygon(k, &q, f);
	} else if (!strcmp(path, "/hrk")) {
		k->kind = COLLATERAL_HRK;
		strcpy(k->path, "/hrk");
		strcpy(k->name, "hygon-hrk");
	} else {
		err = fault_set(f, -EINVAL, "'%.100s' is no path of Intel's (version 4), AMD's or Hygon's services", path);
	}
	return err ? err : query_all_used(&q, f);
}

const char *collateral_about(const struct collateral_key *k, char out[200])
{
	char hex[129];
	const char *tee = k->tdx ? "TDX" : "SGX", *early = k->early ? ", early" : "", *vek = k->vlek ? "VLEK" : "VCEK";
	switch (k->kind) {
	case COLLATERAL_TCB_INFO:
		snprintf(out, 200, "TCB info of %s platforms %s%s", tee, hex_encode(hex, k->fmspc, 6), early);
		break;
	case COLLATERAL_QE_IDENTITY:
		snprintf(out, 200, "identity of the quoting enclave for %s%s", tee, early);
		break;
	case COLLATERAL_PCK_CRL:
		snprintf(out, 200, "revocation list of Intel's PCK %s CA", k->platform ? "platform" : "processor");
		break;
	case COLLATERAL_ROOT_CRL:
		snprintf(out, 200, "revocation list of Intel's SGX root");
		break;
	case COLLATERAL_VCEK:
		hex_encode(hex, k->hwid, k->hwid_len);
		snprintf(out, 200, "VCEK of the %s chip %.16s%s at TCB %d.%d.%d.%d", k->product, hex, k->hwid_len > 8 ? "..." : "", k->bootloader,
			 k->tee, k->snp, k->microcode);
		break;
	case COLLATERAL_AMD_CHAIN:
		snprintf(out, 200, "AMD's certificates above the %s of %s", vek, k->product);
		break;
	case COLLATERAL_AMD_CRL:
		snprintf(out, 200, "revocation list of AMD's root for the %s of %s", vek, k->product);
		break;
	case COLLATERAL_HSK_CEK:
		snprintf(out, 200, "Hygon's certificates of chip %s", k->serial);
		break;
	case COLLATERAL_HRK:
		snprintf(out, 200, "Hygon's root certificate");
		break;
	}
	return out;
}
