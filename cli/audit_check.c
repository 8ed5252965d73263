// SPDX-License-Identifier: Apache-2.0
// `coffer audit head`, `prove`, `export` and `verify`.
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "broker/audit.h"
#include "cli/audit.h"
#include "cli/cli.h"
#include "cli/progress.h"
#include "lib/encode.h"
#include "lib/file.h"

static const char *which_head(const struct audit_options *o, char out[48])
{
	*out = '\0';
	if (o->cosigned)
		snprintf(out, 48, "?cosigned=%u", o->cosigned);
	return out;
}

// The output: a file that appears when it is whole, or standard output.
struct output {
	FILE *file;
	const char *path;
	char *partial;
};

static int output_open(struct output *out, const char *path, struct fault *f)
{
	*out = (struct output){.file = stdout, .path = path};
	if (!path || !strcmp(path, "-"))
		return 0;
	if (asprintf(&out->partial, "%s.partial", path) < 0)
		return fault_set(f, -ENOMEM, "out of memory");
	out->file = fopen(out->partial, "we");
	return out->file ? 0 : fault_errno(f, errno, "cannot write %s", out->partial);
}

static int output_close(struct output *out, int err, struct fault *f)
{
	if (!out->partial)
		return err;
	if (out->file && (fflush(out->file) || fsync(fileno(out->file))) && !err)
		err = fault_errno(f, errno, "cannot write %s", out->partial);
	if (out->file)
		fclose(out->file);
	if (!err && rename(out->partial, out->path))
		err = fault_errno(f, errno, "cannot name %s", out->path);
	if (err && out->file)
		unlink(out->partial);
	free(out->partial);
	return err;
}

int audit_head_command(struct broker_client *c, const struct audit_options *o, struct fault *f)
{
	char which[48], text[NOTE_MAX];
	struct note n;
	struct output out;
	int err = audit_client_head(c, which_head(o, which), &n, f);

	if (!err && o->trust.has_key && !note_signed_by(&n, &o->trust.key, NULL))
		err = fault_set(f, -EKEYREJECTED, "the broker's tree head is not signed with the key that was given");
	if (err)
		return err;
	note_text(&n, text);
	err = output_open(&out, o->output, f);
	if (!err)
		fputs(text, out.file);
	return output_close(&out, err, f);
}

int audit_prove(struct broker_client *c, const struct audit_options *o, uint64_t index, struct fault *f)
{
	char which[48], text[NOTE_MAX], hash[BASE64_SIZE(MERKLE_HASH)], *record = NULL, *encoded = NULL;
	struct merkle_proof p;
	struct output out;
	struct note n;
	int err = audit_client_head(c, which_head(o, which), &n, f);

	if (!err)
		err = audit_client_record(c, index, &record, f);
	if (!err)
		err = audit_client_inclusion(c, index, n.head.size, &p, f);
	if (err)
		goto out;
	encoded = malloc(BASE64_SIZE(strlen(record)));
	if (!encoded) {
		err = fault_set(f, -ENOMEM, "out of memory");
		goto out;
	}
	base64_encode(encoded, record, strlen(record), BASE64_STD);
	note_text(&n, text);
	err = output_open(&out, o->output, f);
	if (!err) {
		fprintf(out.file, AUDIT_PROOF "\nextra %s\nindex %" PRIu64 "\n", encoded, index);
		for (unsigned int i = 0; i < p.count; i++) {
			base64_encode(hash, p.hash[i], MERKLE_HASH, BASE64_STD);
			fprintf(out.file, "%s\n", hash);
		}
		fprintf(out.file, "\n%s", text);
	}
	err = output_close(&out, err, f);
out:
	free(encoded);
	free(record);
	return err;
}

static void shown(void *ctx, uint64_t done, uint64_t total)
{
	(void)total;
	progress_show(ctx, done, 0, 0);
}

int audit_export(struct broker_client *c, const struct audit_options *o, struct fault *f)
{
	char which[48];
	struct progress bar;
	struct output out;
	struct note n;
	int err = audit_client_head(c, which_head(o, which), &n, f);

	if (err)
		return err;
	err = output_open(&out, o->output, f);
	if (!err) {
		progress_begin(&bar, "Exporting", !o->output);
		err = audit_client_export(c, &n, o->from, out.file, shown, &bar, f);
		progress_end(&bar);
	}
	return output_close(&out, err, f);
}

static int say_verdict(const struct audit_options *o, const struct audit_verdict *v)
{
	char root[65], *text;

	hex_encode(root, v->head.head.root, MERKLE_HASH);
	if (o->json) {
		json_t *j = json_pack("{s:b, s:s, s:I, s:I, s:s, s:i, s:b}", "good", !v->wrong[0], "log", v->key.name, "from", (json_int_t)v->from,
				      "size", (json_int_t)v->head.head.size, "root", root, "cosignatures", (int)v->witnesses, "key_given",
				      o->trust.has_key);
		if (v->wrong[0])
			json_object_set_new(j, "wrong", json_string(v->wrong));
		if (v->record && !v->wrong[0]) {
			json_object_set_new(j, "index", json_integer((json_int_t)v->index));
			json_object_set_new(j, "record", json_loads(v->record, 0, NULL));
		}
		text = json_dumps(j, JSON_COMPACT | JSON_SORT_KEYS);
		printf("%s\n", text ? text : "{}");
		free(text);
		json_decref(j);
		return v->wrong[0] ? EXIT_REFUSED : EXIT_OK;
	}
	if (v->wrong[0]) {
		printf("%sWRONG%s  %s\n", cli_red(stdout), cli_plain(stdout), v->wrong);
		return EXIT_REFUSED;
	}
	if (v->record)
		printf("%sgood%s  record %" PRIu64 " is in the log\n  record   %s\n", cli_green(stdout), cli_plain(stdout), v->index, v->record);
	else
		printf("%sgood%s  the %" PRIu64 " records from number %" PRIu64 " on are what was signed\n", cli_green(stdout), cli_plain(stdout),
		       v->head.head.size - v->from, v->from);
	printf("  log      %s\n  size     %" PRIu64 "\n  root     %s\n", v->key.name, v->head.head.size, root);
	if (o->trust.kept_count && !v->record)
		printf("  kept     it goes on from %u tree head%s that %s kept\n", o->trust.kept_count, o->trust.kept_count > 1 ? "s" : "",
		       o->trust.kept_count > 1 ? "were" : "was");
	if (o->trust.witness_count)
		printf("  witness  %u of %u have cosigned\n", v->witnesses, o->trust.witness_count);
	if (!o->trust.has_key)
		printf("%s  The log's key is the one that it names itself: give --key, and --head with a tree head that you kept.%s\n",
		       cli_yellow(stdout), cli_plain(stdout));
	return EXIT_OK;
}

struct piped {
	struct broker_client *c;
	const struct note *head;
	uint64_t from;
	FILE *out;
	int err;
	struct fault f;
};

static void *pipe_export(void *arg)
{
	struct piped *p = arg;

	p->err = audit_client_export(p->c, p->head, p->from, p->out, NULL, NULL, &p->f);
	fclose(p->out);
	return NULL;
}

// The log of a running broker, through a pipe: what is wrong with the asking counts before what is wrong with the log.
static int verify_online(struct broker_client *c, const struct audit_options *o, struct audit_verdict *v, struct fault *f)
{
	struct piped p = {.c = c, .from = o->from};
	char which[48];
	struct note n;
	pthread_t writer;
	FILE *in = NULL;
	int fd[2], err = audit_client_head(c, which_head(o, which), &n, f);

	if (err)
		return err;
	if (pipe2(fd, O_CLOEXEC))
		return fault_errno(f, errno, "cannot make a pipe");
	p.head = &n;
	p.out = fdopen(fd[1], "w");
	in = fdopen(fd[0], "r");
	if (!p.out || !in || pthread_create(&writer, NULL, pipe_export, &p))
		return fault_set(f, -ENOMEM, "out of memory");
	err = audit_verify_export(in, &o->trust, v, f);
	for (char rest[4096]; fread(rest, 1, sizeof rest, in);) // so that the writer ends
		;
	pthread_join(writer, NULL);
	fclose(in);
	if (p.err) {
		*f = p.f;
		err = p.err;
	}
	return err;
}

static int verify_file(const char *path, const struct audit_options *o, struct audit_verdict *v, struct fault *f)
{
	char first[sizeof AUDIT_PROOF] = "", *text;
	size_t len;
	FILE *in = fopen(path, "re");

	if (!in)
		return fault_errno(f, errno, "cannot read %s", path);
	bool proof = fread(first, 1, sizeof first - 1, in) == sizeof first - 1 && !strcmp(first, AUDIT_PROOF);
	rewind(in);
	int err = proof ? file_read(path, 2 * AUDIT_MAX_ENTRY, &text, &len, f) : audit_verify_export(in, &o->trust, v, f);
	fclose(in);
	if (proof && !err) {
		err = audit_verify_proof(text, len, &o->trust, v, f);
		free(text);
	}
	return err;
}

int audit_verify(struct broker_client *c, const char *file, const struct audit_options *o, int *exit_code, struct fault *f)
{
	struct audit_verdict v = {0};
	int err = file ? verify_file(file, o, &v, f) : verify_online(c, o, &v, f);

	if (!err)
		*exit_code = say_verdict(o, &v);
	free(v.record);
	return err;
}
