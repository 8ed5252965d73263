// SPDX-License-Identifier: Apache-2.0
// `coffer doctor`: can this machine run enclaves, what is missing, and what would protect them. Looks, changes nothing.
#include <cpuid.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "image/text.h"

enum verdict { GOOD, SLOW, MISSING, ABSENT };	// ABSENT: not here, and not needed

struct finding {
	const char *name;
	enum verdict (*look)(char *detail, size_t size);
	const char *advice;	// when it is not GOOD
};

#define SAY(...) snprintf(detail, size, __VA_ARGS__)

static enum verdict look_kernel(char *detail, size_t size)
{
	unsigned int major = 0, minor = 0;
	struct utsname u;

	uname(&u);
	sscanf(u.release, "%u.%u", &major, &minor);
	SAY("Linux %s, %s", u.release, u.machine);
	return !strcmp(u.machine, "x86_64") && (major > 5 || (major == 5 && minor >= 11)) ? GOOD : MISSING;
}

// Tried in a child: it would be wrong to switch anything on in this process.
static int in_child(int (*try)(void))
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(try() ? 1 : 0);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return -1;
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -1;
}

static int try_seccomp(void)
{
	return prctl(PR_SET_SECCOMP, 2 /* SECCOMP_MODE_FILTER */, NULL, 0, 0) < 0 && errno == EFAULT ? 0 : -1;
}

static enum verdict look_seccomp(char *detail, size_t size)
{
	bool there = !in_child(try_seccomp);

	SAY(there ? "system calls of programs are caught, host processes locked down" : "filters are not available here");
	return there ? GOOD : MISSING;
}

static enum verdict look_fsgsbase(char *detail, size_t size)
{
	bool there = getauxval(AT_HWCAP2) & 2;

	SAY(there ? "thread registers are set without a system call" : "neither CPU nor kernel offers it");
	return there ? GOOD : MISSING;
}

static enum verdict look_memory(char *detail, size_t size)
{
	size_t most = 8ul << 30;
	int fd = memfd_create("coffer-doctor", MFD_CLOEXEC);
	void *map = MAP_FAILED;
	bool good;

	if (fd >= 0 && !ftruncate(fd, (off_t)most))
		map = mmap(NULL, most, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
	good = map != MAP_FAILED;
	if (good)
		SAY("8 GB of address space can be had; pages are taken as they are used");
	else
		SAY("no memfd of 8 GB: %s", strerror(errno));
	if (good)
		munmap(map, most);
	if (fd >= 0)
		close(fd);
	return good ? GOOD : MISSING;
}

static enum verdict look_openat2(char *detail, size_t size)
{
	struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT};
	long fd = syscall(SYS_openat2, AT_FDCWD, "/", &how, sizeof(how));

	SAY(fd >= 0 ? "images are put together without leaving their folder" : "openat2: %s", strerror(errno));
	if (fd >= 0)
		close((int)fd);
	return fd >= 0 ? GOOD : MISSING;
}

static enum verdict look_random(char *detail, size_t size)
{
	unsigned int a, b = 0, c = 0, d;
	bool rand, seed;

	__get_cpuid(1, &a, &b, &c, &d);
	rand = c & bit_RDRND;
	__get_cpuid_count(7, 0, &a, &b, &c, &d);
	seed = b & bit_RDSEED;
	SAY("RDRAND %s, RDSEED %s", rand ? "yes" : "no", seed ? "yes" : "no");
	return rand ? GOOD : MISSING;
}

static enum verdict look_crypto(char *detail, size_t size)
{
	bool aes = __builtin_cpu_supports("aes") && __builtin_cpu_supports("pclmul");
	bool avx2 = __builtin_cpu_supports("avx2"), avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw");

	SAY("AES-NI %s, AVX2 %s, AVX-512 %s", aes ? "yes" : "no", avx2 ? "yes" : "no", avx512 ? "yes" : "no");
	return aes ? avx2 ? GOOD : SLOW : MISSING;
}

static enum verdict look_mkfs(char *detail, size_t size)
{
	bool there = !access("/usr/bin/mkfs.erofs", X_OK) || !access("/usr/sbin/mkfs.erofs", X_OK) ||
		     !access("/sbin/mkfs.erofs", X_OK) || !access("/usr/local/bin/mkfs.erofs", X_OK);

	SAY(there ? "images can be made" : "mkfs.erofs is not installed");
	return there ? GOOD : MISSING;
}

static enum verdict look_pieces(char *detail, size_t size)
{
	static const char *const names[] = {"kernel.elf", "init", "init-attest", "gateway"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		char *path = xasprintf("%s/%s", cli_lib_dir(), names[i]);
		bool there = !access(path, R_OK);

		free(path);
		if (!there) {
			SAY("%s is not in %s", names[i], cli_lib_dir());
			return MISSING;
		}
	}
	SAY("in %s", cli_lib_dir());
	return GOOD;
}

static const struct finding needs[] = {
	{"Linux", look_kernel, "Linux 5.11 or later on x86-64 is needed"},
	{"seccomp", look_seccomp, "a kernel with CONFIG_SECCOMP_FILTER, and no sandbox around that hides it"},
	{"fsgsbase", look_fsgsbase, "a CPU since 2012 and Linux 5.9 or later, booted without nofsgsbase"},
	{"memory", look_memory, "raise the memory limit (ulimit -v, vm.overcommit_memory), or lower `memory:` in coffer.yaml"},
	{"openat2", look_openat2, "Linux 5.6 or later; a container runtime may hide it"},
	{"random numbers", look_random, "a CPU with RDRAND"},
	{"encryption speed", look_crypto, "works, but slower than it could"},
	{"image tool", look_mkfs, "apt-get install erofs-utils"},
	{"installation", look_pieces, "run make, or set COFFER_LIB_DIR"},
};

static enum verdict look_snp(char *detail, size_t size)
{
	bool guest = !access("/dev/sev-guest", F_OK), host = !access("/sys/module/kvm_amd/parameters/sev_snp", F_OK);

	SAY(guest ? "this is a confidential VM of AMD" : host ? "this host could start AMD confidential VMs" : "not on this machine");
	return guest ? GOOD : ABSENT;
}

static enum verdict look_tdx(char *detail, size_t size)
{
	bool guest = !access("/dev/tdx_guest", F_OK), host = !access("/sys/module/kvm_intel/parameters/tdx", F_OK);

	SAY(guest ? "this is a confidential VM of Intel" : host ? "this host could start Intel confidential VMs" : "not on this machine");
	return guest ? GOOD : ABSENT;
}

static enum verdict look_sgx(char *detail, size_t size)
{
	unsigned int a, b = 0, c, d;
	bool device = !access("/dev/sgx_enclave", F_OK);

	__get_cpuid_count(7, 0, &a, &b, &c, &d);
	SAY(device ? "enclaves of Intel can be made here" : b & 4 ? "the CPU has it, the firmware or kernel does not offer it"
								  : "not on this machine");
	return device ? GOOD : ABSENT;
}

static enum verdict look_kvm(char *detail, size_t size)
{
	bool there = !access("/dev/kvm", R_OK | W_OK);

	SAY(there ? "/dev/kvm can be used" : "/dev/kvm cannot be used");
	return there ? GOOD : ABSENT;
}

// Protection keys keep stray accesses of programs off the kernel's memory (platform/process/pku.c).
static enum verdict look_pku(char *detail, size_t size)
{
	unsigned int a, b, c = 0, d;
	long key = syscall(SYS_pkey_alloc, 0, 0);

	__get_cpuid_count(7, 0, &a, &b, &c, &d);
	SAY(key >= 0 ? "stray accesses of programs to kernel memory fault" :
	    c & 8 ? "the CPU has them, the host does not offer them" : "not on this machine");
	if (key >= 0)
		syscall(SYS_pkey_free, key);
	return key >= 0 ? GOOD : ABSENT;
}

static const struct finding tees[] = {
	{"AMD SEV-SNP", look_snp, NULL}, {"Intel TDX", look_tdx, NULL}, {"Intel SGX", look_sgx, NULL}, {"KVM", look_kvm, NULL},
	{"protection keys", look_pku, NULL},
};

static const char *const words[] = {"yes", "slow", "MISSING", "no"};

static void print_table(const struct finding *rows, size_t count, bool *can_run)
{
	for (size_t i = 0; i < count; i++) {
		char detail[256] = "";
		enum verdict v = rows[i].look(detail, sizeof(detail));
		const char *colour = v == GOOD ? cli_green(stdout) : v == MISSING ? cli_red(stdout) : v == SLOW ? cli_yellow(stdout) : "";

		printf("  %-18s %s%-8s%s %s\n", rows[i].name, colour, words[v], *colour ? cli_plain(stdout) : "", detail);
		if ((v == MISSING || v == SLOW) && rows[i].advice)
			printf("  %-27s -> %s\n", "", rows[i].advice);
		if (v == MISSING && can_run)
			*can_run = false;
	}
}

static void json_table(struct text *t, const char *name, const struct finding *rows, size_t count, bool *can_run)
{
	text_printf(t, "\"%s\":[", name);
	for (size_t i = 0; i < count; i++) {
		char detail[256] = "";
		enum verdict v = rows[i].look(detail, sizeof(detail));

		text_puts(t, i ? ",{\"name\":" : "{\"name\":");
		text_json(t, rows[i].name);
		text_printf(t, ",\"ok\":%s,\"detail\":", v == GOOD || v == SLOW ? "true" : "false");
		text_json(t, detail);
		text_puts(t, "}");
		if (v == MISSING)
			*can_run = false;
	}
	text_puts(t, "]");
}

static int doctor(int argc, char **argv)
{
	size_t need_count = sizeof(needs) / sizeof(*needs), tee_count = sizeof(tees) / sizeof(*tees);
	bool can_run = true, ignored = true, json = argc == 2 && !strcmp(argv[1], "--json");
	struct text t = {0};

	if (argc > 1 && !json)
		return cli_usage(&command_doctor, "unknown argument '%s'", argv[1]);
	if (json) {
		json_table(&t, "needs", needs, need_count, &can_run);
		text_puts(&t, ",");
		json_table(&t, "tees", tees, tee_count, &ignored);
		printf("{%s,\"can_run\":%s,\"platform\":\"process\",\"protects_against_host\":false}\n", t.data, can_run ? "true" : "false");
		text_free(&t);
		return can_run ? EXIT_OK : EXIT_ERROR;
	}
	printf("%sWhat running an enclave needs%s\n", cli_bold(stdout), cli_plain(stdout));
	print_table(needs, need_count, &can_run);
	printf("\n%sWhat could protect one here%s\n", cli_bold(stdout), cli_plain(stdout));
	print_table(tees, tee_count, NULL);
	printf("\n%s%s%s\n", can_run ? cli_green(stdout) : cli_red(stdout),
	       can_run ? "This machine can run enclaves." : "This machine cannot run enclaves yet: see what is missing.",
	       cli_plain(stdout));
	printf("%sThis version runs them as processes of this machine, and its evidence is simulated: nothing here protects an\n"
	       "enclave from this machine's own administrator.%s Use it to develop and to test; brokers refuse simulated\n"
	       "evidence unless told otherwise by a setting named insecure_.\n", cli_yellow(stdout), cli_plain(stdout));
	return can_run ? EXIT_OK : EXIT_ERROR;
}

const struct command command_doctor = {
	"doctor", "can this machine run enclaves, and what would protect them",
	"usage: coffer doctor [--json]\n\n"
	"Looks at kernel, CPU, tools and TEE devices of this machine, and says what is missing. Changes nothing. Exit code 1\n"
	"when enclaves cannot run here.\n",
	doctor,
};
