// SPDX-License-Identifier: Apache-2.0
// A volume mounted through FUSE: the session from mount to the last commit, signals, and what is said of damage. The
// main thread serves requests; a second one commits every few seconds and waits for the signals that end it all. The library
// has its own lock; nothing else is shared but `done`.
#define FUSE_USE_VERSION 314
#include "seal/tool_mount.h"
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#define COMMIT_SECONDS 5

struct keeper {
	struct mount *m;
	struct fuse_session *session;
	const char *dir;
	pthread_t server;
	sigset_t ends;
	int done; // the server has left its loop
};

static char fuse_said[256]; // libfuse's last line before the mount stands

static void keep_line(enum fuse_log_level level, const char *fmt, va_list ap)
{
	(void)level;
	vsnprintf(fuse_said, sizeof fuse_said, fmt, ap);
	fuse_said[strcspn(fuse_said, "\n")] = 0;
}

void mount_say(const struct mount *m, const char *text)
{
	if (m->background)
		syslog(LOG_ERR, "%s: %s", m->t.path, text);
	else
		fprintf(stderr, "coffer mount: %s: %s\n", m->t.path, text);
}

int mount_error(struct mount *m, int e)
{
	struct seal_fault f = {0};
	if (e != SEAL_ETAMPER && e != SEAL_ECORRUPT && e != -EIO)
		return e;
	seal_get_fault(m->t.vol, &f);
	const char *text = f.text[0] ? f.text : tool_why(e);
	if (strncmp(m->told, text, sizeof m->told - 1)) {
		snprintf(m->told, sizeof m->told, "%s", text);
		mount_say(m, text);
	}
	return -EIO;
}

static void ignore(int sig) { (void)sig; }

// Pages that mappings have changed reach the server, then it leaves its loop.
static void end_session(struct keeper *k)
{
	int fd = open(k->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		syncfs(fd);
		close(fd);
	}
	fuse_session_exit(k->session);
	while (!__atomic_load_n(&k->done, __ATOMIC_ACQUIRE)) { // it may be about to sleep in read(2)
		pthread_kill(k->server, SIGUSR1);
		usleep(20000);
	}
}

static void *keep(void *arg)
{
	struct keeper *k = arg;
	struct timespec t = {.tv_sec = COMMIT_SECONDS};
	while (!__atomic_load_n(&k->done, __ATOMIC_ACQUIRE)) {
		int sig = sigtimedwait(&k->ends, NULL, &t);
		if (sig > 0 && sig != SIGUSR2) {
			end_session(k);
			break;
		}
		int r = k->m->read_only || sig == SIGUSR2 ? 0 : seal_sync(k->m->t.vol);
		if (r)
			mount_error(k->m, r);
	}
	return NULL;
}

// The loop, with the keeper beside it.
static int serve(struct mount *m, struct fuse_session *session, const char *dir, struct seal_tool_err *err)
{
	struct keeper k = {.m = m, .session = session, .dir = dir, .server = pthread_self()};
	struct sigaction sa = {.sa_handler = ignore};
	pthread_t keeper;
	sigset_t wake;
	sigemptyset(&k.ends);
	sigaddset(&k.ends, SIGTERM);
	sigaddset(&k.ends, SIGINT);
	sigaddset(&k.ends, SIGHUP);
	sigaddset(&k.ends, SIGUSR2); // from the server: the loop is over
	sigprocmask(SIG_BLOCK, &k.ends, NULL);
	sigaction(SIGUSR1, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
	int r = pthread_create(&keeper, NULL, keep, &k);
	if (r)
		return tool_err(err, -r, "%s: cannot start a thread: %s", m->t.path, strerror(r));
	sigemptyset(&wake);
	sigaddset(&wake, SIGUSR1);
	pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
	r = fuse_session_loop(session);
	__atomic_store_n(&k.done, 1, __ATOMIC_RELEASE);
	pthread_kill(keeper, SIGUSR2);
	pthread_join(keeper, NULL);
	return r < 0 ? tool_err(err, r, "%s: talking to the kernel: %s", m->t.path, strerror(-r)) : 0;
}

static int make_args(struct fuse_args *args, const char *path, const struct seal_mount_options *o)
{
	char *options = NULL, *name = NULL;
	int r = asprintf(&name, "fsname=%s", path) < 0 ? -1 : 0;
	r = r ? r : fuse_opt_add_opt(&options, "subtype=coffer,default_permissions");
	r = r ? r : fuse_opt_add_opt_escaped(&options, name);
	r = r ? r : fuse_opt_add_opt(&options, o->read_only ? "ro" : "rw");
	if (!r && o->allow_other)
		r = fuse_opt_add_opt(&options, "allow_other");
	r = r ? r : fuse_opt_add_arg(args, "coffer-mount");
	r = r ? r : fuse_opt_add_arg(args, "-o");
	r = r ? r : fuse_opt_add_arg(args, options);
	free(name);
	free(options);
	return r ? -ENOMEM : 0;
}

static int session_run(struct mount *m, const char *path, const char *dir, const struct seal_mount_options *o,
		       struct seal_tool_err *err)
{
	struct fuse_args args = FUSE_ARGS_INIT(0, NULL);
	struct fuse_session *session = NULL;
	bool mounted = false;
	int r = make_args(&args, path, o);
	if (r) {
		tool_err(err, r, "out of memory");
		goto out;
	}
	fuse_set_log_func(keep_line);
	session = fuse_session_new(&args, &mount_ops, sizeof mount_ops, m);
	if (!session || fuse_session_mount(session, dir)) {
		r = tool_err(err, -EIO, "%s: cannot be mounted: %s", dir,
			     access("/dev/fuse", F_OK) ? "there is no /dev/fuse here (modprobe fuse)" : fuse_said);
		goto out;
	}
	mounted = true;
	if (o->mounted)
		o->mounted(o->ctx);
	if (fuse_daemonize(o->foreground)) {
		r = tool_err(err, -EAGAIN, "%s: cannot go to the background: %s", path, strerror(errno));
		goto out;
	}
	m->background = !o->foreground;
	r = serve(m, session, dir, err);
out:
	if (mounted)
		fuse_session_unmount(session);
	mount_release_nodes(m);
	if (session)
		fuse_session_destroy(session);
	fuse_opt_free_args(&args);
	return r;
}

int seal_tool_mount(const char *path, u8 key[SEAL_KEY_BYTES], const char *dir, const struct seal_mount_options *o,
		    struct seal_tool_err *err)
{
	struct mount m = {.read_only = o->read_only, .uid = o->keep_owner ? 0 : getuid(), .gid = o->keep_owner ? 0 : getgid()};
	char *full = realpath(path, NULL), *at = realpath(dir, NULL);
	struct stat st;
	int r = 0;
	if (!full || !at)
		r = tool_err(err, -errno, "%s: %s", full ? dir : path, strerror(errno));
	else if (stat(at, &st) || !S_ISDIR(st.st_mode))
		r = tool_err(err, -ENOTDIR, "%s is no folder", dir);
	if (r)
		goto out;
	prctl(PR_SET_DUMPABLE, 0); // keys stay in memory as long as the mount: no core files
	r = tool_mount(&m.t, full, key, o->read_only ? SEAL_RDONLY : o->discard ? SEAL_DISCARD : 0, err);
	explicit_bzero(key, SEAL_KEY_BYTES);
	if (r)
		goto out;
	m.buf = malloc(TOOL_CHUNK);
	r = m.buf ? session_run(&m, full, at, o, err) : tool_err(err, -ENOMEM, "out of memory");
	r = tool_unmount(&m.t, r, err);
	if (r && m.background)
		mount_say(&m, err->text);
	if (m.buf)
		explicit_bzero(m.buf, TOOL_CHUNK);
	free(m.buf);
out:
	explicit_bzero(key, SEAL_KEY_BYTES);
	free(full);
	free(at);
	return r;
}
