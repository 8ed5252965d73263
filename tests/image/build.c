// SPDX-License-Identifier: Apache-2.0
// The whole build: the same files give the same digest whatever umask, time, order and place; each kind of change gives
// another; manifest and verification refuse what does not match.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "image/build.h"
#include "tests/image/unit.h"
#include "tests/folder.h"

static char top[64];

static void put(const char *folder, const char *name, const char *content, mode_t mode)
{
	char *path = xasprintf("%s/%s", folder, name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);

	if (fd < 0 || write(fd, content, strlen(content)) != (ssize_t)strlen(content))
		printf("not ok setup: cannot write %s\n", path);
	close(fd);
	free(path);
}

static void put_big(const char *folder, const char *name, size_t size)
{
	char *content = malloc(size + 1);

	for (size_t i = 0; i < size; i++)
		content[i] = (char)('a' + i * i % 23);
	content[size] = '\0';
	put(folder, name, content, 0644);
	free(content);
}

static char *folder(const char *above, const char *name)
{
	char *path = xasprintf("%s/%s", above, name);

	if (mkdir(path, 0777) < 0 && errno != EEXIST)
		printf("not ok setup: cannot make %s\n", path);
	return path;
}

// A project whose image has files, folders, a link and a program, made in one order or the other.
static char *make_project(const char *name, bool backwards, const char *yaml)
{
	static const char *const names[] = {"alpha", "beta", "gamma", "delta", "epsilon"};
	char *project = folder(top, name), *image = folder(project, "image"), *data = folder(image, "data"), *link;

	for (int i = 0; i < 5; i++)
		put(data, names[backwards ? 4 - i : i], names[backwards ? 4 - i : i], 0666);
	put_big(data, "big", 300000);
	put(image, "program", "#!/bin/sh\n", 0777);
	link = xasprintf("%s/link", image);
	if (symlink("data/alpha", link) < 0 && errno != EEXIST)
		printf("not ok setup: cannot make %s\n", link);
	put(project, CONFIG_FILE, yaml, 0666);
	free(link);
	free(data);
	free(image);
	return project;
}

static bool build(const char *project, char measurement[MEASUREMENT_HEX], struct build_result *result, struct fault *f)
{
	char *lib = xasprintf("%s/lib", top);
	struct build_options o = {.lib_dir = lib};
	struct build_result r;
	struct config c;
	int err = config_load(&c, project, f);

	if (!err) {
		err = image_build(&c, &o, &r, f);
		config_free(&c);
	}
	if (!err)
		strcpy(measurement, r.measurement);
	if (!err && result)
		*result = r;
	free(lib);
	return !err;
}

static void determinism(char *first_project)
{
	char a[MEASUREMENT_HEX] = "", b[MEASUREMENT_HEX] = "", *second;
	struct fault f = {0};
	mode_t old;

	unit_check(build(first_project, a, NULL, &f), "build_works", f.text);
	old = umask(0077);
	sleep(1);	// other times, to the second
	second = make_project("second-place", true, "command: [/program]\n");
	unit_check(build(second, b, NULL, &f) && !strcmp(a, b), "build_same_digest_other_umask_order_time_place", f.text[0] ? f.text : b);
	umask(old);
	free(second);
}

static void changes(const char *project)
{
	char before[MEASUREMENT_HEX] = "", after[MEASUREMENT_HEX] = "", *data = xasprintf("%s/image/data", project);
	char *lib = xasprintf("%s/lib", top), *program = xasprintf("%s/image/program", project);
	struct build_result r;
	struct fault f = {0};

	build(project, before, NULL, &f);
	unit_check(build(project, after, &r, &f) && r.unchanged && !strcmp(before, after), "build_nothing_to_do", f.text);
	put(data, "beta", "Beta", 0644);
	unit_check(build(project, after, NULL, &f) && strcmp(before, after), "build_changed_content", f.text);
	put(data, "beta", "beta", 0644);
	unit_check(build(project, after, NULL, &f) && !strcmp(before, after), "build_changed_back", f.text);
	chmod(program, 0644);
	unit_check(build(project, after, NULL, &f) && strcmp(before, after), "build_changed_mode", f.text);
	chmod(program, 0700);
	unit_check(build(project, after, NULL, &f) && !strcmp(before, after), "build_mode_is_made_regular", f.text);
	put(project, CONFIG_FILE, "command: [/program, x]\n", 0644);
	unit_check(build(project, after, NULL, &f) && strcmp(before, after), "build_changed_command", f.text);
	put(project, CONFIG_FILE, "# only a comment\ncommand: [/program]\n", 0644);
	unit_check(build(project, after, NULL, &f) && !strcmp(before, after), "build_comment_is_no_change", f.text);
	put(project, CONFIG_FILE, "command: [/program]\nmemory: 1G\n", 0644);
	unit_check(build(project, after, NULL, &f) && strcmp(before, after), "build_changed_memory", f.text);
	put(project, CONFIG_FILE, "command: [/program]\n", 0644);
	for (int i = 0; i < 3; i++) {
		static const char *const pieces[] = {"kernel.elf", "init", "init-attest"};
		char *name = xasprintf("build_changed_%s", pieces[i]);

		put(lib, pieces[i], "changed", 0755);
		unit_check(build(project, after, NULL, &f) && strcmp(before, after), name, f.text);
		put(lib, pieces[i], pieces[i], 0755);
		free(name);
	}
	unit_check(build(project, after, NULL, &f) && !strcmp(before, after), "build_all_changed_back", f.text);
	free(program);
	free(lib);
	free(data);
}

static void refusals(const char *project)
{
	char m[MEASUREMENT_HEX], *fifo = xasprintf("%s/image/fifo", project), *inside = xasprintf("%s/image/.coffer/extra", project);
	char *escape = xasprintf("%s/image/escape", project), *extra = xasprintf("%s/extra", top);
	struct fault f = {0};

	mkfifo(fifo, 0644);
	unit_check(!build(project, m, NULL, &f) && strstr(f.text, "fifo"), "build_refuses_fifo", f.text);
	unlink(fifo);
	put(top, "extra", "x", 0644);
	if (link(extra, inside) == 0)
		unit_check(!build(project, m, NULL, &f) && strstr(f.text, "Coffer's own"), "build_refuses_foreign_coffer_file", f.text);
	unlink(inside);
	put(project, CONFIG_FILE, "command: [/no/such]\n", 0644);
	unit_check(!build(project, m, NULL, &f) && strstr(f.text, "/no/such"), "build_refuses_missing_program", f.text);
	// A link that leads out of the image is followed inside it.
	if (symlink(top, escape) == 0) {
		char *target = xasprintf("%s/planted", top), *yaml = xasprintf("command: [/program]\ncopy: [{from: coffer.yaml, to: /escape/planted}]\n");

		put(project, CONFIG_FILE, yaml, 0644);
		build(project, m, NULL, &f);
		unit_check(access(target, F_OK) < 0, "build_stays_inside_image", "a link in the image led out of it");
		free(target);
		free(yaml);
	}
	unlink(escape);
	put(project, CONFIG_FILE, "command: [/program]\n", 0644);
	free(extra);
	free(escape);
	free(inside);
	free(fifo);
}

static void verification(const char *project)
{
	char *image = xasprintf("%s/build/enclave.img", project), *manifest = xasprintf("%s/build/enclave.manifest", project);
	char *lib = xasprintf("%s/lib", top), m[MEASUREMENT_HEX], built[MEASUREMENT_HEX];
	struct fault f = {0};
	struct manifest parsed;
	struct text text = {0};
	uint8_t byte = 0;
	int fd;

	build(project, built, NULL, &f);
	unit_check(!image_verify(manifest, image, lib, &parsed, m, &f) && !strcmp(m, built), "verify_good", f.text);
	fd = open(image, O_RDWR | O_CLOEXEC);
	if (pread(fd, &byte, 1, 70000) == 1) {
		byte ^= 0x10;
		if (pwrite(fd, &byte, 1, 70000) == 1)
			unit_check(image_verify(manifest, image, lib, &parsed, m, &f) == -EBADMSG && strstr(f.text, "block 17 "),
				   "verify_flipped_byte", f.text);
	}
	close(fd);
	unit_check(build(project, m, NULL, &f) && !image_verify(manifest, image, lib, &parsed, m, &f), "build_repairs_image", f.text);
	if (truncate(image, 8192) == 0)
		unit_check(image_verify(manifest, image, lib, &parsed, m, &f) == -EBADMSG && strstr(f.text, "cut short"), "verify_cut_image",
			   f.text);
	build(project, m, NULL, &f);
	put(lib, "kernel.elf", "other", 0644);
	unit_check(image_verify(manifest, image, lib, &parsed, m, &f) == -EBADMSG && strstr(f.text, "kernel.elf"), "verify_other_kernel",
		   f.text);
	put(lib, "kernel.elf", "kernel.elf", 0644);
	text_read_file(&text, manifest, 65536, &f);
	unit_check(!manifest_parse(&parsed, text.data, text.len, &f), "manifest_reads_back", f.text);
	bool one_spelling = true;
	for (size_t i = 0; i < text.len; i++) {
		struct text again = {0};
		char old = text.data[i];

		text.data[i] = (char)(old ^ 1);
		// Another value is another manifest; what is no manifest must be refused, never misread.
		if (!manifest_parse(&parsed, text.data, text.len, &f)) {
			manifest_write(&parsed, &again);
			one_spelling &= again.len == text.len && !memcmp(again.data, text.data, text.len);
		}
		text_free(&again);
		text.data[i] = old;
	}
	unit_check(one_spelling, "manifest_changed_bytes", "a changed manifest is read as another one");
	unit_check(manifest_parse(&parsed, text.data, text.len - 1, &f) < 0, "manifest_cut", f.text);
	text_puts(&text, "more: 1\n");
	unit_check(manifest_parse(&parsed, text.data, text.len, &f) < 0, "manifest_with_more", f.text);
	text_free(&text);
	free(lib);
	free(manifest);
	free(image);
}

int main(void)
{
	char *project, *lib;

	if (access("/usr/bin/mkfs.erofs", X_OK) < 0 && access("/usr/sbin/mkfs.erofs", X_OK) < 0 && access("/sbin/mkfs.erofs", X_OK) < 0) {
		printf("skip build: mkfs.erofs (erofs-utils) is not installed\n");
		return 0;
	}
	if (!test_folder(top, "build"))
		return 1;
	lib = folder(top, "lib");
	put(lib, "kernel.elf", "kernel.elf", 0644);
	put(lib, "init", "init", 0755);
	put(lib, "init-attest", "init-attest", 0755);
	project = make_project("first", false, "command: [/program]\n");
	determinism(project);
	changes(project);
	refusals(project);
	verification(project);
	free(project);
	free(lib);
	return unit_failed;
}
