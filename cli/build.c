// SPDX-License-Identifier: Apache-2.0
// `coffer build` and `coffer measure`: the project's folder -> a measured image, and its digest.
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cli/cli.h"
#include "cli/owner.h"
#include "cli/reference.h"
#include "image/build.h"
#include "image/encrypt.h"

// The key of an encrypted image: into the owner's file, or to the broker.
static int keep_key(void *ctx, const uint8_t id[16], const uint8_t key[32], struct fault *f)
{
	const struct owner *o = ctx;
	struct broker_client *client;
	struct seal_tool_err e = {0};
	int err;

	if (o->key_file) {
		err = seal_tool_save_key(o->key_file, key, &e);
		return err ? fault_set(f, err, "%s", e.text) : 0;
	}
	err = broker_client_open(&client, &o->broker, f);
	if (err)
		return err;
	err = broker_client_put_volume_key(client, id, key, false, f);
	broker_client_close(client);
	return err;
}

// The new measurement into the owner's document of reference values.
static int refer(const char *file, const char *key, const char *name, const char *measurement, struct fault *f)
{
	struct refval_new v = {.name = "measurement", .note = name, .value = json_string(measurement), .from = -1, .until = -1};
	const struct reference_change c = {.file = file, .key = key, .name = name, .values = &v, .count = 1};
	int err = reference_change(&c, time(NULL), f);

	json_decref(v.value);
	return err;
}

static int build(int argc, char **argv)
{
	static const struct option options[] = {
		{"verbose", no_argument, NULL, 'v'}, {"quiet", no_argument, NULL, 'q'}, {"force", no_argument, NULL, 'f'},
		{"json", no_argument, NULL, 'j'}, {"encrypt", no_argument, NULL, 'e'},
		{"reference", required_argument, NULL, 'R'}, {"reference-key", required_argument, NULL, 'K'}, OWNER_OPTIONS, {0},
	};
	const char *reference = NULL, *reference_key = NULL;
	struct owner owner = {0};
	struct build_options o = {.lib_dir = cli_lib_dir(), .report = stdout, .keep_key = keep_key, .ctx = &owner};
	struct timespec start, end;
	struct build_result r;
	struct config config;
	struct fault p;
	bool json = false, encrypt = false;
	int option, err, referred = 0;

	optind = 1;
	while ((option = getopt_long(argc, argv, "vqf", options, NULL)) != -1) {
		switch (option) {
		case 'v': o.report_files = true; break;
		case 'q': o.report = NULL; break;
		case 'f': o.force = true; break;
		case 'j': json = true; o.report = NULL; break;
		case 'e': encrypt = true; break;
		case 'R': reference = optarg; break;
		case 'K': reference_key = optarg; break;
		default:
			if (!owner_option(&owner, option, optarg))
				return cli_usage(&command_build, "wrong option");
		}
	}
	if (optind < argc)
		return cli_usage(&command_build, "unexpected argument '%s'", argv[optind]);
	if (!reference != !reference_key)
		return cli_usage(&command_build, "--reference FILE and --reference-key KEY go together");
	clock_gettime(CLOCK_MONOTONIC, &start);
	if (config_load(&config, cli_project, &p))
		return cli_fail(&p);
	config.encrypt |= encrypt;
	if (o.report)
		printf("Building %s%s%s\n", cli_bold(stdout), config.name, cli_plain(stdout));
	err = image_build(&config, &o, &r, &p);
	clock_gettime(CLOCK_MONOTONIC, &end);
	if (!err && config.debug_enclave)
		fprintf(stderr, "%scoffer: warning:%s debug_enclave is on: this enclave may leak what it does; never give it real data\n",
			cli_yellow(stderr), cli_plain(stderr));
	if (!err && reference) {
		referred = refer(reference, reference_key, config.name, r.measurement, &p);
		err = referred < 0 ? referred : 0;
	}
	config_free(&config);
	if (err)
		return cli_fail(&p);
	if (json)
		printf("{\"measurement\":\"%s\",\"files\":%" PRIu64 ",\"image_bytes\":%" PRIu64 ",\"image_id\":\"%s\",\"unchanged\":%s}\n",
		       r.measurement, r.files, r.image_bytes, r.image_id, r.unchanged ? "true" : "false");
	else if (o.report)
		printf("  digest  %s\n", r.measurement);
	if (o.report && reference)
		printf("  values  %s %s\n", reference, referred ? "has it now, in a new version" : "has it already");
	if (o.report && *r.image_id)
		printf("  allow   coffer policy allow %s --measurement %.16s...\n", r.image_id, r.measurement);
	if (o.report && !json)
		printf("Done in %.1f s\n",
		       (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9);
	return EXIT_OK;
}

const struct command command_build = {
	"build", "make the measured image and its digest",
	"usage: coffer build [-v] [-q] [-f] [--json] [--reference FILE --reference-key KEY] [--encrypt [OPTION...]]\n\n"
	"Applies the `copy:` list of coffer.yaml to image/, completes it (mount points, /etc/passwd where missing, Coffer's init\n"
	"and the configuration in /.coffer), and makes build/enclave.img (EROFS with a SHA-256 hash tree) and\n"
	"build/enclave.manifest. The same files give the same digest on any machine.\n\n"
	"  -v, --verbose   a line for each file copied\n"
	"  -q, --quiet     no report\n"
	"  -f, --force     make the image even when nothing changed\n"
	"  --json          the result as JSON\n"
	"  --reference FILE, --reference-key KEY\n"
	"                  put the digest into this signed document of reference values (coffer reference), made if there is none\n"
	"  --encrypt       encrypt the image, as `encrypt: true` in coffer.yaml does: the enclave starts from a small readable image,\n"
	"                  proves itself to the broker, and gets the key of the rest. The key is new at each build that changes something\n"
	"      --key-file FILE      put the key into this new file, not to the broker\n" OWNER_HELP,
	build,
};

static void explain(const struct manifest *m, const char *measurement)
{
	char hex[97];

	printf("The digest is the SHA-384 of build/enclave.manifest, which binds:\n\n");
	printf("  platform      %s\n", m->platform);
	printf("  kernel        %s\n                the enclave kernel that runs the programs\n", hex_text(hex, m->kernel, 48));
	printf("  image-root    %s\n                the root of the hash tree over all files of the image\n",
	       hex_text(hex, m->image_root, 32));
	printf("  image-blocks  %" PRIu64 "\n                its size in blocks of 4096 bytes\n", m->image_blocks);
	printf("  config        %s\n                coffer.yaml, as canonical JSON\n", hex_text(hex, m->config, 48));
	printf("  init          %s\n                the first program, which proves the enclave to the broker\n", hex_text(hex, m->init, 48));
	printf("  options       %s\n                what the platform promises or gives up\n\n", m->options);
	printf("%s\n", measurement);
}

static int measure(int argc, char **argv)
{
	char *path = xasprintf("%s/build/enclave.manifest", cli_project), measurement[MEASUREMENT_HEX], hex[97];
	bool json = false, words = false;
	struct manifest m;
	struct fault p;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--json"))
			json = true;
		else if (!strcmp(argv[i], "--explain"))
			words = true;
		else
			return cli_usage(&command_measure, "unknown argument '%s'", argv[i]);
	}
	if (image_manifest(path, &m, measurement, &p))
		return cli_fail(&p);
	free(path);
	if (json) {
		printf("{\"measurement\":\"%s\",\"platform\":\"%s\",\"kernel\":\"%s\"", measurement, m.platform, hex_text(hex, m.kernel, 48));
		printf(",\"image_root\":\"%s\",\"image_blocks\":%" PRIu64, hex_text(hex, m.image_root, 32), m.image_blocks);
		printf(",\"config\":\"%s\"", hex_text(hex, m.config, 48));
		printf(",\"init\":\"%s\",\"options\":\"%s\"}\n", hex_text(hex, m.init, 48), m.options);
	} else if (words) {
		explain(&m, measurement);
	} else {
		printf("%s\n", measurement);
	}
	return EXIT_OK;
}

const struct command command_measure = {
	"measure", "print the digest that names this enclave",
	"usage: coffer measure [--json|--explain]\n\n"
	"Prints the digest of the last build: what `coffer policy allow --measurement` takes, and what evidence carries.\n\n"
	"  --json      with all parts that it covers\n"
	"  --explain   the same in words\n",
	measure,
};
