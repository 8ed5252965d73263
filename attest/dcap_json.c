// SPDX-License-Identifier: Apache-2.0
// Intel's JSON into structures. See dcap_tcb.h. The fuzz target fuzz_dcap_json drives it.
#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "attest/dcap_tcb.h"
#include "attest/slice.h"

static const struct {
	const char *name;
	enum tcb_status status;
} statuses[] = {
	{"UpToDate", TCB_UP_TO_DATE},
	{"SWHardeningNeeded", TCB_SW_HARDENING_NEEDED},
	{"ConfigurationNeeded", TCB_CONFIGURATION_NEEDED},
	{"ConfigurationAndSWHardeningNeeded", TCB_CONFIGURATION_AND_SW_HARDENING_NEEDED},
	{"TDRelaunchAdvised", TCB_RELAUNCH_ADVISED},
	{"TDRelaunchAdvisedConfigurationNeeded", TCB_RELAUNCH_ADVISED_CONFIGURATION_NEEDED},
	{"OutOfDate", TCB_OUT_OF_DATE},
	{"OutOfDateConfigurationNeeded", TCB_OUT_OF_DATE_CONFIGURATION_NEEDED},
	{"Revoked", TCB_REVOKED},
};

const char *tcb_status_name(enum tcb_status s)
{
	for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
		if (statuses[i].status == s)
			return statuses[i].name;
	}
	return "Unsupported";
}

static int read_verdict(const json_t *level, struct tcb_verdict *v, struct fault *f)
{
	const char *name = slice_text(level, "tcbStatus");
	v->status = TCB_UNSUPPORTED;
	for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
		if (!strcmp(statuses[i].name, name))
			v->status = statuses[i].status;
	}
	v->date = slice_time(json_object_get(level, "tcbDate"));
	v->advisories = json_object_get(level, "advisoryIDs");
	if (v->status == TCB_UNSUPPORTED)
		return fault_set(f, -EINVAL, "a TCB level whose status is not known");
	if (v->date < 0)
		return fault_set(f, -EINVAL, "a TCB level without date");
	if (v->advisories && !json_is_array(v->advisories))
		return fault_set(f, -EINVAL, "advisoryIDs is not a list");
	return 0;
}

static int read_svn_levels(const json_t *list, struct svn_level *levels, unsigned int *count, struct fault *f)
{
	size_t i, n = json_array_size(list);
	json_t *level;
	if (!n || n > TCB_MAX_LEVELS)
		return fault_set(f, -EINVAL, "%zu TCB levels", n);
	json_array_foreach(list, i, level) {
		long svn = slice_number(json_object_get(level, "tcb"), "isvsvn", 0xffff);
		if (svn < 0)
			return fault_set(f, -EINVAL, "a TCB level without isvsvn");
		levels[i].isv_svn = (int)svn;
		int err = read_verdict(level, &levels[i].says, f);
		if (err)
			return err;
	}
	*count = (unsigned int)n;
	return 0;
}

// {"svn": N} sixteen times.
static int read_components(const json_t *list, int out[TCB_COMPONENTS])
{
	if (json_array_size(list) != TCB_COMPONENTS)
		return -EINVAL;
	for (size_t i = 0; i < TCB_COMPONENTS; i++) {
		long svn = slice_number(json_array_get(list, i), "svn", 0xffff);
		if (svn < 0)
			return -EINVAL;
		out[i] = (int)svn;
	}
	return 0;
}

// Version 2 of the format names each component.
static int read_named_components(const json_t *tcb, int out[TCB_COMPONENTS])
{
	for (int i = 0; i < TCB_COMPONENTS; i++) {
		char name[32];
		snprintf(name, sizeof name, "sgxtcbcomp%02dsvn", i + 1);
		long svn = slice_number(tcb, name, 0xffff);
		if (svn < 0)
			return -EINVAL;
		out[i] = (int)svn;
	}
	return 0;
}

static int read_levels(const json_t *list, struct tcb_info *t, struct fault *f)
{
	size_t i, n = json_array_size(list);
	json_t *level;
	if (!n || n > TCB_MAX_LEVELS)
		return fault_set(f, -EINVAL, "%zu TCB levels", n);
	json_array_foreach(list, i, level) {
		struct tcb_level *l = &t->levels[i];
		const json_t *tcb = json_object_get(level, "tcb");
		long pce = slice_number(tcb, "pcesvn", 0xffff);
		int err = t->version == 2 ? read_named_components(tcb, l->sgx)
					  : read_components(json_object_get(tcb, "sgxtcbcomponents"), l->sgx);
		if (!err && t->is_tdx)
			err = read_components(json_object_get(tcb, "tdxtcbcomponents"), l->tdx);
		if (err || pce < 0)
			return fault_set(f, -EINVAL, "TCB level %zu lacks its components", i);
		l->pce_svn = (int)pce;
		err = read_verdict(level, &l->says, f);
		if (err)
			return err;
	}
	t->level_count = (unsigned int)n;
	return 0;
}

static int read_module(const json_t *o, struct tdx_module *m, bool versioned, struct fault *f)
{
	if (slice_hex(json_object_get(o, "mrsigner"), m->mrsigner, 48) ||
	    slice_hex(json_object_get(o, "attributes"), m->attributes, 8) ||
	    slice_hex(json_object_get(o, "attributesMask"), m->attributes_mask, 8))
		return fault_set(f, -EINVAL, "a TDX module identity is incomplete");
	if (!versioned)
		return 0;
	const char *id = slice_text(o, "id");
	if (strlen(id) >= sizeof m->id)
		return fault_set(f, -EINVAL, "a TDX module identity's id is too long");
	for (size_t i = 0; id[i]; i++)
		m->id[i] = (char)toupper((unsigned char)id[i]);
	return read_svn_levels(json_object_get(o, "tcbLevels"), m->levels, &m->level_count, f);
}

static int read_modules(struct tcb_info *t, struct fault *f)
{
	const json_t *list = json_object_get(t->json, "tdxModuleIdentities");
	size_t n = json_array_size(list);
	int err = read_module(json_object_get(t->json, "tdxModule"), &t->module, false, f);
	if (err)
		return err;
	t->has_module = true;
	if (n > TCB_MAX_MODULES)
		return fault_set(f, -EINVAL, "%zu TDX module identities", n);
	for (size_t i = 0; i < n; i++) {
		err = read_module(json_array_get(list, i), &t->modules[i], true, f);
		if (err)
			return err;
	}
	t->module_count = (unsigned int)n;
	return 0;
}

static int read_dates(const json_t *o, time_t *issued, time_t *next, int *evaluation, struct fault *f)
{
	*issued = slice_time(json_object_get(o, "issueDate"));
	*next = slice_time(json_object_get(o, "nextUpdate"));
	*evaluation = (int)slice_number(o, "tcbEvaluationDataNumber", 1 << 30);
	if (*issued < 0 || *next < 0 || *evaluation < 0)
		return fault_set(f, -EINVAL, "issueDate, nextUpdate or tcbEvaluationDataNumber is missing or malformed");
	return 0;
}

int tcb_info_read(const char *text, size_t len, struct tcb_info *t, struct fault *f)
{
	memset(t, 0, sizeof *t);
	t->json = slice_parse(text, len, f);
	if (!t->json)
		return -EINVAL;
	const char *id = slice_text(t->json, "id");
	t->version = (int)slice_number(t->json, "version", 99);
	t->is_tdx = !strcmp(id, "TDX");
	int err = -EINVAL;
	if (t->version != 3 && !(t->version == 2 && !*id))
		fault_set(f, err, "TCB info of version %d", t->version);
	else if (t->version == 3 && !t->is_tdx && strcmp(id, "SGX"))
		fault_set(f, err, "TCB info whose id is neither SGX nor TDX");
	else if (slice_hex(json_object_get(t->json, "fmspc"), t->fmspc, 6) ||
		 slice_hex(json_object_get(t->json, "pceId"), t->pce_id, 2))
		fault_set(f, err, "fmspc or pceId is missing or malformed");
	else if (slice_number(t->json, "tcbType", 99) != 0)
		fault_set(f, err, "a TCB type other than 0");
	else
		err = read_dates(t->json, &t->issued, &t->next, &t->evaluation, f);
	if (!err && t->is_tdx)
		err = read_modules(t, f);
	if (!err)
		err = read_levels(json_object_get(t->json, "tcbLevels"), t, f);
	if (err)
		tcb_info_free(t);
	return err;
}

void tcb_info_free(struct tcb_info *t)
{
	json_decref(t->json);
	t->json = NULL;
}

int qe_identity_read(const char *text, size_t len, struct qe_identity *q, struct fault *f)
{
	memset(q, 0, sizeof *q);
	q->json = slice_parse(text, len, f);
	if (!q->json)
		return -EINVAL;
	const char *id = slice_text(q->json, "id");
	const json_t *o = q->json;
	q->version = (int)slice_number(o, "version", 99);
	q->prod_id = (int)slice_number(o, "isvprodid", 0xffff);
	q->is_td = !strcmp(id, "TD_QE");
	int err = -EINVAL;
	if (q->version < 2 || q->version > 3)
		fault_set(f, err, "enclave identity of version %d", q->version);
	else if (!q->is_td && strcmp(id, "QE"))
		fault_set(f, err, "enclave identity whose id is neither QE nor TD_QE");
	else if (slice_hex(json_object_get(o, "miscselect"), q->misc, 4) ||
		 slice_hex(json_object_get(o, "miscselectMask"), q->misc_mask, 4) ||
		 slice_hex(json_object_get(o, "attributes"), q->attributes, 16) ||
		 slice_hex(json_object_get(o, "attributesMask"), q->attributes_mask, 16) ||
		 slice_hex(json_object_get(o, "mrsigner"), q->mrsigner, 32) || q->prod_id < 0)
		fault_set(f, err, "the enclave identity is incomplete");
	else
		err = read_dates(o, &q->issued, &q->next, &q->evaluation, f);
	if (!err)
		err = read_svn_levels(json_object_get(o, "tcbLevels"), q->levels, &q->level_count, f);
	if (err)
		qe_identity_free(q);
	return err;
}

void qe_identity_free(struct qe_identity *q)
{
	json_decref(q->json);
	q->json = NULL;
}
