// SPDX-License-Identifier: Apache-2.0
// An SNP report by its fields' names, as a Rust client's serialiser writes it: so written, and put back into the bytes that were signed. What the
// form leaves out (reserved bytes) is zero; if it was not, the signature says so. See coco.h. Pure.
#include <errno.h>
#include <string.h>

#include "attest/coco.h"
#include "attest/slice.h"

ssize_t coco_numbers(const json_t *list, uint8_t *out, size_t size)
{
	size_t n = json_array_size(list);
	if (!json_is_array(list) || n > size)
		return -EINVAL;
	for (size_t i = 0; i < n; i++) {
		const json_t *v = json_array_get(list, i);
		if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > 255)
			return -EINVAL;
		out[i] = (uint8_t)json_integer_value(v);
	}
	return (ssize_t)n;
}

struct field {
	const char *name;
	unsigned int at, size;
	bool list;		// of numbers; else one number, little-endian
	bool optional;
};

static const struct field fields[] = {
	{"version", 0, 4, false, false}, {"guest_svn", 4, 4, false, false}, {"policy", 8, 8, false, false}, {"family_id", 0x10, 16, true, false},
	{"image_id", 0x20, 16, true, false}, {"vmpl", 0x30, 4, false, false}, {"sig_algo", 0x34, 4, false, false}, {"plat_info", 0x40, 8, false, false},
	{"_author_key_en", 0x48, 4, false, true}, {"key_info", 0x48, 4, false, true}, {"report_data", 0x50, 64, true, false},
	{"measurement", 0x90, 48, true, false}, {"host_data", 0xc0, 32, true, false}, {"id_key_digest", 0xe0, 48, true, false},
	{"author_key_digest", 0x110, 48, true, false}, {"report_id", 0x140, 32, true, false}, {"report_id_ma", 0x160, 32, true, false},
	{"cpuid_fam_id", 0x188, 1, false, true}, {"cpuid_mod_id", 0x189, 1, false, true}, {"cpuid_step", 0x18a, 1, false, true},
	{"chip_id", 0x1a0, 64, true, false}, {"current_build", 0x1e8, 1, false, true}, {"current_minor", 0x1e9, 1, false, true},
	{"current_major", 0x1ea, 1, false, true}, {"committed_build", 0x1ec, 1, false, true}, {"committed_minor", 0x1ed, 1, false, true},
	{"committed_major", 0x1ee, 1, false, true}, {"launch_mit_vector", 0x1f8, 8, false, true}, {"current_mit_vector", 0x200, 8, false, true},
};
static const struct field version_fields[] = {{"build", 0, 1, false, false}, {"minor", 1, 1, false, false}, {"major", 2, 1, false, false}};
static const struct field tcb_fields[] = {
	{"bootloader", 0, 1, false, false}, {"tee", 1, 1, false, false}, {"snp", 6, 1, false, false}, {"microcode", 7, 1, false, false},
};
static const struct field turin_fields[] = {
	{"fmc", 0, 1, false, false}, {"bootloader", 1, 1, false, false}, {"tee", 2, 1, false, false}, {"snp", 3, 1, false, false},
	{"microcode", 7, 1, false, false},
};
static const struct field signature_fields[] = {{"r", 0, 72, true, false}, {"s", 72, 72, true, false}};

static int put(const json_t *o, const struct field *list, size_t count, uint8_t *out, struct fault *f)
{
	for (const struct field *d = list; d < list + count; d++) {
		const json_t *v = json_object_get(o, d->name);
		uint64_t n = (uint64_t)json_integer_value(v);
		if (d->optional && (!v || json_is_null(v)))
			continue;
		if (d->list ? coco_numbers(v, out + d->at, d->size) != (ssize_t)d->size
			    : !json_is_integer(v) || (d->size < 8 && n >> 8 * d->size))
			return fault_set(f, -EINVAL, "attestation_report: %s is missing or malformed", d->name);
		for (unsigned int i = 0; !d->list && i < d->size; i++)
			out[d->at + i] = (uint8_t)(n >> 8 * i);
	}
	return 0;
}

static json_t *numbers(const uint8_t *bytes, size_t len)
{
	json_t *list = json_array();
	for (size_t i = 0; i < len; i++)
		json_array_append_new(list, json_integer(bytes[i]));
	return list;
}

static json_t *get(const struct field *list, size_t count, const uint8_t *in)
{
	json_t *o = json_object();
	for (const struct field *d = list; d < list + count; d++) {
		uint64_t n = 0;
		for (unsigned int i = d->list ? 0 : d->size; i--;)
			n = n << 8 | in[d->at + i];
		json_object_set_new(o, d->name, d->list ? numbers(in + d->at, d->size) : json_integer((json_int_t)n));
	}
	return o;
}

#define GET(list, in) get(list, sizeof list / sizeof *list, in)
#define PUT(o, list, out) put(o, list, sizeof list / sizeof *list, out, f)

static const struct { const char *name; unsigned int at; } tcbs[] = {
	{"current_tcb", 0x38}, {"reported_tcb", 0x180}, {"committed_tcb", 0x1e0}, {"launch_tcb", 0x1f0},
};
static const struct { const char *name; unsigned int at; } versions[] = {{"current", 0x1e8}, {"committed", 0x1ec}};

// What a report of an older version does not have is null; a name of each generation of clients stands for the same bytes.
json_t *coco_snp_fields(const uint8_t report[1184])
{
	json_t *o = GET(fields, report);
	unsigned int version = report[0];
	bool turin = version >= 3 && report[0x188] == 0x1a;
	for (size_t i = 0; i < sizeof tcbs / sizeof *tcbs; i++) {
		json_t *tcb = turin ? GET(turin_fields, report + tcbs[i].at) : GET(tcb_fields, report + tcbs[i].at);
		if (!turin)
			json_object_set_new(tcb, "fmc", json_null());
		json_object_set_new(o, tcbs[i].name, tcb);
	}
	for (size_t i = 0; i < sizeof versions / sizeof *versions; i++)
		json_object_set_new(o, versions[i].name, GET(version_fields, report + versions[i].at));
	static const struct { const char *name; unsigned int since; } later[] = {
		{"cpuid_fam_id", 3}, {"cpuid_mod_id", 3}, {"cpuid_step", 3}, {"launch_mit_vector", 5}, {"current_mit_vector", 5},
	};
	for (size_t i = 0; i < sizeof later / sizeof *later; i++) {
		if (version < later[i].since)
			json_object_set_new(o, later[i].name, json_null());
	}
	json_object_set_new(o, "signature", GET(signature_fields, report + 0x2a0));
	return o;
}

int coco_snp_report(const json_t *o, uint8_t report[1184], struct fault *f)
{
	memset(report, 0, 1184);
	int err = PUT(o, fields, report);
	for (size_t i = 0; !err && i < sizeof tcbs / sizeof *tcbs; i++) {
		const json_t *tcb = json_object_get(o, tcbs[i].name);
		if (json_is_integer(json_object_get(tcb, "fmc")))
			err = PUT(tcb, turin_fields, report + tcbs[i].at);
		else
			err = PUT(tcb, tcb_fields, report + tcbs[i].at);
	}
	for (size_t i = 0; !err && i < sizeof versions / sizeof *versions; i++) {
		const json_t *v = json_object_get(o, versions[i].name);
		err = v ? PUT(v, version_fields, report + versions[i].at) : 0;
	}
	return err ? err : PUT(json_object_get(o, "signature"), signature_fields, report + 0x2a0);
}
