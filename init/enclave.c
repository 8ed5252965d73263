// SPDX-License-Identifier: Apache-2.0
// What only an enclave has: evidence through Linux's configfs-tsm (Documentation/ABI/testing/configfs-tsm), and the
// sealed file system behind mount(2). No locks.
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "init/attest.h"
#include "lib/file.h"

#define TSM "/sys/kernel/config/tsm/report"
#define IMAGE_ROOT "/.coffer/root"
#define MAX_CHAIN (64u << 10)

static int write_blob(const char *path, const void *bytes, size_t len)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), err = 0;
	if (fd < 0)
		return -errno;
	ssize_t n = write(fd, bytes, len);
	if (n != (ssize_t)len)
		err = n < 0 ? -errno : -EIO;
	close(fd);
	return err;
}

static int read_report(const char *dir, const uint8_t report_data[64], struct evidence *out, struct fault *f)
{
	char path[160], *blob = NULL;
	size_t len;
	snprintf(path, sizeof path, "%s/inblob", dir);
	int err = write_blob(path, report_data, 64);
	if (err)
		return fault_errno(f, -err, "cannot write %s", path);
	snprintf(path, sizeof path, "%s/outblob", dir);
	err = file_read(path, 64 << 10, &blob, &len, f);
	if (err)
		return err;
	if (len != sizeof out->report)
		err = fault_set(f, -EPROTO, "the evidence is not an SNP report: %zu bytes", len);
	else
		memcpy(out->report, blob, len);
	free(blob);
	if (err)
		return err;
	snprintf(path, sizeof path, "%s/auxblob", dir);
	err = file_read(path, MAX_CHAIN, &blob, &len, f);
	if (err)
		return err;
	err = snp_chain_add_pem(&out->chain, blob, len, f);
	free(blob);
	return err;
}

static int tsm_evidence(const uint8_t report_data[64], struct evidence *out, struct fault *f)
{
	char dir[128];
	snprintf(dir, sizeof dir, TSM "/coffer-%d", (int)getpid());
	if (mkdir(dir, 0700) < 0)
		return fault_errno(f, errno, "this enclave offers no evidence (%s)", dir);
	int err = read_report(dir, report_data, out, f);
	rmdir(dir);
	return err;
}

static int mount_sealed(unsigned int index, const struct settings_volume *v, const struct coffer_mount_key *key,
			struct fault *f)
{
	char device[16];
	snprintf(device, sizeof device, "vol%u", index);
	if (mount(device, v->path, "sealed", v->read_only ? MS_RDONLY : 0, key) == 0)
		return 0;
	int err = errno;
	if (err == ENOENT || err == ENOTDIR)
		return fault_set(f, -err, "cannot mount %.200s: the image has no folder %.200s", v->name, v->path);
	if (err == EKEYEXPIRED)
		return fault_set(f, -err, "the volume %.200s (for %.200s) is not in the state that the %s remembers: the host has put an older or "
				 "another copy there", v->name, v->path, key->where == COFFER_ANCHOR_IN_TPM ? "TPM" : "broker");
	if (err == EXDEV)
		return fault_set(f, -err, "the host has put another volume in the place of %.200s (for %.200s): it is not %s", v->name, v->path, v->id);
	if (err == EKEYREJECTED && v->sealing)
		return fault_set(f, -err, "the volume %.200s (for %.200s) is not sealed to this enclave on this machine: another image (measurement) or another "
				 "machine made it, or it is another folder's, or it was altered", v->name, v->path);
	if (err == EKEYREJECTED || err == EBADMSG || err == EUCLEAN || err == EINVAL)
		return fault_errno(f, err,
				   "the volume %.200s (for %.200s) does not open with its key: it is damaged, was "
				   "changed, or is another volume",
				   v->name, v->path);
	return fault_errno(f, err, "cannot mount the volume %.200s at %.200s", v->name, v->path);
}

// What the kernel has mounted moves over; then the image takes the place of the measured one, which goes.
static int become_root(struct fault *f)
{
	static const char *const mounts[] = {"/proc", "/sys", "/dev", "/tmp", "/run"};
	char to[64];
	for (size_t i = 0; i < sizeof mounts / sizeof *mounts; i++) {
		snprintf(to, sizeof to, IMAGE_ROOT "%s", mounts[i]);
		if (mount(mounts[i], to, NULL, MS_MOVE, NULL))
			return fault_errno(f, errno, "cannot move %s into the encrypted image", mounts[i]);
	}
	if (chdir(IMAGE_ROOT) || syscall(SYS_pivot_root, ".", ".") || umount2(".", MNT_DETACH) || chdir("/"))
		return fault_errno(f, errno, "cannot make the encrypted image the root");
	return 0;
}

static int enter_image(const struct settings_image *image, const unsigned char key[COFFER_MOUNT_KEY_BYTES], struct fault *f)
{
	struct coffer_image_key k = {.magic = COFFER_IMAGE_KEY_MAGIC, .version = COFFER_MOUNT_KEY_VERSION, .blocks = image->blocks};
	memcpy(k.key, key, sizeof k.key);
	memcpy(k.root, image->root, sizeof k.root);
	int err = mount("image", IMAGE_ROOT, "coffer-image", 0, &k) ? errno : 0;
	explicit_bzero(&k, sizeof k);
	if (err == EKEYREJECTED)
		return fault_set(f, -err, "the encrypted image does not open with the broker's key: it is another image's");
	if (err)
		return fault_errno(f, err, "the encrypted image cannot be mounted: it is damaged or was changed");
	return become_root(f);
}

// The folders above, each only if it is missing. What hangs below /run may be anything that the image or the host made of it: it must be memory.
static int make_folders(const char *path, struct fault *f)
{
	char folder[256];
	for (const char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
		if (mkdir(folder, 0755) && errno != EEXIST)
			return fault_errno(f, errno, "cannot make the folder %s for a secret", folder);
	}
	struct statfs st;
	snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
	if (statfs(folder, &st))
		return fault_errno(f, errno, "cannot look at %s", folder);
	return st.f_type == TMPFS_MAGIC ? 0 : fault_set(f, -EPERM, "the secret for %s would not stay in memory: something else is mounted there", path);
}

static int deliver(const struct settings_secret *s, const void *bytes, size_t len, struct fault *f)
{
	int err = make_folders(s->path, f);
	if (err)
		return err;
	int fd = open(s->path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0)
		return fault_errno(f, errno, "cannot make %s for a secret", s->path);
	for (size_t done = 0; done < len && !err;) {
		ssize_t n = write(fd, (const char *)bytes + done, len - done);
		if (n > 0)
			done += (size_t)n;
		else
			err = n < 0 ? errno : EIO;
	}
	if (!err && (fchown(fd, s->owner, s->group) || fchmod(fd, s->mode)))
		err = errno;
	close(fd);
	return err ? fault_errno(f, err, "cannot write the secret to %s", s->path) : 0;
}

static void say(const char *line)
{
	fprintf(stderr, "coffer: %s\n", line);
}

// Opened at the first use, which is before any program runs; afterwards nobody can.
static int anchor_fd(void)
{
	static int fd = -1;
	if (fd < 0)
		fd = open(COFFER_ANCHOR_FILE, O_RDWR | O_CLOEXEC);
	return fd;
}

static int anchor_write(const struct coffer_anchor_record *r)
{
	return write(anchor_fd(), r, sizeof *r) == (ssize_t)sizeof *r ? 0 : -errno;
}

static int anchor_read(struct coffer_anchor_record *r)
{
	return read(anchor_fd(), r, sizeof *r) == (ssize_t)sizeof *r ? 0 : -errno;
}

static int sealing_key(struct coffer_sealing_key *out)
{
	int fd = open(COFFER_SEALING_FILE, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, sizeof *out);
	int err = n == (ssize_t)sizeof *out ? 0 : n < 0 ? -errno : -EIO;
	if (fd >= 0)
		close(fd);
	return err;
}

static int set_time(uint64_t least_ns, uint64_t most_ns)
{
	uint64_t between[2] = {least_ns, most_ns};
	int fd = open("/proc/coffer/set_time", O_WRONLY | O_CLOEXEC), err = 0;
	if (fd < 0 || write(fd, between, sizeof between) != (ssize_t)sizeof between)
		err = -errno;
	if (fd >= 0)
		close(fd);
	return err;
}

const struct attest_ops enclave_ops = {tsm_evidence, mount_sealed, enter_image, sealing_key, say, anchor_write, anchor_read, deliver, set_time};
