// SPDX-License-Identifier: Apache-2.0
// `coffer audit`: what the broker decided, and whether its log is what was signed. Options; audit_list.c, audit_check.c and
// audit_witness.c do the work.
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli/audit.h"
#include "cli/cli.h"
#include "lib/file.h"

// A public key: the text itself, or a file with it.
int audit_take_key(const char *what, enum note_kind kind, struct note_key *out, struct fault *f)
{
	char *text = NULL;
	size_t len;
	int err = note_key_parse(out, what);

	if (err && !file_read(what, 4096, &text, &len, f)) {
		text[strcspn(text, "\r\n")] = '\0';
		err = note_key_parse(out, text);
	} else if (err) {
		return fault_set(f, -EINVAL, "'%.200s' is neither a public key nor a file with one", what);
	}
	free(text);
	if (!err && out->kind != (uint8_t)kind)
		err = -EINVAL;
	return err ? fault_set(f, -EINVAL, "'%.200s' is not the public key of %s", what, kind == NOTE_LOG ? "an audit log (audit.pub)" : "a witness") : 0;
}

int audit_take_head(struct audit_trust *t, const char *path, struct fault *f)
{
	char *text;
	size_t len;

	if (t->kept_count == AUDIT_MAX_KEPT)
		return fault_set(f, -EINVAL, "at most %d kept tree heads", AUDIT_MAX_KEPT);
	int err = file_read(path, NOTE_MAX, &text, &len, f);
	if (err)
		return err;
	err = note_parse(&t->kept[t->kept_count], text, len, f);
	free(text);
	if (err)
		return fault_set(f, -EINVAL, "%s is not a tree head as `coffer audit head` prints it", path);
	t->kept_count++;
	return 0;
}

int audit_take_witness(struct audit_trust *t, const char *what, struct fault *f)
{
	if (t->witness_count == AUDIT_MAX_WITNESSES)
		return fault_set(f, -EINVAL, "at most %d witnesses", AUDIT_MAX_WITNESSES);
	int err = audit_take_key(what, NOTE_WITNESS, &t->witness[t->witness_count], f);
	t->witness_count += !err;
	return err;
}


static bool number(const char *s, uint64_t *out)
{
	size_t n = strspn(s, "0123456789");

	*out = strtoull(s, NULL, 10);
	return n > 0 && n <= 18 && !s[n];
}

// One option; false: wrong, with or without a message.
static bool take_option(struct audit_options *o, int option, struct fault *f)
{
	uint64_t n = 0;

	switch (option) {
	case 'j': o->json = true; return true;
	case 'o': o->output = optarg; return true;
	case 'F': o->has_from = true; return number(optarg, &o->from);
	case 'n': o->limit = number(optarg, &n) && n < 1 << 30 ? (unsigned long)n : 0; return o->limit;
	case 'a': o->limit = 0; return true;
	case 'c': o->cosigned = number(optarg, &n) && n <= AUDIT_MAX_WITNESSES ? (unsigned int)n : 0; return o->cosigned;
	case 'k': o->trust.has_key = true; return !audit_take_key(optarg, NOTE_LOG, &o->trust.key, f);
	case 'H': return !audit_take_head(&o->trust, optarg, f);
	case 'w': return !audit_take_witness(&o->trust, optarg, f);
	case 'q': o->trust.quorum = number(optarg, &n) && n <= AUDIT_MAX_WITNESSES ? (unsigned int)n : 0; return o->trust.quorum;
	case 's': o->since = optarg; return true;
	case 'u': o->until = optarg; return true;
	case 'e': o->event = optarg; return true;
	case 'O': o->outcome = optarg; return true;
	case 'r': o->resource = optarg; return true;
	case 'p': o->peer = optarg; return true;
	case 'N': o->witness_name = optarg; return true;
	case 'S': o->state = optarg; return true;
	case 'P': o->print_key = true; return true;
	}
	return owner_option(&o->owner, option, optarg);
}

static int work(const char *what, const char *word, struct audit_options *o, int *exit_code, struct fault *f)
{
	struct broker_client *c = NULL;
	uint64_t index = 0;
	// Heads, proofs and keys are for everybody.
	o->owner.broker.anonymous = !strcmp(what, "head") || !strcmp(what, "witness");
	bool offline = (!strcmp(what, "verify") && word) || o->print_key;
	int err = 0;

	if ((!strcmp(what, "show") || !strcmp(what, "prove")) && !number(word, &index))
		return fault_set(f, -EINVAL, "'%.60s' is not the number of a record", word);
	if (!offline)
		err = broker_client_open(&c, &o->owner.broker, f);
	if (err)
		return err;
	if (!strcmp(what, "list"))
		err = audit_list(c, o, f);
	else if (!strcmp(what, "show"))
		err = audit_show(c, o, index, f);
	else if (!strcmp(what, "head"))
		err = audit_head_command(c, o, f);
	else if (!strcmp(what, "prove"))
		err = audit_prove(c, o, index, f);
	else if (!strcmp(what, "export"))
		err = audit_export(c, o, f);
	else if (!strcmp(what, "verify"))
		err = audit_verify(c, word, o, exit_code, f);
	else
		err = audit_witness(c, o, f);
	broker_client_close(c);
	return err;
}

static int audit(int argc, char **argv)
{
	static const struct option options[] = {
		OWNER_OPTIONS, {"json", no_argument, NULL, 'j'}, {"output", required_argument, NULL, 'o'}, {"from", required_argument, NULL, 'F'},
		{"last", required_argument, NULL, 'n'}, {"all", no_argument, NULL, 'a'}, {"cosigned", required_argument, NULL, 'c'},
		{"key", required_argument, NULL, 'k'}, {"head", required_argument, NULL, 'H'}, {"witness", required_argument, NULL, 'w'},
		{"quorum", required_argument, NULL, 'q'}, {"since", required_argument, NULL, 's'}, {"until", required_argument, NULL, 'u'},
		{"event", required_argument, NULL, 'e'}, {"outcome", required_argument, NULL, 'O'}, {"resource", required_argument, NULL, 'r'},
		{"peer", required_argument, NULL, 'p'}, {"name", required_argument, NULL, 'N'}, {"state", required_argument, NULL, 'S'},
		{"print-key", no_argument, NULL, 'P'}, {0},
	};
	static const struct { const char *name; int min, max; } verbs[] = {
		{"list", 0, 0}, {"show", 1, 1}, {"head", 0, 0}, {"prove", 1, 1}, {"verify", 0, 1}, {"export", 0, 0}, {"witness", 0, 0},
	};
	static struct audit_options o;
	struct fault f = {0};
	const char *what;
	int option, words, exit_code = EXIT_OK;
	size_t v = 0;

	o.limit = 50;
	optind = 1;
	while ((option = getopt_long(argc, argv, "n:o:", options, NULL)) != -1) {
		if (!take_option(&o, option, &f))
			return f.text[0] ? cli_fail(&f) : cli_usage(&command_audit, "wrong option or value");
	}
	if (optind == argc)
		return cli_usage(&command_audit, "say what to do: list, show, head, prove, verify, export or witness");
	what = argv[optind++];
	words = argc - optind;
	while (v < sizeof verbs / sizeof *verbs && strcmp(what, verbs[v].name))
		v++;
	if (v == sizeof verbs / sizeof *verbs)
		return cli_usage(&command_audit, "there is no 'audit %s': list, show, head, prove, verify, export or witness", what);
	if (words < verbs[v].min || words > verbs[v].max)
		return cli_usage(&command_audit, "wrong number of arguments for '%s'", what);
	o.witness_key = o.owner.key_file;
	if (strcmp(what, "witness") ? o.witness_key != NULL : !o.witness_key || !o.witness_name || (!o.print_key && (!o.state || !o.trust.has_key)))
		return cli_usage(&command_audit, "a witness needs --key-file, --name, --state and --key (the log's); the others no --key-file");
	if (o.trust.witness_count && !o.trust.quorum)
		o.trust.quorum = o.trust.witness_count;
	return work(what, words ? argv[optind] : NULL, &o, &exit_code, &f) ? cli_fail(&f) : exit_code;
}

const struct command command_audit = {
	"audit", "read, prove and check what the broker decided",
	"usage: coffer audit list [-n N | --all] [--from N] [--since TIME] [--until TIME] [--event EVENT] [--outcome OUTCOME]\n"
	"                         [--resource RESOURCE] [--peer ADDRESS] [--json]\n"
	"       coffer audit show NUMBER [--json]\n"
	"       coffer audit head [--cosigned N] [-o FILE]           the signed tree head: keep it elsewhere\n"
	"       coffer audit prove NUMBER [--cosigned N] [-o FILE]   that a record is in the log (c2sp.org/tlog-proof)\n"
	"       coffer audit export [--from N] [--cosigned N] [-o FILE]\n"
	"       coffer audit verify [FILE] [--key KEY] [--head FILE]... [--witness KEY]... [--quorum N] [--json]\n"
	"       coffer audit witness --key-file FILE --name NAME --state FILE --key KEY\n"
	"       coffer audit witness --key-file FILE --name NAME --print-key\n\n"
	"The log is a Merkle tree (RFC 9162) whose heads the broker signs. `verify` checks a file of `export` or `prove`, without any\n"
	"network, or the running broker's log, and names the first thing that is wrong; exit code 3 when something is. A witness\n"
	"signs a head when the log only grew since the last one that it signed.\n\n"
	"  -n, --last N         so many records, the newest (default: 50)\n"
	"      --all            all of them\n"
	"      --from N         records from this number on\n"
	"      --since, --until TIME   2026-01-31 or 2026-01-31T12:00:00\n"
	"      --event, --outcome, --resource, --peer   only such records\n"
	"      --key KEY        the log's public key, or a file with it (audit.pub of the broker)\n"
	"      --head FILE      a tree head that was kept: the log must go on from it\n"
	"      --witness KEY    a witness's public key; --quorum N: so many must have signed (default: all given)\n"
	"      --cosigned N     of the newest head that so many witnesses have signed\n"
	"  -o, --output FILE    default: standard output\n"
	"      --json           for scripts\n\n" OWNER_HELP,
	audit,
};
