// SPDX-License-Identifier: Apache-2.0
// See judge.h.
#include "cli/judge.h"

#include <errno.h>
#include <stdlib.h>

int judge_begin(struct judge *j, const struct judge_files *files, struct fault *f)
{
	*j = (struct judge){.files = files};
	j->policy = calloc(1, sizeof *j->policy);
	j->references = calloc(1, sizeof *j->references);
	j->result = calloc(1, sizeof *j->result);
	int err = !j->policy || !j->references || !j->result || attest_result_init(j->result) ? fault_set(f, -ENOMEM, "out of memory") : 0;
	if (!err)
		err = policy_file_read(files->policy, j->policy, f);
	if (!err)
		err = evidence_load(&files->evidence, &j->bundle, f);
	if (!err)
		err = evidence_time(files->at, &j->bundle, &j->in.now, f);
	if (!err)
		err = evidence_add_store(&files->evidence, &j->bundle, j->in.now, &j->needs, f);
	if (!err)
		err = evidence_roots(files->simulated_root, &j->simulated, f);
	if (!err)
		err = files->tpm_root ? cert_roots_add_file(&j->tpm, files->tpm_root, f) : 0;
	if (!err && files->tpm_crl)
		err = cert_crls_add_file(&j->tpm_revocation.lists, files->tpm_crl, f);
	if (!err)
		err = evidence_roots(files->gpu_root, &j->gpu, f);
	if (!err)
		err = reference_load(&files->reference, j->in.now, j->references, f);
	if (err)
		return err;
	j->in.bundle = &j->bundle;
	j->in.simulated_roots = j->simulated.certs;
	j->in.simulated_root_count = j->simulated.count;
	j->in.tpm_roots = j->tpm.certs;
	j->in.tpm_root_count = j->tpm.count;
	j->in.tpm_revocation = &j->tpm_revocation;
	j->in.gpu_roots = j->gpu.certs;
	j->in.gpu_root_count = j->gpu.count;
	j->in.tpm_keys = j->policy->tpm_keys[0] ? j->policy->tpm_keys : NULL;
	j->in.cca_keys = j->policy->cca_keys;
	return 0;
}

enum evidence_kind judge_evidence(struct judge *j)
{
	enum evidence_kind kind = evidence_verify(&j->in, j->result);
	policy_file_appraise(j->policy, j->result);
	return kind;
}

void judge_end(struct judge *j)
{
	if (j->result)
		attest_result_free(j->result);
	if (j->references)
		refval_set_free(j->references);
	if (j->policy)
		policy_file_free(j->policy);
	free(j->result);
	free(j->references);
	free(j->policy);
	bundle_free(&j->bundle);
	cert_list_free(&j->simulated);
	cert_roots_free(&j->tpm);
	cert_crls_free(&j->tpm_revocation.lists);
	cert_list_free(&j->gpu);
}

bool judge_option(struct judge_files *files, int option, const char *value, const char **why)
{
	struct reference_files *r = &files->reference;

	*why = "wrong option";
	switch (option) {
	case 768: files->evidence.collateral = value; return true;
	case 769: files->evidence.event_log = value; return true;
	case 770: files->at = value; return true;
	case 771: files->tpm_root = value; return true;
	case 772: files->simulated_root = value; return true;
	case 773:
		*why = "more than 16 documents of reference values";
		if (r->file_count == REFERENCE_MAX_FILES)
			return false;
		r->files[r->file_count++] = value;
		return true;
	case 774:
		*why = "more than 16 keys of reference values";
		if (r->key_count == REFERENCE_MAX_FILES)
			return false;
		r->keys[r->key_count++] = value;
		return true;
	case 775: files->tpm_crl = value; return true;
	default: return false;
	}
}

const char *judge_options_wrong(const struct judge_files *files)
{
	if (files->tpm_crl && !files->tpm_root)
		return "--tpm-crl: the lists are of what stands under --tpm-root FILE";
	return files->reference.file_count && !files->reference.key_count ? "who may have signed the reference values? --reference-key FILE" : NULL;
}
