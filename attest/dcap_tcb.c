// SPDX-License-Identifier: Apache-2.0
// From security versions to a status, as Intel's verification library documents it. See dcap_tcb.h. Pure.
#include "attest/dcap_tcb.h"

#include <stdio.h>
#include <string.h>

static bool all_reach(const int *have, const int *want, int from)
{
	for (int i = from; i < TCB_COMPONENTS; i++) {
		if (have[i] < want[i])
			return false;
	}
	return true;
}

static bool configuration_needed(enum tcb_status s)
{
	return s == TCB_CONFIGURATION_NEEDED || s == TCB_CONFIGURATION_AND_SW_HARDENING_NEEDED ||
	       s == TCB_OUT_OF_DATE_CONFIGURATION_NEEDED || s == TCB_RELAUNCH_ADVISED_CONFIGURATION_NEEDED;
}

// A part that is out of date (the quoting enclave, the TDX module) makes the whole so; a revoked or unknown one is worse still.
static enum tcb_status converge(enum tcb_status whole, enum tcb_status part)
{
	if (whole == TCB_UNSUPPORTED || part == TCB_UNSUPPORTED)
		return TCB_UNSUPPORTED;
	if (whole == TCB_REVOKED || part == TCB_REVOKED)
		return TCB_REVOKED;
	if (part == TCB_OUT_OF_DATE || part == TCB_OUT_OF_DATE_CONFIGURATION_NEEDED)
		return configuration_needed(whole) ? TCB_OUT_OF_DATE_CONFIGURATION_NEEDED : TCB_OUT_OF_DATE;
	return whole;
}

static struct tcb_verdict svn_verdict(const struct svn_level *levels, unsigned int count, int isv_svn)
{
	for (unsigned int i = 0; i < count; i++) {
		if (isv_svn >= levels[i].isv_svn)
			return levels[i].says;
	}
	return (struct tcb_verdict){TCB_UNSUPPORTED, 0, NULL};
}

const struct tdx_module *tcb_module_of(const struct tcb_info *t, const uint8_t tee_tcb_svn[16])
{
	char id[8];
	if (!tee_tcb_svn[1])
		return t->has_module ? &t->module : NULL;
	snprintf(id, sizeof id, "TDX_%02X", tee_tcb_svn[1]);
	for (unsigned int i = 0; i < t->module_count; i++) {
		if (!strcmp(t->modules[i].id, id))
			return &t->modules[i];
	}
	return NULL;
}

// The module and the machine are current, only this TD was launched before they were: a relaunch is enough (TD 1.5 says both).
static bool relaunch_is_enough(const struct tcb_info *t, const struct td_report *td)
{
	const struct tcb_level *latest = &t->levels[0];
	if (td->tee_tcb_svn2[2] < latest->tdx[2])
		return false;
	if (!td->tee_tcb_svn2[1])
		return td->tee_tcb_svn2[0] >= latest->tdx[0];
	const struct tdx_module *m = tcb_module_of(t, td->tee_tcb_svn2);
	return m && m->level_count && td->tee_tcb_svn2[0] >= m->levels[0].isv_svn;
}

static enum tcb_status relaunch(const struct tcb_info *t, const struct td_report *td, enum tcb_status sgx, enum tcb_status tdx,
				const struct tcb_result *r)
{
	bool machine_current = sgx == TCB_UP_TO_DATE || sgx == TCB_SW_HARDENING_NEEDED || sgx == TCB_CONFIGURATION_NEEDED ||
			       sgx == TCB_CONFIGURATION_AND_SW_HARDENING_NEEDED;
	bool old = tdx == TCB_OUT_OF_DATE || tdx == TCB_OUT_OF_DATE_CONFIGURATION_NEEDED;
	if (!td->is_15 || !machine_current || !old || r->qe.status != TCB_UP_TO_DATE || !r->module_judged ||
	    r->module.status != TCB_OUT_OF_DATE || !relaunch_is_enough(t, td))
		return tdx;
	return configuration_needed(sgx) || configuration_needed(tdx) ? TCB_RELAUNCH_ADVISED_CONFIGURATION_NEEDED
								       : TCB_RELAUNCH_ADVISED;
}

// The highest level that the platform reaches: for SGX by its own components, for TDX by the TD's as well.
static void match_levels(const struct tcb_info *t, const struct pck_platform *p, const struct td_report *td,
			 const struct tcb_level **sgx, const struct tcb_level **tdx)
{
	int tee[TCB_COMPONENTS];
	*sgx = *tdx = NULL;
	for (int i = 0; td && i < TCB_COMPONENTS; i++)
		tee[i] = td->tee_tcb_svn[i];
	for (unsigned int i = 0; i < t->level_count; i++) {
		const struct tcb_level *l = &t->levels[i];
		if (!all_reach(p->sgx, l->sgx, 0) || p->pce_svn < l->pce_svn)
			continue;
		if (!*sgx)
			*sgx = l;
		// A module with a version of its own has levels of its own, which stand for components 0 and 1.
		if (td && !*tdx && all_reach(tee, l->tdx, tee[1] ? 2 : 0))
			*tdx = l;
	}
}

void tcb_evaluate(const struct tcb_info *t, const struct qe_identity *q, const struct pck_platform *p, const struct td_report *td,
		  int qe_isv_svn, struct tcb_result *out)
{
	const struct tcb_level *sgx, *tdx;
	memset(out, 0, sizeof *out);
	match_levels(t, p, td, &sgx, &tdx);
	out->qe = svn_verdict(q->levels, q->level_count, qe_isv_svn);
	const struct tcb_level *level = td ? tdx : sgx;
	if (level)
		out->platform = level->says;
	enum tcb_status status = out->platform.status;
	if (td && td->tee_tcb_svn[1]) {
		const struct tdx_module *m = tcb_module_of(t, td->tee_tcb_svn);
		out->module_judged = true;
		if (m)
			out->module = svn_verdict(m->levels, m->level_count, td->tee_tcb_svn[0]);
		status = converge(status, out->module.status);
	}
	if (td && sgx)
		status = relaunch(t, td, sgx->says.status, status, out);
	out->status = converge(status, out->qe.status);
	out->date = out->platform.date;
	if (out->qe.date && out->qe.date < out->date)
		out->date = out->qe.date;
	if (out->module.date && out->module.date < out->date)
		out->date = out->module.date;
}
