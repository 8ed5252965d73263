// SPDX-License-Identifier: Apache-2.0
// What `network:` of coffer.yaml changes in the image's /etc: the addresses under which programs reach the gateway's destinations, and the
// name server behind it. Both are measured like any other file. Checks, too, that the files which the gateway reads are there.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "image/build.h"
#include "image/tree.h"

#define BEGIN "# coffer.yaml, network: connect:\n"
#define END "# until here by coffer build\n"
#define RESOLVER "# coffer.yaml, network: dns:\nnameserver " CONFIG_DNS_ADDRESS "\noptions use-vc\n"

static int read_tree_file(struct tree *t, const char *path, struct text *out, struct fault *p)
{
	char buffer[4096];
	ssize_t n;
	int fd = tree_open_file(t, path);

	if (fd == -ENOENT)
		return 0;
	if (fd < 0)
		return fault_errno(p, -fd, "cannot open %s of the image", path);
	while ((n = read(fd, buffer, sizeof(buffer))) > 0)
		text_add(out, buffer, (size_t)n);
	close(fd);
	return n < 0 ? fault_errno(p, errno, "cannot read %s of the image", path) : 0;
}

// Ours come first: they count where a name stands in the file twice.
static int write_hosts(const struct config *c, struct tree *t, struct fault *p)
{
	struct text old = {0}, hosts = {0};
	int err = read_tree_file(t, "/etc/hosts", &old, p);
	char *rest = old.data ? old.data : (char *)"", *end;

	if (!strncmp(rest, BEGIN, strlen(BEGIN)) && (end = strstr(rest, END)))
		rest = end + strlen(END);
	for (size_t i = 0; i < c->destination_count; i++) {
		const struct config_shield *e = &c->destinations[i];

		if (e->numeric || (i && !strcmp(e->host, e[-1].host)))
			continue;
		text_printf(&hosts, "%s%s %s\n", hosts.len ? "" : BEGIN, e->address, e->host);
	}
	if (hosts.len)
		text_puts(&hosts, END);
	text_puts(&hosts, rest);
	if (!err && (!old.data || strcmp(old.data, hosts.data)))
		err = tree_write_file(t, "/etc/hosts", hosts.data, hosts.len, false, p);
	text_free(&old);
	text_free(&hosts);
	return err;
}

static int write_resolver(const struct config *c, struct tree *t, struct fault *p)
{
	struct text old = {0};
	int err = read_tree_file(t, "/etc/resolv.conf", &old, p);
	bool ours = old.data && !strcmp(old.data, RESOLVER);

	if (!err && c->dns_count && old.data && !ours)
		err = fault_set(p, -EEXIST, "the image has an /etc/resolv.conf, and 'network: dns:' of %s writes one: remove one of the two", CONFIG_FILE);
	else if (!err && c->dns_count && !ours)
		err = tree_write_file(t, "/etc/resolv.conf", RESOLVER, strlen(RESOLVER), false, p);
	else if (!err && !c->dns_count && ours)
		err = tree_remove(t, "/etc/resolv.conf", p);
	text_free(&old);
	return err;
}

// Below a volume, or /run, is what comes when the enclave starts.
static bool comes_later(const struct config *c, const char *path)
{
	for (size_t i = 0; i < c->volume_count; i++) {
		size_t n = strlen(c->volumes[i].path);

		if (!strncmp(path, c->volumes[i].path, n) && (path[n] == '/' || !path[n]))
			return true;
	}
	return starts_with(path, "/run/");
}

int image_names(const struct config *c, struct tree *t, struct fault *p)
{
	int err = write_hosts(c, t, p);

	if (!err)
		err = write_resolver(c, t, p);
	for (size_t i = 0; i < c->shield_files.count && !err; i++) {
		struct stat st;

		if (!comes_later(c, c->shield_files.items[i]) && !tree_stat(t, c->shield_files.items[i], &st))
			err = fault_set(p, -ENOENT, "%s ('network:' of %s) is not in the image: add it to 'copy'", c->shield_files.items[i], CONFIG_FILE);
	}
	return err;
}
