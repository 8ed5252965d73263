// SPDX-License-Identifier: Apache-2.0
// `coffer reference import`: a signed CoRIM of somebody else's as values of the owner's own document.
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "attest/corim.h"
#include "attest/json.h"
#include "attest/slice.h"
#include "cli/cli.h"
#include "cli/reference.h"
#include "lib/file.h"

struct request {
	const char *file, *add, *key, *name, *keys[REFERENCE_MAX_FILES];
	unsigned int key_count;
	time_t at;
	bool partial, json;
};

// Rows as they will stand in the document, with the manifest's own end.
static int add(const struct request *q, const struct corim *c, struct fault *f)
{
	size_t n = json_array_size(c->values);
	struct refval_new *values = calloc(n + 1, sizeof *values);
	char note[160];
	snprintf(note, sizeof note, "CoRIM %s", c->id);
	for (size_t i = 0; values && i < n; i++) {
		const json_t *row = json_array_get(c->values, i);
		json_t *least = json_object_get(row, "minimum");
		values[i] = (struct refval_new){
			.name = json_string_value(json_object_get(row, "name")), .tee = json_string_value(json_object_get(row, "tee")), .note = note,
			.kind = least ? REFVAL_MINIMUM : json_object_get(row, "mask") ? REFVAL_MASKED : REFVAL_EQUALS,
			.value = least ? least : json_object_get(row, "value"), .mask = json_string_value(json_object_get(row, "mask")),
			.from = c->from, .until = c->until,
		};
	}
	const struct reference_change change = {.file = q->add, .key = q->key, .name = q->name, .values = values, .count = (unsigned int)n};
	int err = values ? reference_change(&change, q->at, f) : fault_set(f, -ENOMEM, "out of memory");
	free(values);
	return err;
}

static void print_list(const char *what, const json_t *list)
{
	for (size_t i = 0; i < json_array_size(list); i++)
		printf("%s %s\n", what, json_string_value(json_array_get(list, i)));
}

static void print(const struct request *q, const struct corim *c)
{
	size_t i;
	json_t *row;
	if (q->json) {
		json_t *o = json_pack("{s:s, s:s, s:s, s:O, s:O, s:O, s:O}", "id", c->id, "profile", c->profile, "signer", c->signer, "values", c->values,
				      "left_out", c->left_out, "notes", c->notes, "keys", c->keys);
		char *text = json_dumps(o, JSON_COMPACT | JSON_SORT_KEYS);
		printf("%s\n", text ? text : "{}");
		free(text);
		json_decref(o);
		return;
	}
	printf("%s: CoRIM %s, profile %s, signed by %s\n", q->file, *c->id ? c->id : "without id", *c->profile ? c->profile : "none", c->signer);
	json_array_foreach(c->values, i, row) {
		const json_t *least = json_object_get(row, "minimum"), *v = least ? least : json_object_get(row, "value");
		char *text = json_dumps(v, JSON_ENCODE_ANY);
		printf("  %s%s%s%s%s  on %s\n", slice_text(row, "name"), least ? ">=" : "=", json_is_string(v) ? json_string_value(v) : text ? text : "",
		       json_object_get(row, "mask") ? "/" : "", slice_text(row, "mask"), *slice_text(row, "tee") ? slice_text(row, "tee") : "any hardware");
		free(text);
	}
	print_list("  key of an attester, for a policy:", c->keys);
	print_list("  not taken over:", c->notes);
	print_list("  LEFT OUT:", c->left_out);
}

static int import(const struct request *q, struct fault *f)
{
	struct dsse_key keys[REFERENCE_MAX_FILES] = {{NULL, ""}};
	struct corim c = {.values = NULL};
	struct fault why = {""};
	unsigned int count = 0;
	char *bytes;
	size_t len;
	int err = file_read(q->file, CORIM_MAX_BYTES, &bytes, &len, f);
	if (err)
		return err;
	for (; count < q->key_count && !err; count++)
		err = reference_public_key(q->keys[count], &keys[count], f);
	if (!err) {
		err = corim_read((uint8_t *)bytes, len, keys, count, q->at, &c, &why);
		if (err)
			fault_set(f, err, "%s: %.900s", q->file, why.text);
	}
	if (!err)
		print(q, &c);
	if (!err && json_array_size(c.left_out) && !q->partial)
		err = fault_set(f, -EOPNOTSUPP, "%s restricts evidence in ways that are not understood (left out above); without them more would be accepted than its "
				"maker wants. --insecure-partial takes the rest", q->file);
	if (!err && q->add && !json_array_size(c.values))
		err = fault_set(f, -EINVAL, "%s has no reference values", q->file);
	if (!err && q->add) {
		int added = add(q, &c, f);
		err = added < 0 ? added : 0;
		if (!err && !q->json)
			printf("%s %s\n", q->add, added ? "has them now, in a new version" : "has them already");
	}
	corim_free(&c);
	while (count)
		dsse_key_free(&keys[--count]);
	free(bytes);
	return err;
}

int reference_import(int argc, char **argv)
{
	static const struct option options[] = {
		{"corim-key", required_argument, NULL, 'c'}, {"add", required_argument, NULL, 'a'}, {"key", required_argument, NULL, 'K'},
		{"name", required_argument, NULL, 'n'}, {"at", required_argument, NULL, 't'}, {"insecure-partial", no_argument, NULL, 'p'},
		{"json", no_argument, NULL, 'j'}, {0},
	};
	struct request q = {.at = time(NULL)};
	struct fault f = {""};
	json_t *s;
	int option, err;

	optind = 1;
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			if (q.key_count == REFERENCE_MAX_FILES)
				return cli_usage(&command_reference, "more than %d keys", REFERENCE_MAX_FILES);
			q.keys[q.key_count++] = optarg;
			break;
		case 'a': q.add = optarg; break;
		case 'K': q.key = optarg; break;
		case 'n': q.name = optarg; break;
		case 't':
			s = json_string(optarg);
			q.at = slice_time(s);
			json_decref(s);
			if (q.at < 0)
				return cli_usage(&command_reference, "'%s' is no time: write it as 2026-01-31T00:00:00Z", optarg);
			break;
		case 'p': q.partial = true; break;
		case 'j': q.json = true; break;
		default: return cli_usage(&command_reference, "wrong option");
		}
	}
	if (argc - optind != 1 || !q.key_count)
		return cli_usage(&command_reference, "which manifest, and who may have signed it? coffer reference import FILE --corim-key PUBLIC");
	if (q.add && (!q.key || !q.name))
		return cli_usage(&command_reference, "--add FILE needs --key KEY, who signs, and --name NAME, for a document that is new");
	q.file = argv[optind];
	err = import(&q, &f);
	if (err == -EBADMSG || err == -ESTALE) {
		cli_fail(&f);
		return EXIT_REFUSED;
	}
	return err ? cli_fail(&f) : EXIT_OK;
}
