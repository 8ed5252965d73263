// SPDX-License-Identifier: Apache-2.0
// `coffer import`: a whole root file system becomes the project's image/ folder.
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "image/config.h"
#include "image/encrypt.h"
#include "image/rootfs.h"

struct places {
	char *image, *fresh, *work, *yaml;
};

static void yaml_list(struct text *t, const char *key, const struct string_list *a, const struct string_list *b)
{
	text_printf(t, "%s: [", key);
	for (size_t i = 0; i < a->count; i++)
		text_puts(t, i ? ", " : ""), text_json(t, a->items[i]);
	for (size_t i = 0; i < b->count; i++)
		text_puts(t, i || a->count ? ", " : ""), text_json(t, b->items[i]);
	text_puts(t, "]\n");
}

// What the container image's configuration says, in coffer.yaml's words. The user is told: programs of an enclave begin as root.
static void propose(const struct rootfs_result *r, struct text *t)
{
	struct string_list ports = {0};

	if (r->entrypoint.count || r->command.count)
		yaml_list(t, "command", &r->entrypoint, &r->command);
	if (r->working_directory && r->working_directory[0] == '/' && r->working_directory[1])
		text_puts(t, "working_directory: "), text_json(t, r->working_directory), text_puts(t, "\n");
	if (r->environment.count)
		text_puts(t, "environment:\n");
	for (size_t i = 0; i < r->environment.count; i++) {
		const char *pair = r->environment.items[i], *equals = strchr(pair, '=');
		char *name = xstrndup(pair, equals ? (size_t)(equals - pair) : strlen(pair));
		bool twice = false;

		for (size_t k = 0; k < i; k++)
			twice = twice || (!strncmp(r->environment.items[k], pair, strlen(name)) && strchr("=", r->environment.items[k][strlen(name)]));
		text_puts(t, *name && !twice ? "  " : "  # ");
		text_json(t, name);
		text_puts(t, ": ");
		text_json(t, equals ? equals + 1 : "");
		text_puts(t, "\n");
		free(name);
	}
	for (size_t i = 0; i < r->ports.count; i++)
		if (!strchr(r->ports.items[i], '/') || ends_with(r->ports.items[i], "/tcp")) {
			char *port = xstrndup(r->ports.items[i], strspn(r->ports.items[i], "0123456789"));

			if (*port && strlen(port) < 6)
				string_list_add(&ports, port);
			free(port);
		}
	if (ports.count) {
		text_puts(t, "network:\n  listen: [");
		for (size_t i = 0; i < ports.count; i++)
			text_printf(t, "%s%s", i ? ", " : "", ports.items[i]);
		text_puts(t, "]\n");
	}
	for (size_t i = 0; i < r->volumes.count; i++) {
		text_puts(t, i ? "#  " : "#volumes:   # the image is read-only: what the program writes needs a sealed volume\n#  ");
		text_json(t, r->volumes.items[i]);
		text_puts(t, ": {mode: rw}\n");
	}
	if (r->user && *r->user && strcmp(r->user, "root") && strcmp(r->user, "0")) {
		text_puts(t, "# The image wants the user ");
		text_json(t, r->user);
		text_puts(t, ": begin `command` with setpriv, su or the like; programs of an enclave start as root of the enclave\n");
	}
	string_list_free(&ports);
}

static void print_notes(const struct rootfs_result *r, bool all_root)
{
	static const char *const texts[] = {
		"belonged to others than root: now root's (--all-root)", "had set-id bits: taken off (--all-root)",
		"had extended attributes (such as capabilities): left out (--all-root)",
		"had ACLs, or attributes of their machine (such as SELinux labels), which an image has not", "were devices, pipes or sockets: left out",
		"came more than once: the last one counts",
	};
	const uint64_t counts[] = {r->owners, r->set_id, r->attributes, r->lost, r->devices, r->replaced};

	if (!all_root && (r->owners || r->set_id || r->attributes))
		printf("  kept: %" PRIu64 " owners that are not root, %" PRIu64 " set-id bits, extended attributes of %" PRIu64 " (image/.coffer/attributes)\n",
		       r->owners, r->set_id, r->attributes);
	for (int i = all_root ? 0 : 3; i < 6; i++)
		if (counts[i])
			printf("  note: %" PRIu64 " %s\n", counts[i], texts[i]);
}

static int number(const char *text, uint64_t *out)
{
	return config_parse_size(text, out) || !*out ? -EINVAL : 0;
}

// The folder with a new image takes the old one's place in one step, or nearly: a killed command leaves image.old.
static int swap(const struct places *at, struct fault *f)
{
	char *old = xasprintf("%s.old", at->image);
	int err = image_remove_tree(old, f);

	if (!err && rename(at->image, old) < 0 && errno != ENOENT)
		err = fault_errno(f, errno, "cannot rename %s", at->image);
	if (!err && rename(at->fresh, at->image) < 0)
		err = fault_errno(f, errno, "cannot rename %s", at->fresh);
	if (!err)
		err = image_remove_tree(old, f);
	free(old);
	return err;
}

static bool is_empty(const char *folder)
{
	return access(folder, F_OK) || !rmdir(folder);
}

// coffer.yaml where there is none: what the image proposes, and the host chooses the program only where the image names none.
static int write_yaml(const struct places *at, const struct text *proposal, struct fault *f)
{
	struct text yaml = {0};
	struct config check;
	int err;

	text_puts(&yaml, "# What this enclave is: made by coffer import. Everything here is measured. All keys: docs/coffer-yaml.md\n");
	if (!proposal->data || !strstr(proposal->data, "command: "))
		text_puts(&yaml, "host_arguments: true\n");
	if (proposal->data)
		text_puts(&yaml, proposal->data);
	err = config_parse(&check, cli_project, CONFIG_FILE, yaml.data, yaml.len, f);
	if (!err) {
		config_free(&check);
		err = text_write_file(at->yaml, yaml.data, yaml.len, f);
	}
	text_free(&yaml);
	return err;
}

static int import(int argc, char **argv)
{
	static const struct option options[] = {
		{"platform", required_argument, NULL, 'p'}, {"tag", required_argument, NULL, 't'}, {"force", no_argument, NULL, 'f'},
		{"max-size", required_argument, NULL, 's'}, {"max-files", required_argument, NULL, 'n'}, {"quiet", no_argument, NULL, 'q'},
		{"all-root", no_argument, NULL, 'r'}, {0},
	};
	struct rootfs_options o = {.limits = {ROOTFS_MAX_BYTES, ROOTFS_MAX_FILES, ATTRIBUTES_MAX_ALL}, .platform = "linux/amd64"};
	bool force = false, quiet = false, made = false;
	struct rootfs_result r = {0};
	struct text proposal = {0};
	struct tree t = {.fd = -1};
	struct fault f = {0};
	struct places at;
	char size[32];
	int option, err = 0;

	optind = 1;
	while ((option = getopt_long(argc, argv, "fq", options, NULL)) != -1) {
		switch (option) {
		case 'p': o.platform = optarg; break;
		case 't': o.tag = optarg; break;
		case 'f': force = true; break;
		case 'q': quiet = true; break;
		case 'r': o.all_root = true; break;
		case 's': err = number(optarg, &o.limits.bytes); break;
		case 'n': err = number(optarg, &o.limits.files); break;
		default: return cli_usage(&command_import, "wrong option");
		}
		if (err)
			return cli_usage(&command_import, "--max-size and --max-files take numbers such as 20G or 100000, not '%s'", optarg);
	}
	if (optind + 1 != argc)
		return cli_usage(&command_import, "what shall be imported? A folder, a tar file or an OCI image layout");
	if (!strchr(o.platform, '/') || o.platform[0] == '/')
		return cli_usage(&command_import, "--platform takes OS/ARCHITECTURE, such as linux/amd64");
	at = (struct places){xasprintf("%s/image", cli_project), xasprintf("%s/image.new", cli_project), xasprintf("%s/image.import", cli_project),
			     xasprintf("%s/%s", cli_project, CONFIG_FILE)};
	o.work = at.work;
	if (!force && !is_empty(at.image))
		err = fault_set(&f, -EEXIST, "%s has files already; --force replaces them", at.image);
	if (!err)
		err = image_remove_tree(at.fresh, &f);
	if (!err)
		err = image_remove_tree(at.work, &f);
	if (!err)
		err = tree_open(&t, at.fresh, &f);
	if (!err) {
		err = rootfs_import(&t, argv[optind], &o, &r, &f);
		tree_close(&t);
		if (!err)
			err = swap(&at, &f);
		if (err) {
			image_remove_tree(at.fresh, NULL);
			image_remove_tree(at.work, NULL);
		}
	}
	if (!err) {
		propose(&r, &proposal);
		if (access(at.yaml, F_OK) < 0) {
			err = write_yaml(&at, &proposal, &f);
			made = !err;
		}
	}
	if (!err && !quiet) {
		printf("%" PRIu64 " files and folders, %s, into image/", r.files, human_size(size, r.bytes));
		if (r.layers)
			printf(" (%u layers of %s)", r.layers, r.digest);
		printf("\n");
		print_notes(&r, o.all_root);
		if (made)
			printf("Made %s; look at it, then: coffer build\n", CONFIG_FILE);
		else if (proposal.data)
			printf("The image proposes for %s:\n%s", CONFIG_FILE, proposal.data);
	}
	rootfs_result_free(&r);
	text_free(&proposal);
	free(at.image);
	free(at.fresh);
	free(at.work);
	free(at.yaml);
	return err ? cli_fail(&f) : EXIT_OK;
}

const struct command command_import = {
	"import", "make image/ from a root file system or a container image",
	"usage: coffer import [--platform OS/ARCH] [--tag NAME] [--all-root] [--force] [-q] DIR|TAR|OCI-LAYOUT|-\n\n"
	"Makes the project's image/ from a whole root file system:\n"
	"  DIR          a folder that holds one\n"
	"  TAR          a tar file of one (plain, gzip, xz, zstd or bzip2); - reads it from standard input\n"
	"  OCI-LAYOUT   a container image: an OCI image layout (a folder, or a tar of it), or what `docker save` writes\n"
	"The digest of every part of a container image is checked. What its configuration says (entrypoint, command, environment, working\n"
	"directory, ports) becomes coffer.yaml where there is none, and is printed otherwise. Names and links in it never lead outside image/.\n"
	"Owners, modes, set-id bits and extended attributes are kept, beside the files, in image/.coffer/attributes, and become part of the image.\n"
	"In a folder that a user unpacked, that user's files are root's. Devices, ACLs and SELinux labels are left out: docs/image.md.\n\n"
	"  --platform OS/ARCH   of an image for several platforms (linux/amd64)\n"
	"  --tag NAME           where there are several images\n"
	"  --all-root           all files are root's, without set-id bits and extended attributes, of the modes 0755 and 0644\n"
	"  -f, --force          replaces what is in image/\n"
	"  --max-size SIZE, --max-files NUMBER\n"
	"                       refuse more than that: 64G and 4000000\n"
	"  -q, --quiet          no report\n",
	import,
};
