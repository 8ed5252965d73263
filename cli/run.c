// SPDX-License-Identifier: Apache-2.0
// `coffer run`: starts the enclave of a project; and what `coffer start` shares with it (run.h). What it checks early is for clear messages; what protects the owner is
// checked inside the enclave, which trusts nothing that is said here.
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "broker/broker.h"
#include "cli/cli.h"
#include "cli/places.h"
#include "cli/run.h"
#include "host/launch.h"
#include "host/tpm_relay.h"
#include "image/build.h"
#include "image/hashtree.h"
#include "image/missing.h"
#include "seal/tool.h"

enum { MOST_VOLUMES = 16, HOST_BLOCK_MAX = 65536 };

struct run {
	struct config config;		// only for defaults and hints: what is measured is in the image
	bool have_config;
	struct string_list environment;	// "NAME=value"
	struct run_volume {
		char *file;
		char *path;
		bool read_only;
		bool fresh;		// an empty file: the enclave makes a volume in it
		u8 id[SEAL_ID_BYTES];	// from the volume's header: names its key in the broker
	} volumes[MOST_VOLUMES];
	int volume_count;
	const char *working_directory;
	bool want_tty;		// -t: only with a terminal
	char *broker;
	const char *tpm;	// way to the TPM that the enclave is given
	struct string_list places;	// "HOST:PORT=ADDRESS:PORT,..."
	struct launch_options launch;
	struct launch_words words;	// what it left behind
	char *image, *manifest;	// files
	char **args;		// the program and its arguments as asked for
	int arg_count;
};

static struct run the_run = {.launch = {.log_level = 1}};
static const struct command *called = &command_run;	// for messages

enum { OPT_BROKER = 256, OPT_LOG, OPT_STRACE, OPT_RING, OPT_STOP, OPT_TPM, OPT_CONNECT, OPT_MISSING, OPT_NAME, OPT_RESTART, OPT_LOG_SIZE, OPT_LOG_FILES, OPT_TRACE };

// FILE:/path[:ro|:rw]
static int add_volume(struct run *r, const char *text)
{
	struct run_volume *v = &r->volumes[r->volume_count];
	const char *mode = "", *colon;
	char *copy = xstrdup(text), *last = strrchr(copy, ':');

	if (last && (!strcmp(last, ":ro") || !strcmp(last, ":rw"))) {
		mode = last + 1;
		*last = '\0';
		last = strrchr(copy, ':');
	}
	colon = last;
	if (!colon || colon == copy || colon[1] != '/' || !colon[2])
		return cli_usage(called, "-v takes FILE:/path, FILE:/path:ro or FILE:/path:rw, not '%s'", text);
	if (r->volume_count == MOST_VOLUMES)
		return cli_usage(called, "at most %d volumes", MOST_VOLUMES);
	*last = '\0';
	v->file = copy;
	v->path = last + 1;
	v->read_only = !strcmp(mode, "ro");
	for (size_t i = 0; !*mode && r->have_config && i < r->config.volume_count; i++)
		if (!strcmp(r->config.volumes[i].path, v->path))
			v->read_only = r->config.volumes[i].read_only;
	r->volume_count++;
	return 0;
}

// Sets a variable; the last -e of a name counts, as the host block may name each only once.
static void set_variable(struct string_list *l, const char *pair)
{
	size_t name = strcspn(pair, "=");

	for (size_t i = 0; i < l->count; i++)
		if (!strncmp(l->items[i], pair, name + 1)) {
			free(l->items[i]);
			l->items[i] = xstrdup(pair);
			return;
		}
	string_list_add(l, pair);
}

static bool has_variable(const struct string_list *l, const char *name)
{
	size_t n = strlen(name);

	for (size_t i = 0; i < l->count; i++)
		if (!strncmp(l->items[i], name, n) && l->items[i][n] == '=')
			return true;
	return false;
}

// NAME=value, or NAME for the value that it has here
static int add_environment(struct run *r, const char *text)
{
	const char *value = getenv(text);
	char *pair;

	if (text[0] == '=' || !text[0])
		return cli_usage(called, "-e takes NAME=value, or NAME for this shell's value");
	if (strchr(text, '=')) {
		set_variable(&r->environment, text);
		return 0;
	}
	if (!value)
		return cli_usage(called, "the variable %s is not set here", text);
	pair = xasprintf("%s=%s", text, value);
	set_variable(&r->environment, pair);
	free(pair);
	return 0;
}

static int check_ports(struct run *r, const char *text)
{
	char *copy = xstrdup(text), *save = NULL;
	int err = 0;

	for (char *part = strtok_r(copy, ",", &save); part && !err; part = strtok_r(NULL, ",", &save)) {
		char *end;
		unsigned long port = strtoul(part, &end, 10);

		if (*end || port < 1 || port > 65535)
			err = cli_usage(called, "-p takes ports such as 8080 or 80,443 (the same inside and outside), not '%s'", part);
		else if (r->have_config && !config_listens(&r->config, (unsigned int)port))
			err = cli_usage(called, "port %lu is not among 'network: listen:' of coffer.yaml, so the enclave will not open "
					"it", port);
	}
	free(copy);
	return err;
}

static int add_place(struct run *r, const char *text)
{
	const char *wrong = places_check(text);

	if (wrong)
		return cli_usage(called, "%s", wrong);
	string_list_add(&r->places, text);
	return 0;
}

static int set_stop_timeout(struct run *r, const char *text)
{
	char *end;
	unsigned long seconds = strtoul(text, &end, 10);

	if (*end || text[0] < '0' || text[0] > '9' || seconds > 86400)
		return cli_usage(called, "--stop-timeout takes seconds, at most 86400, not '%s'", text);
	r->launch.stop_timeout = (unsigned int)seconds;
	return 0;
}

// Words of --debug-strace=: names of system calls, or the classes of the table.
static int check_filter(const char *words)
{
	static const char *const known[] = {
		"all", "desc", "file", "memory", "process", "signal", "ipc", "network", "time", "system",
#define SYS(nr, name, cls, state, args, note) #name,
#include "kernel/syscall/table.h"
#undef SYS
	};
	int err = strlen(words) > 255 ? cli_usage(called, "--strace takes at most 255 characters") : 0;

	while (!err && *words) {
		size_t n = strcspn(words, ","), i = 0;
		while (i < sizeof(known) / sizeof(*known) && (strlen(known[i]) != n || memcmp(known[i], words, n)))
			i++;
		if (i == sizeof(known) / sizeof(*known))
			err = cli_usage(called, "--strace: there is no system call or class '%.*s'", (int)n, words);
		words += n + (words[n] == ',');
	}
	return err;
}

static int set_log(struct start_options *start, bool size, const char *text)
{
	unsigned long files;
	char *end;

	if (size) {
		if (config_parse_size(text, &start->log_size) || start->log_size < LOG_SIZE_MIN || start->log_size > 1ull << 40)
			return cli_usage(called, "--log-size takes bytes of a file, 4K to 1T: 10M, 512K; not '%s'", text);
		return 0;
	}
	files = strtoul(text, &end, 10);
	if (*end || files < 1 || files > LOG_FILES_MAX || text[0] < '0' || text[0] > '9')
		return cli_usage(called, "--log-files takes 1 to %u, not '%s'", LOG_FILES_MAX, text);
	start->log_files = (unsigned int)files;
	return 0;
}

static int parse_start_option(struct start_options *start, int option)
{
	enum restart_policy policy;
	unsigned int most;

	if (!start)
		return cli_usage(called, "wrong option: --name, --restart, --log-size and --log-files are for `coffer start`");
	switch (option) {
	case OPT_NAME:
		start->name = optarg;
		if (!instance_name_valid(optarg))
			return cli_usage(called, "--name takes letters, digits, '.', '_' and '-', at most %d, not '%s'", INSTANCE_NAME_MAX, optarg);
		return 0;
	case OPT_RESTART:
		start->restart = optarg;
		if (!supervise_policy(optarg, &policy, &most))
			return cli_usage(called, "--restart takes no, on-failure, on-failure:N or always, not '%s'", optarg);
		return 0;
	default: return set_log(start, option == OPT_LOG_SIZE, optarg);
	}
}

static int parse_options(struct run *r, int argc, char **argv, struct start_options *start)
{
	static const struct option options[] = {
		{"volume", required_argument, NULL, 'v'}, {"env", required_argument, NULL, 'e'},
		{"publish", required_argument, NULL, 'p'}, {"workdir", required_argument, NULL, 'w'},
		{"interactive", no_argument, NULL, 'i'}, {"tty", no_argument, NULL, 't'},
		{"broker", required_argument, NULL, OPT_BROKER}, {"debug-log", required_argument, NULL, OPT_LOG},
		{"debug-missing", no_argument, NULL, OPT_MISSING},
		{"debug-strace", optional_argument, NULL, OPT_STRACE}, {"strace", optional_argument, NULL, OPT_STRACE},
		{"trace", required_argument, NULL, OPT_TRACE}, {"debug-ring", no_argument, NULL, OPT_RING},
		{"stop-timeout", required_argument, NULL, OPT_STOP}, {"tpm", required_argument, NULL, OPT_TPM},
		{"connect", required_argument, NULL, OPT_CONNECT},
		{"name", required_argument, NULL, OPT_NAME}, {"restart", required_argument, NULL, OPT_RESTART},
		{"log-size", required_argument, NULL, OPT_LOG_SIZE}, {"log-files", required_argument, NULL, OPT_LOG_FILES}, {0},
	};
	int option, err = 0;

	optind = 1;
	while (!err && (option = getopt_long(argc, argv, "+v:e:p:w:it", options, NULL)) != -1) {
		switch (option) {
		case 'v': err = add_volume(r, optarg); break;
		case 'e': err = add_environment(r, optarg); break;
		case 'p': err = check_ports(r, optarg); break;
		case 'w': r->working_directory = optarg; break;
		case 'i': break;	// standard input is the program's in any case
		case 't': r->want_tty = true; break;
		case OPT_BROKER: r->broker = xstrdup(optarg); break;
		case OPT_LOG:
			if (strlen(optarg) != 1 || !strchr("0123", *optarg))
				err = cli_usage(called, "--debug-log takes 0 (errors), 1 (warnings), 2 (information) or 3 (all)");
			r->launch.log_level = *optarg - '0';
			break;
		case OPT_STRACE:
		case OPT_TRACE:
			r->launch.debug_strace = true;
			r->launch.strace_filter = optarg;
			if (optarg)
				err = check_filter(optarg);
			break;
		case OPT_MISSING: r->words.want_missing = true; break;
		case OPT_STOP: err = set_stop_timeout(r, optarg); break;
		case OPT_TPM: r->tpm = optarg; break;
		case OPT_CONNECT: err = add_place(r, optarg); break;
		case OPT_RING: r->launch.hostcall_ring = true; break;
		case OPT_NAME:
		case OPT_RESTART:
		case OPT_LOG_SIZE:
		case OPT_LOG_FILES: err = parse_start_option(start, option); break;
		default: err = cli_usage(called, "wrong option");
		}
	}
	return err;
}

// --broker, $COFFER_BROKER, or the broker that runs from this user's state folder.
static void find_broker(struct run *r)
{
	char *encrypted = xasprintf("%s/build/image.id", cli_project);	// its key comes from the broker too
	bool wanted = r->volume_count || (r->have_config && (r->config.secret_count || r->config.time_broker)) || !access(encrypted, F_OK);
	const char *given = getenv("COFFER_BROKER");
	char dir[4096], *path;
	struct text address = {0};
	struct fault ignored;

	free(encrypted);
	if (r->broker || !wanted)
		return;
	if (given && *given) {
		r->broker = xstrdup(given);
		return;
	}
	if (broker_default_dir(dir, sizeof(dir)))
		return;
	path = xasprintf("%s/address", dir);
	if (!text_read_file(&address, path, 1024, &ignored)) {
		address.data[strcspn(address.data, "\r\n")] = '\0';
		r->broker = xstrdup(address.data);
	}
	text_free(&address);
	free(path);
}

static void write_host_block(const struct run *r, const char *tpm, char *const *args, int count, struct text *t)
{
	text_puts(t, "{\"args\":[");
	for (int i = 0; i < count; i++) {
		if (i)
			text_puts(t, ",");
		text_json(t, args[i]);
	}
	text_puts(t, "],\"env\":{");
	for (size_t i = 0; i < r->environment.count; i++) {
		const char *pair = r->environment.items[i], *equals = strchr(pair, '=');
		char *name = xstrndup(pair, (size_t)(equals - pair));

		if (i)
			text_puts(t, ",");
		text_json(t, name);
		text_puts(t, ":");
		text_json(t, equals + 1);
		free(name);
	}
	text_puts(t, "}");
	if (r->working_directory) {
		text_puts(t, ",\"cwd\":");
		text_json(t, r->working_directory);
	}
	text_puts(t, ",\"volumes\":[");
	for (int i = 0; i < r->volume_count; i++) {
		const char *slash = strrchr(r->volumes[i].file, '/');
		char id[2 * SEAL_ID_BYTES + 1];

		text_puts(t, i ? ",{\"name\":" : "{\"name\":");
		text_json(t, slash ? slash + 1 : r->volumes[i].file);
		text_puts(t, ",\"path\":");
		text_json(t, r->volumes[i].path);
		seal_tool_id_hex(r->volumes[i].id, id);
		if (r->volumes[i].fresh)
			*id = '\0';
		text_printf(t, ",\"mode\":\"%s\",\"id\":\"%s\"}", r->volumes[i].read_only ? "ro" : "rw", id);
	}
	text_puts(t, "]");
	if (r->broker) {
		text_puts(t, ",\"broker\":");
		text_json(t, r->broker);
	}
	if (r->tpm) {
		text_puts(t, ",\"tpm\":");
		text_json(t, tpm);
	}
	if (r->have_config && config_has_gateway(&r->config)) {
		text_puts(t, ",\"addresses\":");
		places_json(&r->config, &r->places, t);
	}
	text_puts(t, "}");
}

static bool sealed_to_enclave(const struct run *r, int i)
{
	for (size_t k = 0; r->have_config && k < r->config.volume_count; k++)
		if (!strcmp(r->config.volumes[k].path, r->volumes[i].path))
			return r->config.volumes[k].sealing;
	return false;
}

static bool wants_broker(const struct run *r)
{
	bool wanted = r->have_config && (r->config.secret_count || r->config.time_broker);

	for (int i = 0; i < r->volume_count; i++)
		wanted = wanted || !sealed_to_enclave(r, i);
	return wanted;
}

// Early, clear messages for what would fail later.
static int check_files(struct run *r, const char *image, const char *manifest_path, struct fault *f)
{
	char measurement[MEASUREMENT_HEX];
	uint8_t digest[MEASUREMENT_BYTES];
	struct text json = {0};
	struct manifest m;
	struct stat st;
	int err;

	if (access(manifest_path, F_OK) < 0 || access(image, F_OK) < 0) {
		if (!r->have_config)
			return f->text[0] ? -ENOENT : fault_set(f, -ENOENT, "this folder is not a project");
		return fault_set(f, -ENOENT, "this project has no image yet: run `coffer build` first");
	}
	err = image_manifest(manifest_path, &m, measurement, f);
	if (err)
		return err;
	if (r->words.want_missing && (r->launch.debug_strace || !strstr(m.options, "debug=1")))
		return fault_set(f, -EINVAL, r->launch.debug_strace ? "--debug-missing and --debug-strace do not go together" :
				 "the names of files that a program opens tell something about it: --debug-missing is for an enclave built with "
				 "`debug_enclave: true`");
	if (stat(image, &st) < 0)
		return fault_errno(f, errno, "cannot look at %s", image);
	if (r->launch.debug_strace && !strstr(m.options, "debug=1"))
		return fault_set(f, -EPERM, "this enclave's system calls cannot be traced: what they carry may not leave it. Set `debug_enclave: true` in coffer.yaml and "
				 "build it anew; that shows in its evidence");
	if ((uint64_t)st.st_size < (m.image_blocks + hashtree_blocks(m.image_blocks)) * HASHTREE_BLOCK)
		return fault_set(f, -EBADMSG, "the image %s is cut short: it has %llu bytes, the manifest says %llu", image,
				 (unsigned long long)st.st_size,
				 (unsigned long long)(m.image_blocks + hashtree_blocks(m.image_blocks)) * HASHTREE_BLOCK);
	for (int i = 0; i < r->volume_count; i++) {
		struct seal_tool_err e = {0};
		u32 version;

		if (sealed_to_enclave(r, i) && !r->volumes[i].read_only) { // it makes its volume in an empty file
			int fd = open(r->volumes[i].file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
			r->volumes[i].fresh = fd >= 0 && !fstat(fd, &st) && !st.st_size;
			if (fd >= 0)
				close(fd);
			if (r->volumes[i].fresh)
				continue;
		}
		if (access(r->volumes[i].file, r->volumes[i].read_only ? R_OK : R_OK | W_OK) < 0)
			return fault_errno(f, errno, "cannot open the volume %s (`coffer volume create` makes an empty one)",
					   r->volumes[i].file);
		err = seal_tool_id(r->volumes[i].file, r->volumes[i].id, &version, &e);
		if (err)
			return fault_set(f, err, "%s", e.text);
	}
	if (wants_broker(r) && !r->broker)
		return fault_set(f, -EINVAL, "secrets, keys of volumes and `time: broker` come from the owner's broker: say where it is with --broker "
				 "https://HOST:PORT or COFFER_BROKER");
	if (r->have_config) {
		config_json(&r->config, &json);
		manifest_measure(json.data, json.len, digest);
		if (memcmp(digest, m.config, sizeof(digest)) != 0)
			fprintf(stderr, "%scoffer: warning:%s coffer.yaml was changed after the last build; what runs is what was built\n",
				cli_yellow(stderr), cli_plain(stderr));
		text_free(&json);
	}
	return 0;
}

int run_prepare(const struct command *c, int argc, char **argv, struct start_options *start)
{
	struct run *r = &the_run;
	struct fault f = {0};
	int status;

	called = c;
	r->image = xasprintf("%s/build/enclave.img", cli_project);
	r->manifest = xasprintf("%s/build/enclave.manifest", cli_project);
	r->have_config = !config_load(&r->config, cli_project, &f);
	if (start)
		r->launch.stop_timeout = start->stop_timeout;
	status = parse_options(r, argc, argv, start);
	if (status)
		return status;
	r->args = argv + optind;
	r->arg_count = argc - optind;
	if (start)
		start->stop_timeout = r->launch.stop_timeout;
	for (size_t i = 0; r->have_config && i < r->config.host_environment.count; i++)
		if (!strcmp(r->config.host_environment.items[i], "TERM") && getenv("TERM") && isatty(0) && !start &&
		    !has_variable(&r->environment, "TERM"))
			add_environment(r, "TERM");
	if (r->places.count && (!r->have_config || places_unknown(&r->config, &r->places)))
		return cli_usage(called, "--connect: %s is not among 'network: connect:' of coffer.yaml",
				 r->have_config ? places_unknown(&r->config, &r->places) : r->places.items[0]);
	find_broker(r);
	if (access(r->image, F_OK) && !r->have_config) { // the reason is in coffer.yaml
		cli_fail(&f);
		return EXIT_CANNOT_RUN;
	}
	return 0;
}

int run_describe(struct instance *i, struct fault *f)
{
	const struct run *r = &the_run;
	struct text words = {0};
	struct manifest m;
	const char *memory;
	int err = image_manifest(r->manifest, &m, i->measurement, f);

	if (err)
		return err;
	memory = strstr(m.options, "memory=");
	i->memory_bytes = memory ? strtoull(memory + 7, NULL, 10) : 0;
	i->taking_programs = strstr(m.options, ",exec=1") || strstr(m.options, "debug=1");
	i->project = realpath(cli_project, NULL);
	for (int k = 0; k < r->arg_count; k++)
		text_printf(&words, "%s%s", k ? " " : "", r->args[k]);
	for (size_t k = 0; !r->arg_count && r->have_config && k < r->config.command.count; k++)
		text_printf(&words, "%s%s", k ? " " : "", r->config.command.items[k]);
	i->program = words.len ? words.data : xstrdup("");
	if (words.len > 500)
		i->program[500] = '\0';
	if (*i->name)
		return 0;
	// The project's own name, as far as it can be one.
	snprintf(i->name, sizeof(i->name), "%s", r->have_config ? r->config.name : "enclave");
	for (char *c = i->name; *c; c++) {
		char one[2] = {*c, '\0'};

		if (!instance_name_valid(one) && (c == i->name || !strchr("._-", *c)))
			*c = c == i->name ? 'e' : '-';
	}
	return 0;
}

const struct string_list *run_environment(void) { return &the_run.environment; }

// The program has failed. Was it because of something that the image lacks and this machine has? Its own words may say so; with
// --debug-missing the kernel has kept a list.
static void say_missing(struct run *r, int code, int fd)
{
	char *image = xasprintf("%s/image", cli_project);
	struct string_list names = {0};
	FILE *out = fdopen(dup(fd), "w");
	bool complains = false;
	int found = 0;

	if (!out || code == EXIT_CANNOT_RUN)
		goto out;
	missing_names(r->words.said, r->words.said_len, &names, &complains);
	missing_list(r->words.missing, r->words.missing_len, &names);
	found = missing_report(image, &names, r->words.want_missing ? MISSING_MOST : 3,
			       "coffer: the program looked for what the image does not have, and this machine does:\n", out);
	if (!found && r->words.want_missing)
		fprintf(out, "coffer: of what the program looked for in vain, this machine has nothing that the image lacks\n");
	else if (!found && complains && (code == 126 || code == 127) && !access(image, F_OK))
		fprintf(out, "coffer: `coffer run --debug-missing` (an enclave built with `debug_enclave: true`) tells which files were looked for\n");
out:
	if (out)
		fclose(out);
	string_list_free(&names);
	free(image);
}

int run_enclave(const struct supervised *s)
{
	struct launch_volume volumes[MOST_VOLUMES];
	struct run *r = &the_run;
	struct text block = {0};
	struct fault f = {0};
	char tpm[200] = "";
	int status;

	if (check_files(r, r->image, r->manifest, &f)) {
		cli_fail(&f);
		return EXIT_CANNOT_RUN;
	}
	if (r->want_tty && (!isatty(0) || !isatty(1))) {
		fault_set(&f, -ENOTTY, "-t: standard %s is not a terminal. Leave -t away, or give the command one: `script -qec 'coffer run -t ...' /dev/null`",
			  isatty(0) ? "output" : "input");
		cli_fail(&f);
		return EXIT_CANNOT_RUN;
	}
	if (r->tpm && tpm_relay(r->tpm, s ? s->message_fd : 2, tpm, sizeof(tpm), &f)) {
		cli_fail(&f);
		return EXIT_CANNOT_RUN;
	}
	write_host_block(r, tpm, r->args, r->arg_count, &block);
	if (block.len > HOST_BLOCK_MAX - 1) {
		fault_set(&f, -E2BIG, "arguments and environment are larger than %d bytes", HOST_BLOCK_MAX);
		cli_fail(&f);
		return EXIT_CANNOT_RUN;
	}
	for (int i = 0; i < r->volume_count; i++)
		volumes[i] = (struct launch_volume){r->volumes[i].file, r->volumes[i].read_only};
	r->launch.lib_dir = cli_lib_dir();
	r->launch.image = r->image;
	r->launch.manifest_path = r->manifest;
	r->launch.host_json = block.data;
	r->launch.host_json_len = block.len;
	r->launch.volumes = volumes;
	r->launch.nvolumes = r->volume_count;
	if (s) {
		r->launch.message_fd = s->message_fd;
		r->launch.started_fd = s->started_fd;
		r->launch.supervisor = s->supervisor;
		r->launch.control_dir = s->dir;
		r->launch.stop_timeout += !r->launch.stop_timeout; // should the supervisor be killed
		fflush(stderr);
		dup2(s->stderr_fd, 2);
		close(s->stderr_fd);
	}
	r->launch.words = &r->words;
	status = launch_run(&r->launch);
	if (status < 0)
		return EXIT_CANNOT_RUN;
	if (status)
		say_missing(r, WIFEXITED(status) ? WEXITSTATUS(status) : 0, s ? s->message_fd : 2);
	return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

static int run(int argc, char **argv)
{
	int status = run_prepare(&command_run, argc, argv, NULL);

	return status ? status : run_enclave(NULL);
}

const struct command command_run = {
	"run", "run the enclave",
	"usage: coffer run [OPTION...] [--] [PROGRAM [ARGUMENT...]]\n\n"
	"Starts the enclave of the last build, and the program in it: `command` of coffer.yaml, or PROGRAM where\n"
	"host_arguments is true. Standard input, output and error are the program's, and so is the exit code (128 + n when\n"
	"signal n ended it; 125 when the enclave could not start).\n\n"
	"  -v, --volume FILE:/path[:ro|:rw]   a sealed volume and where it is mounted; its key comes from the broker\n"
	"  -e, --env NAME=value | NAME        a variable, where host_environment of coffer.yaml lets it in\n"
	"  -p, --publish PORT[,PORT...]       says that the program serves these ports; they must be in `network: listen:`\n"
	"  -w, --workdir DIR                  the folder in which the program starts\n"
	"  -i, --interactive                  nothing: standard input is the program's in any case\n"
	"  -t, --tty                          only on a terminal: without one the enclave is not started. Where standard input and output\n"
	"                                     are terminals the program has a real one, with or without -t\n"
	"      --broker URL[,URL...]          the owner's broker (or COFFER_BROKER, or this user's own broker)\n"
	"      --tpm WHERE                    the TPM in which volumes are anchored (anchor: tpm): device:/dev/tpmrm0, tcp:ADDRESS:PORT,\n"
	"                                     unix:PATH\n"
	"      --connect HOST:PORT=ADDRESS:PORT   where a destination of `network: connect:` is; else this machine's resolver says\n"
	"      --stop-timeout SECONDS         after SIGTERM the program has this long; then the enclave is killed\n"
	"      --debug-log 0..3               how much the kernel says: errors, warnings (1), information, all\n"
	"      --debug-missing                when the program fails: files that it looked for, which the image lacks and this machine has;\n"
	"                                     only with debug_enclave: true\n"
	"      --debug-strace[=NAME,...]      system calls to standard error, or only those named: open,read, classes such as\n"
	"                                     file,network; only with debug_enclave: true. Short: --strace, --trace=NAME,...\n"
	"      --debug-ring                   answer each call to the host from a thread of its own\n",
	run,
};
