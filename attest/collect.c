// SPDX-License-Identifier: Apache-2.0
// See collect.h. Interfaces: Linux, Documentation/ABI/testing/configfs-tsm; Hygon's uapi/linux/csv-guest.h; Gramine's /dev/attestation.
#include "attest/collect.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <openssl/rand.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "attest/csv.h"
#include "attest/dcap.h"
#include "attest/evidence.h"
#include "attest/json.h"
#include "attest/snp.h"
#include "attest/tpm.h"
#include "attest/tpm_collect.h"
#include "lib/encode.h"
#include "lib/file.h"

#define MAX_BLOB (1u << 20)
#define TRIES 5

static int write_blob(const char *dir, const char *name, const void *bytes, size_t len, struct fault *f)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	int fd = open(path, O_WRONLY | O_CLOEXEC), err = 0;
	if (fd < 0)
		return fault_errno(f, errno, "cannot open %s", path);
	ssize_t n = write(fd, bytes, len);
	if (n != (ssize_t)len)
		err = n < 0 ? errno : EIO;
	if (close(fd) < 0 && !err)
		err = errno;
	return err ? fault_errno(f, err, "cannot write %s", path) : 0;
}

static int read_blob(const char *dir, const char *name, char **out, size_t *len, struct fault *f)
{
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/%s", dir, name);
	return file_read(path, MAX_BLOB, out, len, f);
}

static int read_number(const char *dir, const char *name, unsigned long *n, struct fault *f)
{
	char *text, *end;
	size_t len;
	int err = read_blob(dir, name, &text, &len, f);
	if (err)
		return err;
	*n = strtoul(text, &end, 10);
	if (end == text)
		err = fault_set(f, -EIO, "%s/%s has no number", dir, name);
	free(text);
	return err;
}

// One report; -EAGAIN when somebody else used the entry meanwhile. The kernel counts what is written: a report that is not about our
// data shows by that.
static int tsm_once(const char *dir, const uint8_t data[64], int privlevel, char **report, size_t *len, char **aux, size_t *aux_len, struct fault *f)
{
	unsigned long before, written, after;
	char level[16];
	*report = *aux = NULL;
	int err = read_number(dir, "generation", &before, f);
	if (!err && privlevel >= 0) {
		int n = snprintf(level, sizeof level, "%d", privlevel);
		err = write_blob(dir, "privlevel", level, (size_t)n, f);
		before++;
	}
	if (!err)
		err = write_blob(dir, "inblob", data, 64, f);
	if (!err)
		err = read_number(dir, "generation", &written, f);
	if (!err && written == before)
		err = fault_set(f, -EIO, "%s/inblob did not take the report data", dir);
	else if (!err && written != before + 1)
		err = fault_set(f, -EAGAIN, "somebody else writes to %s", dir);
	if (!err)
		err = read_blob(dir, "outblob", report, len, f);
	if (!err && read_blob(dir, "auxblob", aux, aux_len, NULL))	// not all have one
		*aux = NULL;
	if (!err)
		err = read_number(dir, "generation", &after, f);
	if (!err && after != written)
		err = fault_set(f, -EAGAIN, "somebody else writes to %s", dir);
	if (err) {
		free(*report);
		free(*aux);
		*report = *aux = NULL;
	}
	return err;
}

// A report, and behind it the table of its certificates, or these as PEM (Coffer's own enclaves).
static int put_report(struct bundle *b, const char *report, size_t len, const char *aux, size_t aux_len)
{
	if (!aux || !aux_len)
		return bundle_put_bytes(b, "evidence", report, len);
	if (aux_len > 10 && !memcmp(aux, "-----BEGIN", 10)) {
		int err = bundle_put_bytes(b, "evidence", report, len);
		return err ? err : bundle_put_text(b, "certificates", aux, aux_len);
	}
	char *both = malloc(len + aux_len);
	if (!both)
		return -ENOMEM;
	memcpy(both, report, len);
	memcpy(both + len, aux, aux_len);
	int err = bundle_put_bytes(b, "evidence", both, len + aux_len);
	free(both);
	return err;
}

static void put_log(struct bundle *b, const char *ccel)
{
	char *log;
	size_t len;
	if (file_read(ccel ? ccel : "/sys/firmware/acpi/tables/data/CCEL", MAX_BLOB, &log, &len, NULL))
		return;	// firmware that keeps none
	if (len)
		bundle_put_bytes(b, "event_log", log, len);
	free(log);
}

static int from_tsm(const struct collect_places *p, const uint8_t data[64], int privlevel, struct bundle *b, char provider[64], struct fault *f)
{
	const char *base = p->tsm ? p->tsm : "/sys/kernel/config/tsm/report";
	char dir[PATH_MAX - 32], *report = NULL, *aux = NULL, *name = NULL;
	size_t len, aux_len, name_len;
	snprintf(dir, sizeof dir, "%s/coffer-%d", base, (int)getpid());
	if (mkdir(dir, 0700) < 0)
		return errno == ENOENT ? fault_set(f, -ENODEV, "no %s (the module of the guest's hardware, and configfs mounted, make it)", base)
				       : fault_errno(f, errno, "cannot make %s", dir);
	int err = read_blob(dir, "provider", &name, &name_len, f);
	if (!err) {
		snprintf(provider, 64, "%.*s", (int)strcspn(name, "\n"), name);
		free(name);
		err = -EAGAIN;
	}
	for (int i = 0; err == -EAGAIN && i < TRIES; i++)
		err = tsm_once(dir, data, privlevel, &report, &len, &aux, &aux_len, f);
	if (!err && put_report(b, report, len, aux, aux_len))
		err = fault_set(f, -ENOMEM, "out of memory");
	if (!err && !strcmp(provider, "tdx_guest"))
		put_log(b, p->ccel);
	free(report);
	free(aux);
	rmdir(dir);
	return err;
}

// What the driver of CSV guests takes, and gives its answer in the place of.
struct csv_request {
	uint8_t data[64], nonce[16], hash[32];
	char magic[16];		// asks for the extended report, which older firmware does not know
	uint32_t flags;
} __attribute__((packed));

struct csv_ioctl {
	uint8_t *report;
	int len;
};
#define CSV_GET_REPORT _IOWR('D', 1, struct csv_ioctl)
#define CSV_REPORT_PAGE 4096

static int from_csv(const struct collect_places *p, const uint8_t data[64], struct bundle *b, char provider[64], struct fault *f)
{
	const char *path = p->csv ? p->csv : "/dev/csv-guest";
	static const char magic[16] = "ATTESTATION_EXT";
	uint8_t page[CSV_REPORT_PAGE] = {0};
	struct csv_request *q = (struct csv_request *)page;
	struct csv_ioctl io = {page, sizeof page};
	struct csv_report r;
	int fd = open(path, O_RDWR | O_CLOEXEC), err = 0;
	if (fd < 0)
		return errno == ENOENT || errno == ENODEV || errno == ENXIO ? fault_set(f, -ENODEV, "no %s (the module csv-guest makes it)", path)
									     : fault_errno(f, errno, "cannot open %s", path);
	memcpy(q->data, data, sizeof q->data);
	memcpy(q->magic, magic, sizeof magic);
	q->flags = 1;
	if (RAND_bytes(q->nonce, sizeof q->nonce) != 1 ||
	    EVP_Digest(page, sizeof q->data + sizeof q->nonce, q->hash, NULL, EVP_sm3(), NULL) != 1)
		err = fault_set(f, -EIO, "no SM3 or no random bytes");
	else if (ioctl(fd, CSV_GET_REPORT, &io) < 0)
		err = fault_errno(f, errno, errno == ENOTTY ? "%s is no CSV guest's device" : "%s gives no report", path);
	close(fd);
	if (!err && csv_parse(page, sizeof page, &r, f))
		err = -EIO;
	if (!err && memcmp(r.report_data, data, sizeof r.report_data))
		err = fault_set(f, -EIO, "%s gave a report about something else", path);
	if (err)
		return err;
	strcpy(provider, "csv-guest");
	if (bundle_put_bytes(b, "evidence", page, sizeof page - r.trailing))
		return fault_set(f, -ENOMEM, "out of memory");
	if (r.version == 2)
		put_log(b, p->ccel);
	return 0;
}

// A quote is made inside an enclave, about itself: by the library OS that the program runs on.
static int from_sgx(const struct collect_places *p, const uint8_t data[64], struct bundle *b, char provider[64], struct fault *f)
{
	const char *dir = p->libos ? p->libos : "/dev/attestation", *device = p->sgx ? p->sgx : "/dev/sgx_enclave";
	char *quote;
	size_t len;
	if (access(dir, F_OK)) {
		if (access(device, F_OK))
			return fault_set(f, -ENODEV, "no %s and no %s", dir, device);
		return fault_set(f, -ENODEV, "%s is there, but an SGX quote is made inside an enclave, about itself: run this in one, on a library OS that "
				 "has %s", device, dir);
	}
	int err = write_blob(dir, "user_report_data", data, 64, f);
	if (!err)
		err = read_blob(dir, "quote", &quote, &len, f);
	if (err)
		return err;
	strcpy(provider, "sgx");
	err = bundle_put_bytes(b, "evidence", quote, len) ? fault_set(f, -ENOMEM, "out of memory") : 0;
	free(quote);
	return err;
}

// Registers of the boot and of the system's loader; those above are for others and change while a machine runs.
#define QUOTED_PCRS 0xffffu

static int from_tpm(const struct collect_places *p, const uint8_t data[64], struct bundle *b, char provider[64], struct fault *f)
{
	struct tpm_attester a;
	char *log;
	size_t len;
	int err = tpm_attester_open(&a, p->tpm, f);
	if (err)
		return err;
	err = tpm_attester_quote(&a, QUOTED_PCRS, data, COLLECT_NONCE_BYTES, b, f);
	strcpy(provider, a.azure ? "azure-vtpm" : "tpm");
	tpm_attester_close(&a);
	// A machine of the usual place has its log there; a TPM elsewhere is another machine's.
	const char *path = p->tpm_log ? p->tpm_log : p->tpm ? NULL : "/sys/kernel/security/tpm0/binary_bios_measurements";
	if (!err && path && !file_read(path, MAX_BLOB, &log, &len, NULL)) {
		if (len)
			bundle_put_bytes(b, "event_log", log, len);
		free(log);
	}
	return err;
}

// The report is about what was asked, as far as this is in a known place.
static int check_bound(struct bundle *b, const uint8_t data[64], struct fault *f)
{
	struct snp_report snp;
	struct dcap_quote q;
	size_t len;
	const uint8_t *e = bundle_bytes(b, "evidence", &len), *found = NULL;
	enum evidence_kind kind = e ? evidence_kind_of(e, len) : EVIDENCE_UNKNOWN;
	if (kind == EVIDENCE_UNKNOWN)
		return fault_set(f, -EIO, "the kernel gave %zu bytes that are no evidence of a known kind", len);
	if (kind == EVIDENCE_SNP && !snp_parse(e, SNP_REPORT_BYTES, &snp, NULL))
		found = snp.report_data;
	struct tpm_quote t;
	const uint8_t *quote = bundle_bytes(b, "tpm_quote", &len);
	if (quote && (tpm_quote_parse(quote, len, &t, NULL) || t.nonce_len != COLLECT_NONCE_BYTES || memcmp(t.nonce, data, COLLECT_NONCE_BYTES)))
		return fault_set(f, -EIO, "the TPM gave a quote about something else");
	e = bundle_bytes(b, "evidence", &len);
	if ((kind == EVIDENCE_SGX || kind == EVIDENCE_TDX) && !dcap_quote_parse(e, len, &q, NULL))
		found = q.report_data;
	return found && memcmp(found, data, 64) ? fault_set(f, -EIO, "the kernel gave evidence about something else") : 0;
}

int collect_evidence(enum collect_from from, const struct collect_places *places, const uint8_t data[64], int privlevel, struct bundle *b,
		     char provider[64], struct fault *f)
{
	static const struct collect_places usual;
	struct fault tsm = {""}, csv = {""}, sgx = {""}, tpm = {""};
	char stamp[32];
	int err = -ENODEV;
	if (!places)
		places = &usual;
	if (from == COLLECT_ANY || from == COLLECT_TSM)
		err = from_tsm(places, data, privlevel, b, provider, &tsm);
	if (err == -ENODEV && (from == COLLECT_ANY || from == COLLECT_CSV))
		err = from_csv(places, data, b, provider, &csv);
	if (err == -ENODEV && (from == COLLECT_ANY || from == COLLECT_SGX))
		err = from_sgx(places, data, b, provider, &sgx);
	if (err == -ENODEV && (from == COLLECT_ANY || from == COLLECT_TPM))
		err = from_tpm(places, data, b, provider, &tpm);
	const char *const all[] = {tsm.text, csv.text, sgx.text, tpm.text};
	char words[600] = "";
	size_t n = 0;
	for (size_t i = 0; i < 4 && n < sizeof words; i++) {
		if (*all[i])
			n = err == -ENODEV ? n + (size_t)snprintf(words + n, sizeof words - n, "%s%s", n ? "; " : "", all[i])
					   : (size_t)snprintf(words, sizeof words, "%s", all[i]);
	}
	if (err)
		return fault_set(f, err, "%s%s", err == -ENODEV ? "this machine offers no evidence: " : "", words);
	err = check_bound(b, data, f);
	time_text(stamp, time(NULL));
	if (!err && (bundle_put_text(b, "format", BUNDLE_FORMAT, strlen(BUNDLE_FORMAT)) || bundle_put_text(b, "time", stamp, strlen(stamp))))
		err = fault_set(f, -ENOMEM, "out of memory");
	return err;
}
