// SPDX-License-Identifier: Apache-2.0
// Root file systems that are imported: tar files that mean well and others, container images with layers, and what is refused.
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/oci.h"
#include "tests/folder.h"
#include "tests/image/import.h"
#include "tests/image/unit.h"

// ---- tar files, made by hand: what a well-behaved maker would not write ----

static void put_tar(struct text *t, char type, const char *name, const char *target, unsigned int mode, const char *content, size_t size)
{
	char h[512] = {0}, zero[512] = {0};
	unsigned int sum = 0;

	memcpy(h, name, strnlen(name, 100));
	snprintf(h + 100, 8, "%07o", mode);
	snprintf(h + 108, 8, "%07o", type == 'O' ? 1000 : 0);
	snprintf(h + 116, 8, "%07o", 0);
	snprintf(h + 124, 12, "%011o", (unsigned int)size & 0x3fffffff);
	snprintf(h + 136, 12, "%011o", 315619200);
	memset(h + 148, ' ', 8);
	h[156] = type == 'O' ? '0' : type;
	if (target)
		memcpy(h + 157, target, strnlen(target, 100));
	memcpy(h + 257, "ustar\0" "00", 8);
	for (int i = 0; i < 512; i++)
		sum += (unsigned char)h[i];
	snprintf(h + 148, 7, "%06o", sum);
	text_add(t, h, 512);
	if (content) {
		text_add(t, content, size);
		text_add(t, zero, (512 - size % 512) % 512);
	}
}

static void file(struct text *t, const char *name, const char *content) { put_tar(t, '0', name, NULL, 0644, content, strlen(content)); }
static void folder(struct text *t, const char *name) { put_tar(t, '5', name, NULL, 0755, NULL, 0); }
static void symlink_to(struct text *t, const char *name, const char *target) { put_tar(t, '2', name, target, 0777, NULL, 0); }
static void hardlink_to(struct text *t, const char *name, const char *target) { put_tar(t, '1', name, target, 0644, NULL, 0); }

static void finish_tar(struct text *t)
{
	static const char zero[1024];

	text_add(t, zero, sizeof(zero));
}

// ---- what came of it ----

static char *source;

static char *path_of(const char *name) { return xasprintf("%s%s", root, name); }

static bool holds(const char *name, const char *content)
{
	char *path = path_of(name);
	struct fault f;
	struct text t = {0};
	bool same = !text_read_file(&t, path, 1 << 20, &f) && !strcmp(t.data, content);

	text_free(&t);
	free(path);
	return same;
}

static bool there(const char *name, struct stat *st)
{
	char *path = path_of(name);
	struct stat unused;
	bool found = !lstat(path, st ? st : &unused);

	free(path);
	return found;
}

static int import_with(const char *from, const struct rootfs_options *given, struct rootfs_result *r, struct fault *f)
{
	return import(from, given ? *given : (struct rootfs_options){.limits = {1 << 20, 1000, 0}, .platform = "linux/amd64"}, r, f);
}

static int import_text(struct text *t, struct rootfs_result *r, struct fault *f)
{
	int err;

	finish_tar(t);
	text_write_file(source, t->data, t->len, f);
	err = import_with(source, NULL, r, f);
	text_free(t);
	*t = (struct text){0};
	return err;
}

static void refused(const char *name, struct text *t, int want, const char *words)
{
	struct rootfs_result r = {0};
	struct fault f = {0};
	int err = import_text(t, &r, &f);

	unit_check(err == want && strstr(f.text, words), name, err ? f.text : "accepted");
	rootfs_result_free(&r);
}

static void good_tar(void)
{
	struct rootfs_result r = {0};
	struct fault f = {0};
	struct text t = {0};
	struct stat a, b;

	folder(&t, "./");
	folder(&t, "./usr/");
	folder(&t, "usr/bin");
	symlink_to(&t, "bin", "usr/bin");
	put_tar(&t, '0', "bin/tool", NULL, 04755, "tool", 4);
	hardlink_to(&t, "usr/bin/again", "./usr/bin/tool");
	file(&t, "/etc/absolute", "below the root");
	put_tar(&t, 'O', "etc/owned", NULL, 0600, "x", 1);
	put_tar(&t, '3', "dev/null", NULL, 0666, NULL, 0);
	put_tar(&t, '6', "srv/pipe", NULL, 0666, NULL, 0);
	file(&t, "etc/twice", "old");
	file(&t, "etc/twice", "new");
	symlink_to(&t, "outside", "/tmp");
	unit_check(!import_text(&t, &r, &f), "tar_good", f.text);
	unit_check(holds("/usr/bin/tool", "tool") && there("/usr/bin/tool", &a) && (a.st_mode & 07777) == 0755, "tar_through_own_link", "");
	unit_check(there("/usr/bin/again", &b) && a.st_ino == b.st_ino, "tar_hard_link", "");
	unit_check(holds("/etc/absolute", "below the root"), "tar_absolute_name", "");
	unit_check(holds("/etc/twice", "new") && r.replaced == 1, "tar_twice", "");
	unit_check(there("/etc/owned", &a) && (a.st_mode & 07777) == 0644 && r.owners == 1 && r.set_id == 1, "tar_modes", "");
	unit_check(!there("/dev/null", NULL) && !there("/srv/pipe", NULL) && r.devices == 1, "tar_devices", "");
	rootfs_result_free(&r);
}

static void hostile_tar(void)
{
	char *planted = xasprintf("%s/planted", top), *beyond = xasprintf("%s/beyond", top);
	struct rootfs_result r = {0};
	struct fault f = {0};
	struct text t = {0};

	file(&t, "a/../../x", "x");
	refused("tar_dots", &t, -EINVAL, "'..'");
	file(&t, "..", "x");
	refused("tar_dots_alone", &t, -EINVAL, "'..'");
	file(&t, "a", "x");
	hardlink_to(&t, "b", "../../../etc/passwd");
	refused("tar_hard_link_dots", &t, -EINVAL, "'..'");
	hardlink_to(&t, "b", "/etc/passwd");
	refused("tar_hard_link_outside", &t, -EINVAL, "no file before it");
	symlink_to(&t, "a", "/etc/passwd");
	hardlink_to(&t, "b", "a");
	refused("tar_hard_link_to_link", &t, -EINVAL, "no file before it");
	put_tar(&t, '0', "huge", NULL, 0644, NULL, 1 << 29);
	refused("tar_huge", &t, -E2BIG, "--max-size");
	put_tar(&t, '0', "cut", NULL, 0644, NULL, 5000);
	refused("tar_cut_short", &t, -EBADMSG, "cut");
	for (int i = 0; i < 1001; i++) {
		char name[16];

		snprintf(name, sizeof(name), "f%d", i);
		file(&t, name, "");
	}
	refused("tar_many", &t, -E2BIG, "--max-files");
	file(&t, ".coffer/init", "x");
	refused("tar_coffer", &t, -EEXIST, "Coffer's own");
	symlink_to(&t, "here", ".");
	symlink_to(&t, "here/.coffer", "/etc");
	refused("tar_coffer_through_a_link", &t, -EEXIST, "Coffer's own");
	file(&t, "", "x");
	refused("tar_no_name", &t, -EINVAL, "name");
	text_puts(&t, "this is no tar file at all, however long it may be");
	text_write_file(source, t.data, t.len, &f);
	unit_check(import_with(source, NULL, &r, &f) < 0, "tar_none", "accepted");
	rootfs_result_free(&r);
	text_free(&t);
	t = (struct text){0};
	text_write_file(source, "", 0, &f);
	unit_check(import_with(source, NULL, &r, &f) < 0, "tar_empty", "accepted");
	rootfs_result_free(&r);

	// Links that lead out are made, and never written through: they lead somewhere in the image.
	mkdir(beyond, 0755);
	symlink_to(&t, "door", beyond);
	file(&t, "door/planted", "x");
	symlink_to(&t, "up", "../../../../../../../../../../tmp");
	file(&t, "up/coffer-planted", "x");
	symlink_to(&t, "target", planted);
	file(&t, "target", "in place of the link");
	unit_check(!import_text(&t, &r, &f), "tar_links", f.text);
	free(beyond);
	beyond = xasprintf("%s/beyond/planted", top);
	unit_check(access(beyond, F_OK) < 0 && access(planted, F_OK) < 0 && access("/tmp/coffer-planted", F_OK) < 0, "tar_links_stay_inside", "a file outside");
	unit_check(holds("/target", "in place of the link"), "tar_link_replaced", "");
	rootfs_result_free(&r);

	// A folder becomes a link while its name is known to be a folder.
	folder(&t, "d");
	file(&t, "d/one", "1");
	symlink_to(&t, "d", "/elsewhere");
	file(&t, "d/two", "2");
	unit_check(!import_text(&t, &r, &f) && holds("/elsewhere/two", "2") && !there("/elsewhere/one", NULL), "tar_folder_becomes_link", f.text);
	rootfs_result_free(&r);
	free(planted);
	free(beyond);
}

// ---- container images ----

static void digest_of(const void *bytes, size_t len, char out[72])
{
	unsigned char sum[32];
	unsigned int n;

	EVP_Digest(bytes, len, sum, &n, EVP_sha256(), NULL);
	strcpy(out, "sha256:");
	hex_text(out + 7, sum, 32);
}

static char *layout;

static void put(const char *name, const void *bytes, size_t len)
{
	char *path = xasprintf("%s/%s", layout, name);
	struct fault f;

	if (text_write_file(path, bytes, len, &f))
		printf("not ok setup: %s\n", f.text);
	free(path);
}

// A blob, called by its digest.
static size_t blob(const void *bytes, size_t len, char digest[72])
{
	char *name;

	digest_of(bytes, len, digest);
	name = xasprintf("blobs/sha256/%s", digest + 7);
	put(name, bytes, len);
	free(name);
	return len;
}

static void begin_layout(void)
{
	char *path;

	free(layout);
	layout = xasprintf("%s/layout%d", top, rounds);
	mkdir(layout, 0755);
	path = xasprintf("%s/blobs", layout);
	mkdir(path, 0755);
	free(path);
	path = xasprintf("%s/blobs/sha256", layout);
	mkdir(path, 0755);
	free(path);
	put("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}", 30);
}

static void layers(struct text out[3])
{
	memset(out, 0, 3 * sizeof(*out));
	folder(&out[0], "usr");
	folder(&out[0], "usr/bin");
	symlink_to(&out[0], "bin", "usr/bin");
	file(&out[0], "usr/bin/app", "app 1");
	file(&out[0], "etc/gone", "gone");
	file(&out[0], "etc/kept", "kept");
	file(&out[0], "var/opaque/old", "old");
	file(&out[0], "var/opaque/deep/old", "old");
	file(&out[0], "was-file", "f");
	file(&out[0], "was-folder/inner", "f");
	finish_tar(&out[0]);
	file(&out[1], "bin/app", "app 2");
	file(&out[1], "etc/.wh.gone", "");
	file(&out[1], "var/opaque/new", "new");
	file(&out[1], "var/opaque/.wh..wh..opq", "");
	folder(&out[1], "was-file");
	file(&out[1], "was-file/now-folder", "x");
	finish_tar(&out[1]);
	file(&out[2], "was-folder", "now a file");
	file(&out[2], ".wh.nothing", "");
	finish_tar(&out[2]);
}

enum damage { NONE, COMPRESSED, LAYER_BYTE, CONFIG_BYTE, SIZE, ARCHITECTURE, LAYER_COUNT, ANOTHER_LAYER, DAMAGES };

// The blob that holds `tar` compressed.
static size_t compressed_blob(const struct text *tar, char digest[72])
{
	char *command = xasprintf("gzip -nc %s/plain >%s/packed", layout, layout), *packed = xasprintf("%s/packed", layout);
	struct text bytes = {0};
	struct fault f;
	size_t n = 0;

	put("plain", tar->data, tar->len);
	if (!system(command) && !text_read_file(&bytes, packed, 1 << 20, &f))
		n = blob(bytes.data, bytes.len, digest);
	text_free(&bytes);
	free(packed);
	free(command);
	return n;
}

static void make_layout(enum damage damage)
{
	char layer_digest[3][72], diff_id[3][72], config_digest[72], manifest_digest[72];
	struct text tar[3], config = {0}, manifest = {0}, index = {0};
	size_t size[3], config_size, manifest_size;

	begin_layout();
	layers(tar);
	for (int i = 0; i < 3; i++) {
		digest_of(tar[i].data, tar[i].len, diff_id[i]);
		size[i] = damage == COMPRESSED ? compressed_blob(&tar[i], layer_digest[i]) : blob(tar[i].data, tar[i].len, layer_digest[i]);
		if (damage == LAYER_BYTE && i == 1) {
			char *name = xasprintf("blobs/sha256/%s", layer_digest[i] + 7);

			tar[i].data[600] ^= 1;
			put(name, tar[i].data, tar[i].len);
			free(name);
		}
		text_free(&tar[i]);
	}
	text_printf(&config, "{\"architecture\":\"%s\",\"os\":\"linux\",\"config\":{\"Entrypoint\":[\"/usr/bin/app\"],\"Cmd\":[\"--serve\",\"a \\\"b\\\"\"],"
		    "\"Env\":[\"PATH=/usr/bin:/bin\",\"LANG=C\"],\"WorkingDir\":\"/srv\",\"User\":\"app\",\"ExposedPorts\":{\"80/tcp\":{},\"53/udp\":{}},"
		    "\"Volumes\":{\"/data\":{}}},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"%s\",\"%s\"%s%s%s]}}", damage == ARCHITECTURE ? "arm64" : "amd64",
		    diff_id[0], diff_id[damage == ANOTHER_LAYER ? 0 : 1], damage == LAYER_COUNT ? "" : ",\"", damage == LAYER_COUNT ? "" : diff_id[2],
		    damage == LAYER_COUNT ? "" : "\"");
	config_size = blob(config.data, config.len, config_digest);
	if (damage == CONFIG_BYTE) {
		char *name = xasprintf("blobs/sha256/%s", config_digest + 7);

		config.data[3] ^= 1;
		put(name, config.data, config.len);
		free(name);
	}
	text_printf(&manifest, "{\"schemaVersion\":2,\"config\":{\"mediaType\":\"application/vnd.oci.image.config.v1+json\",\"digest\":\"%s\",\"size\":%zu},\"layers\":[",
		    config_digest, config_size);
	for (int i = 0; i < 3; i++)
		text_printf(&manifest, "%s{\"mediaType\":\"application/vnd.oci.image.layer.v1.tar\",\"digest\":\"%s\",\"size\":%zu}", i ? "," : "", layer_digest[i],
			    size[i] + (damage == SIZE && i == 2));
	text_puts(&manifest, "]}");
	manifest_size = blob(manifest.data, manifest.len, manifest_digest);
	text_printf(&index, "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":"
		    "\"sha256:%064d\",\"size\":7,\"platform\":{\"os\":\"linux\",\"architecture\":\"arm64\"}},"
		    "{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"digest\":\"%s\",\"size\":%zu,"
		    "\"annotations\":{\"org.opencontainers.image.ref.name\":\"example.org/app:1.0\"},\"platform\":{\"os\":\"linux\",\"architecture\":\"amd64\"}}]}", 0,
		    manifest_digest, manifest_size);
	put("index.json", index.data, index.len);
	text_free(&config);
	text_free(&manifest);
	text_free(&index);
}

static void check_image(const char *name, const struct rootfs_result *r)
{
	char *test = xasprintf("%s_layers", name);

	unit_check(holds("/usr/bin/app", "app 2") && !there("/etc/gone", NULL) && !there("/etc/.wh.gone", NULL) && holds("/etc/kept", "kept") &&
			   !there("/var/opaque/old", NULL) && !there("/var/opaque/deep", NULL) && holds("/var/opaque/new", "new") &&
			   holds("/was-file/now-folder", "x") && holds("/was-folder", "now a file") && r->layers == 3, test, "");
	free(test);
	test = xasprintf("%s_config", name);
	unit_check(r->entrypoint.count == 1 && r->command.count == 2 && !strcmp(r->command.items[1], "a \"b\"") && r->environment.count == 2 &&
			   r->working_directory && !strcmp(r->working_directory, "/srv") && r->user && !strcmp(r->user, "app") && r->ports.count == 2 &&
			   r->volumes.count == 1, test, "");
	free(test);
}

static void containers(void)
{
	static const char *const names[DAMAGES] = {"", "", "oci_layer_byte", "oci_config_byte", "oci_size", "oci_architecture", "oci_layer_count", "oci_another_layer"};
	static const char *const words[DAMAGES] = {"", "", "has not the digest", "has not the digest", "bytes, not the", "arm64", "layers", "is not the layer"};
	struct rootfs_options other = {.limits = {1 << 20, 1000, 0}, .platform = "linux/riscv64"}, tagged = {.limits = {1 << 20, 1000, 0}, .platform = "linux/amd64", .tag = "1.0"};
	struct rootfs_result r = {0};
	struct fault f = {0};
	char *tar, *command;

	make_layout(NONE);
	unit_check(!import_with(layout, NULL, &r, &f), "oci_good", f.text);
	check_image("oci", &r);
	rootfs_result_free(&r);
	unit_check(!import_with(layout, &tagged, &r, &f), "oci_tag", f.text);
	rootfs_result_free(&r);
	tagged.tag = "2.0";
	unit_check(import_with(layout, &tagged, &r, &f) == -ENOENT && strstr(f.text, "example.org/app:1.0"), "oci_no_such_tag", f.text);
	rootfs_result_free(&r);
	unit_check(import_with(layout, &other, &r, &f) == -ENOENT && strstr(f.text, "linux/arm64"), "oci_platform", f.text);
	rootfs_result_free(&r);
	for (int i = 0; i < 3; i++) { // plain, and compressed
		static const char *const how[] = {"", "-z", "-J"};
		char test[32];

		tar = xasprintf("%s/layout.tar", top);
		command = xasprintf("tar -C %s %s -cf %s .", layout, how[i], tar);
		snprintf(test, sizeof(test), "oci_tar%s", how[i]);
		if (system(command))
			unit_check(false, test, "tar failed");
		else
			unit_check(!import_with(tar, NULL, &r, &f) && holds("/usr/bin/app", "app 2"), test, f.text);
		rootfs_result_free(&r);
		free(command);
		free(tar);
	}
	make_layout(COMPRESSED);
	unit_check(!import_with(layout, NULL, &r, &f) && holds("/usr/bin/app", "app 2") && r.layers == 3, "oci_compressed", f.text);
	rootfs_result_free(&r);
	for (enum damage d = LAYER_BYTE; d < DAMAGES; d++) {
		make_layout(d);
		unit_check(import_with(layout, NULL, &r, &f) < 0 && strstr(f.text, words[d]), names[d], f.text);
		rootfs_result_free(&r);
	}
}

// What `docker save` wrote before it wrote OCI layouts.
static void saved(void)
{
	char digest[3][72], config_digest[72], *path;
	struct text tar[3], config = {0}, manifest = {0};
	struct rootfs_result r = {0};
	struct fault f = {0};

	begin_layout();
	path = xasprintf("%s/oci-layout", layout);
	unlink(path);
	free(path);
	layers(tar);
	for (int i = 0; i < 3; i += 2) {
		char name[32];

		digest_of(tar[i].data, tar[i].len, digest[i]);
		snprintf(name, sizeof(name), "%d", i);
		path = xasprintf("%s/%d", layout, i);
		mkdir(path, 0755);
		free(path);
		snprintf(name, sizeof(name), "%d/layer.tar", i);
		put(name, tar[i].data, tar[i].len);
	}
	text_printf(&config, "{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{\"Cmd\":[\"/bin/app\"]},\"rootfs\":{\"diff_ids\":[\"%s\",\"%s\"]}}", digest[0], digest[2]);
	digest_of(config.data, config.len, config_digest);
	path = xasprintf("%s.json", config_digest + 7);
	put(path, config.data, config.len);
	text_printf(&manifest, "[{\"Config\":\"%s\",\"RepoTags\":[\"app:latest\"],\"Layers\":[\"0/layer.tar\",\"2/layer.tar\"]}]", path);
	put("manifest.json", manifest.data, manifest.len);
	free(path);
	unit_check(!import_with(layout, NULL, &r, &f) && holds("/usr/bin/app", "app 1") && holds("/was-folder", "now a file") && r.command.count == 1, "docker_save", f.text);
	rootfs_result_free(&r);
	tar[2].data[520] ^= 1;
	put("2/layer.tar", tar[2].data, tar[2].len);
	unit_check(import_with(layout, NULL, &r, &f) == -EBADMSG && strstr(f.text, "2/layer.tar"), "docker_save_damaged", f.text);
	rootfs_result_free(&r);
	for (int i = 0; i < 3; i++)
		text_free(&tar[i]);
	text_free(&config);
	text_free(&manifest);
}

static void documents(void)
{
	static const char *const bad[] = {"", "[]", "{", "{\"manifests\":{}}", "{\"manifests\":[7]}", "{\"manifests\":[{\"digest\":\"sha256:../../etc/passwd\",\"size\":1}]}",
					  "{\"manifests\":[{\"digest\":\"md5:00\",\"size\":1}]}", "{\"manifests\":[{}],\"manifests\":[]}"};
	static const char *const bad_saved[] = {"{}", "[]", "[{}]", "[{\"Config\":\"../x\",\"Layers\":[\"a\"]}]", "[{\"Config\":\"x\",\"Layers\":[]}]",
						"[{\"Config\":\"x\",\"Layers\":[\"a/../../b\"]}]", "[{\"Config\":\"x\",\"Layers\":[\"/b\"]}]", "[{\"Config\":\"x\",\"Layers\":[1]}]"};
	struct oci_manifest m;
	struct oci_blob b;
	struct fault f;
	char name[32];
	bool is_index;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		snprintf(name, sizeof(name), "oci_bad_index_%zu", i);
		unit_check(oci_read_index(bad[i], strlen(bad[i]), NULL, "linux/amd64", &b, &is_index, &f) < 0, name, "accepted");
		unit_check(oci_read_manifest(bad[i], strlen(bad[i]), &m, &f) < 0, name, "accepted as a manifest");
	}
	for (size_t i = 0; i < sizeof(bad_saved) / sizeof(*bad_saved); i++) {
		struct oci_saved s;

		snprintf(name, sizeof(name), "oci_bad_saved_%zu", i);
		unit_check(oci_read_saved(bad_saved[i], strlen(bad_saved[i]), NULL, &s, &f) < 0, name, "accepted");
	}
}

static void folders(void)
{
	char *from = xasprintf("%s/from", top), *name, *again;
	struct rootfs_result r = {0};
	struct fault f = {0};
	struct stat a, b;

	mkdir(from, 0755);
	name = xasprintf("%s/file", from);
	again = xasprintf("%s/other", from);
	text_write_file(name, "text", 4, &f);
	unit_check(!link(name, again) && !import_with(from, NULL, &r, &f) && holds("/file", "text") && there("/file", &a) && there("/other", &b) &&
			   a.st_ino == b.st_ino, "folder", f.text);
	rootfs_result_free(&r);
	free(name);
	free(again);
	free(from);
}

int main(void)
{
	if (!test_folder(top, "rootfs"))
		return 1;
	source = xasprintf("%s/source.tar", top);
	good_tar();
	hostile_tar();
	containers();
	saved();
	documents();
	folders();
	free(root);
	free(source);
	free(layout);
	return unit_failed;
}
