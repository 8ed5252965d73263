// SPDX-License-Identifier: Apache-2.0
// Fuzzes Intel's signed statements: cutting out the signed bytes, TCB info, the quoting enclave's identity, chains and lists.
#include <stdint.h>
#include <stdlib.h>

#include "attest/dcap_collateral.h"
#include "attest/slice.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct collateral_text t = {(const char *)data, size};
	struct dcap_collateral_parts p = {.tcb_info = t, .tcb_info_chain = t, .qe_identity = t, .qe_identity_chain = t, .root_crl = t,
					  .pck_crl = t, .pck_crl_chain = t, .pck_chain = t};
	struct dcap_collateral *c;
	struct tcb_info *tcb = malloc(sizeof *tcb);
	struct qe_identity qe;
	const char *value;
	size_t len;

	if (!tcb || dcap_collateral_open(&p, &c))
		abort();
	if (c->tcb_signed.good || c->qe_signed.good)
		abort();	// one text cannot be statement and certificates
	dcap_collateral_free(c);
	if (!slice_member(t.bytes, size, "tcbInfo", &value, &len, NULL) && (value < t.bytes || value + len > t.bytes + size))
		abort();
	if (!tcb_info_read(t.bytes, size, tcb, NULL))
		tcb_info_free(tcb);
	if (!qe_identity_read(t.bytes, size, &qe, NULL))
		qe_identity_free(&qe);
	free(tcb);
	return 0;
}
