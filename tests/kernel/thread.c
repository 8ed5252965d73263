// SPDX-License-Identifier: Apache-2.0
// Threads as programs use them: pthreads on top of clone, futex, TLS, robust lists and exit.
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "tests/kernel/t.h"

static void *give_back(void *arg)
{
	return (void *)((long)arg * 2);
}

TEST(create_and_join)
{
	for (long i = 0; i < 50; i++) {
		pthread_t t;
		void *r;
		ZERO(pthread_create(&t, NULL, give_back, (void *)i));
		ZERO(pthread_join(t, &r));
		EQ((long)r, i * 2);
	}
}

TEST(sixty_four_threads)
{
	pthread_t t[64];
	void *r;
	for (long i = 0; i < 64; i++)
		ZERO(pthread_create(&t[i], NULL, give_back, (void *)i));
	for (long i = 0; i < 64; i++) {
		ZERO(pthread_join(t[i], &r));
		EQ((long)r, i * 2);
	}
}

static void *ids(void *arg)
{
	pid_t *v = arg;
	v[0] = getpid();
	v[1] = (pid_t)syscall(SYS_gettid);
	v[2] = getppid();
	return NULL;
}

TEST(ids_of_threads)
{
	pid_t v[3];
	pthread_t t;
	ZERO(pthread_create(&t, NULL, ids, v));
	ZERO(pthread_join(t, NULL));
	EQ(v[0], getpid());
	CHECK(v[1] != getpid() && v[1] > 0);
	EQ(v[2], getppid());
	EQ(syscall(SYS_gettid), getpid());
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static volatile long counter;

static void *count_up(void *arg)
{
	for (long i = 0; i < (long)arg; i++) {
		pthread_mutex_lock(&mutex);
		counter++;
		pthread_mutex_unlock(&mutex);
	}
	return NULL;
}

TEST(mutex_excludes)
{
	pthread_t t[8];
	for (int i = 0; i < 8; i++)
		ZERO(pthread_create(&t[i], NULL, count_up, (void *)20000));
	for (int i = 0; i < 8; i++)
		ZERO(pthread_join(t[i], NULL));
	EQ(counter, 160000);
}

static void *cond_pong(void *arg)
{
	for (int i = 0; i < 1000; i++) {
		pthread_mutex_lock(&mutex);
		while (counter % 2 == 0)
			pthread_cond_wait(&cond, &mutex);
		counter++;
		pthread_cond_broadcast(&cond);
		pthread_mutex_unlock(&mutex);
	}
	return arg;
}

TEST(condition_ping_pong)
{
	pthread_t t;
	ZERO(pthread_create(&t, NULL, cond_pong, NULL));
	for (int i = 0; i < 1000; i++) {
		pthread_mutex_lock(&mutex);
		while (counter % 2 == 1)
			pthread_cond_wait(&cond, &mutex);
		counter++;
		pthread_cond_signal(&cond);
		pthread_mutex_unlock(&mutex);
	}
	ZERO(pthread_join(t, NULL));
	EQ(counter, 2000);
}

static struct timespec in_ms(clockid_t c, long ms)
{
	struct timespec ts;
	clock_gettime(c, &ts);
	ts.tv_nsec += ms * 1000000;
	ts.tv_sec += ts.tv_nsec / 1000000000;
	ts.tv_nsec %= 1000000000;
	return ts;
}

TEST(timed_waits)
{
	pthread_mutex_lock(&mutex);
	struct timespec ts = in_ms(CLOCK_REALTIME, 20);
	EQ(pthread_cond_timedwait(&cond, &mutex, &ts), ETIMEDOUT);
	struct timespec now;
	OK(clock_gettime(CLOCK_REALTIME, &now));
	CHECK(now.tv_sec > ts.tv_sec || (now.tv_sec == ts.tv_sec && now.tv_nsec >= ts.tv_nsec));
	EQ(pthread_mutex_timedlock(&mutex, &ts), ETIMEDOUT);
	EQ(pthread_mutex_trylock(&mutex), EBUSY);
	sem_t s;
	OK(sem_init(&s, 0, 1));
	OK(sem_wait(&s));
	ts = in_ms(CLOCK_REALTIME, 10);
	ERR(sem_timedwait(&s, &ts), ETIMEDOUT);
}

static pthread_rwlock_t rw = PTHREAD_RWLOCK_INITIALIZER;
static long a_value, b_value;

static void *reader(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		pthread_rwlock_rdlock(&rw);
		if (a_value != b_value)
			t_fail(__LINE__, "torn: %ld %ld", a_value, b_value);
		pthread_rwlock_unlock(&rw);
	}
	return arg;
}

static void *writer(void *arg)
{
	for (int i = 0; i < 2000; i++) {
		pthread_rwlock_wrlock(&rw);
		a_value++;
		b_value++;
		pthread_rwlock_unlock(&rw);
	}
	return arg;
}

TEST(rwlock)
{
	pthread_t t[6];
	for (int i = 0; i < 6; i++)
		ZERO(pthread_create(&t[i], NULL, i < 4 ? reader : writer, NULL));
	for (int i = 0; i < 6; i++)
		ZERO(pthread_join(t[i], NULL));
	EQ(a_value, 4000);
}

static pthread_barrier_t barrier;
static int rounds[8];

static void *at_barrier(void *arg)
{
	long me = (long)arg;
	for (int i = 0; i < 50; i++) {
		rounds[me] = i;
		pthread_barrier_wait(&barrier);
		for (int k = 0; k < 8; k++)
			if (rounds[k] != i)
				t_fail(__LINE__, "thread %d is at %d, not %d", k, rounds[k], i);
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

TEST(barrier_rounds)
{
	pthread_t t[8];
	ZERO(pthread_barrier_init(&barrier, NULL, 8));
	for (long i = 0; i < 8; i++)
		ZERO(pthread_create(&t[i], NULL, at_barrier, (void *)i));
	for (int i = 0; i < 8; i++)
		ZERO(pthread_join(t[i], NULL));
}

static __thread int tls_zero;
static __thread int tls_init = 77;
static pthread_key_t key;
static volatile int destroyed;

static void destroy(void *p)
{
	__atomic_fetch_add(&destroyed, (int)(long)p, __ATOMIC_SEQ_CST); // ten threads end at once
}

static void *use_tls(void *arg)
{
	if (tls_zero != 0 || tls_init != 77)
		t_fail(__LINE__, "fresh TLS is %d %d", tls_zero, tls_init);
	tls_zero = tls_init = (int)(long)arg;
	pthread_setspecific(key, arg);
	for (int i = 0; i < 100; i++) {
		sched_yield();
		if (tls_zero != (long)arg || pthread_getspecific(key) != arg)
			t_fail(__LINE__, "TLS of another thread");
	}
	return NULL;
}

TEST(thread_local_storage)
{
	pthread_t t[10];
	ZERO(pthread_key_create(&key, destroy));
	for (long i = 0; i < 10; i++)
		ZERO(pthread_create(&t[i], NULL, use_tls, (void *)(i + 1)));
	for (int i = 0; i < 10; i++)
		ZERO(pthread_join(t[i], NULL));
	EQ(tls_zero, 0);
	EQ(tls_init, 77);
	EQ(destroyed, 55);
}

static void *set_errno(void *arg)
{
	errno = 1234;
	return arg;
}

TEST(errno_is_per_thread)
{
	pthread_t t;
	ZERO(pthread_create(&t, NULL, set_errno, NULL));
	ZERO(pthread_join(t, NULL));
	errno = 0;
	EQ(errno, 0);
}

static sem_t done;

static void *post(void *arg)
{
	sem_post(&done);
	return arg;
}

TEST(detached)
{
	OK(sem_init(&done, 0, 0));
	for (int i = 0; i < 50; i++) {
		pthread_t t;
		ZERO(pthread_create(&t, NULL, post, NULL));
		ZERO(pthread_detach(t));
	}
	for (int i = 0; i < 50; i++)
		while (sem_wait(&done))
			;
}

static volatile int cleaned;
static void cleanup(void *arg)
{
	(void)arg;
	cleaned = 1;
}

static void *read_forever(void *arg)
{
	char c;
	pthread_cleanup_push(cleanup, NULL);
	if (read(*(int *)arg, &c, 1) >= 0)
		t_fail(__LINE__, "read came back");
	pthread_cleanup_pop(0);
	return NULL;
}

TEST(cancel_in_read)
{
	int p[2];
	void *r;
	pthread_t t;
	OK(pipe(p));
	ZERO(pthread_create(&t, NULL, read_forever, &p[0]));
	t_sleep_ms(10);
	ZERO(pthread_cancel(t));
	ZERO(pthread_join(t, &r));
	CHECK(r == PTHREAD_CANCELED);
	EQ(cleaned, 1);
}

static void *spin_forever(void *arg)
{
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
	sem_post(&done);
	for (volatile long i = 0;; i++)
		;
	return arg;
}

TEST(cancel_asynchronously)
{
	void *r;
	pthread_t t;
	OK(sem_init(&done, 0, 0));
	ZERO(pthread_create(&t, NULL, spin_forever, NULL));
	while (sem_wait(&done))
		;
	ZERO(pthread_cancel(t));
	ZERO(pthread_join(t, &r));
	CHECK(r == PTHREAD_CANCELED);
}

static void *exit_all(void *arg)
{
	_exit((int)(long)arg);
}

TEST(exit_group_from_thread)
{
	pid_t p = OK(fork());
	if (!p) {
		pthread_t t[5];
		int q[2];
		OK(pipe(q));
		for (int i = 0; i < 4; i++)
			ZERO(pthread_create(&t[i], NULL, read_forever, &q[0]));
		ZERO(pthread_create(&t[4], NULL, exit_all, (void *)33));
		for (;;)
			pause();
	}
	EQ(t_wait(p), 33);
}

TEST(exit_group_with_spinning_threads)
{
	pid_t p = OK(fork());
	if (!p) {
		pthread_t t[3];
		OK(sem_init(&done, 0, 0));
		for (int i = 0; i < 3; i++)
			ZERO(pthread_create(&t[i], NULL, spin_forever, NULL));
		for (int i = 0; i < 3; i++)
			while (sem_wait(&done))
				;
		_exit(34);
	}
	EQ(t_wait(p), 34);
}

static void *finish_late(void *arg)
{
	t_sleep_ms(20);
	_exit(35);
	return arg;
}

TEST(main_thread_ends_first)
{
	pid_t p = OK(fork());
	if (!p) {
		pthread_t t;
		ZERO(pthread_create(&t, NULL, finish_late, NULL));
		pthread_exit(NULL);
	}
	EQ(t_wait(p), 35);
}

TEST(last_thread_ends_process_with_zero)
{
	pid_t p = OK(fork());
	if (!p)
		syscall(SYS_exit, 36); // the only thread: its code is the process's
	EQ(t_wait(p), 36);
}

static void *run_exec(void *arg)
{
	execl(t_self, t_self, "--helper", "after_exec", (char *)arg, NULL);
	_exit(1);
}

HELPER(after_exec)
{
	// The thread that called exec has become the leader and is alone.
	int n = 0;
	DIR *d = opendir("/proc/self/task");
	struct dirent *e;
	while (d && (e = readdir(d)))
		n += e->d_name[0] != '.';
	return getpid() == atoi(argv[1]) && syscall(SYS_gettid) == getpid() && (!d || n == 1) ? 37 : 1;
}

TEST(exec_from_thread)
{
	pid_t p = OK(fork());
	if (!p) {
		pthread_t t[3];
		char pid[16];
		int q[2];
		OK(pipe(q));
		snprintf(pid, sizeof(pid), "%d", getpid());
		ZERO(pthread_create(&t[0], NULL, read_forever, &q[0]));
		ZERO(pthread_create(&t[1], NULL, read_forever, &q[0]));
		ZERO(pthread_create(&t[2], NULL, run_exec, pid));
		for (;;)
			pause();
	}
	EQ(t_wait(p), 37);
}

TEST(exec_from_main_with_threads)
{
	pid_t p = OK(fork());
	if (!p) {
		pthread_t t;
		char pid[16];
		OK(sem_init(&done, 0, 0));
		snprintf(pid, sizeof(pid), "%d", getpid());
		ZERO(pthread_create(&t, NULL, spin_forever, NULL));
		while (sem_wait(&done))
			;
		run_exec(pid);
	}
	EQ(t_wait(p), 37);
}

static void *fork_here(void *arg)
{
	pid_t p = fork();
	if (!p)
		_exit((int)(long)arg + (getpid() == syscall(SYS_gettid) ? 0 : 100));
	return (void *)(long)t_wait(p);
}

TEST(fork_from_threads)
{
	pthread_t t[6];
	void *r;
	for (long i = 0; i < 6; i++)
		ZERO(pthread_create(&t[i], NULL, fork_here, (void *)i));
	for (long i = 0; i < 6; i++) {
		ZERO(pthread_join(t[i], &r));
		EQ((long)r, i);
	}
}

static void *note_signal_thread(void *arg)
{
	return arg;
}

TEST(threads_after_fork)
{
	pthread_t t;
	ZERO(pthread_create(&t, NULL, note_signal_thread, NULL));
	ZERO(pthread_join(t, NULL));
	pid_t p = OK(fork());
	if (!p) {
		pthread_t u[4];
		void *r;
		for (long i = 0; i < 4; i++)
			ZERO(pthread_create(&u[i], NULL, give_back, (void *)i));
		for (long i = 0; i < 4; i++) {
			ZERO(pthread_join(u[i], &r));
			EQ((long)r, i * 2);
		}
		_exit(0);
	}
	EQ(t_wait(p), 0);
}

TEST(create_and_exit_many)
{
	// Slots must be recycled: 2000 threads one after another, in two lanes.
	for (int i = 0; i < 1000; i++) {
		pthread_t a, b;
		ZERO(pthread_create(&a, NULL, give_back, NULL));
		ZERO(pthread_create(&b, NULL, give_back, NULL));
		ZERO(pthread_join(a, NULL));
		ZERO(pthread_join(b, NULL));
	}
}

static void *memory_worker(void *arg)
{
	for (int i = 0; i < 300; i++) {
		size_t n = 4096 * (size_t)(1 + i % 7);
		char *m = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (m == MAP_FAILED)
			t_fail(__LINE__, "mmap: errno %d", errno);
		memset(m, (int)(long)arg, n);
		for (size_t k = 0; k < n; k += 511)
			if (m[k] != (char)(long)arg)
				t_fail(__LINE__, "memory of another thread");
		munmap(m, n);
	}
	return NULL;
}

TEST(mmap_in_parallel)
{
	pthread_t t[6];
	for (long i = 0; i < 6; i++)
		ZERO(pthread_create(&t[i], NULL, memory_worker, (void *)(i + 1)));
	for (int i = 0; i < 6; i++)
		ZERO(pthread_join(t[i], NULL));
}

static void *malloc_worker(void *arg)
{
	void *p[64] = {NULL};
	unsigned seed = (unsigned)(long)arg;
	for (int i = 0; i < 20000; i++) {
		seed = seed * 1103515245 + 12345;
		int k = (seed >> 16) % 64;
		free(p[k]);
		p[k] = malloc((seed >> 8) % 5000 + 1);
		*(char *)p[k] = 1;
	}
	for (int k = 0; k < 64; k++)
		free(p[k]);
	return NULL;
}

TEST(malloc_in_parallel)
{
	pthread_t t[4];
	for (long i = 0; i < 4; i++)
		ZERO(pthread_create(&t[i], NULL, malloc_worker, (void *)(i + 1)));
	for (int i = 0; i < 4; i++)
		ZERO(pthread_join(t[i], NULL));
}

static void *big_stack(void *arg)
{
	volatile char buf[900000];
	for (size_t i = 0; i < sizeof(buf); i += 1024)
		buf[i] = 1;
	return arg;
}

TEST(thread_stack_size)
{
	pthread_attr_t at;
	pthread_t t;
	ZERO(pthread_attr_init(&at));
	ZERO(pthread_attr_setstacksize(&at, 1 << 20));
	ZERO(pthread_create(&t, &at, big_stack, NULL));
	ZERO(pthread_join(t, NULL));
}

static void *name_self(void *arg)
{
	char buf[32] = "";
	prctl(PR_SET_NAME, "other");
	prctl(PR_GET_NAME, buf);
	return strcmp(buf, "other") ? NULL : arg;
}

TEST(name_per_thread)
{
	char buf[32] = "";
	pthread_t t;
	void *r;
	OK(prctl(PR_SET_NAME, "a name far too long for it"));
	ZERO(pthread_create(&t, NULL, name_self, buf));
	ZERO(pthread_join(t, &r));
	CHECK(r == buf);
	OK(prctl(PR_GET_NAME, buf));
	STREQ(buf, "a name far too ");
}

TEST(process_shared_mutex)
{
	struct {
		pthread_mutex_t m;
		long n;
	} *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(s != MAP_FAILED);
	pthread_mutexattr_t at;
	ZERO(pthread_mutexattr_init(&at));
	ZERO(pthread_mutexattr_setpshared(&at, PTHREAD_PROCESS_SHARED));
	ZERO(pthread_mutex_init(&s->m, &at));
	for (int k = 0; k < 4; k++)
		if (OK(fork()) == 0) {
			for (int i = 0; i < 5000; i++) {
				pthread_mutex_lock(&s->m);
				s->n++;
				pthread_mutex_unlock(&s->m);
			}
			_exit(0);
		}
	for (int k = 0; k < 4; k++)
		OK(wait(NULL));
	EQ(s->n, 20000);
}

TEST(robust_mutex_owner_died)
{
	pthread_mutex_t *m = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(m != MAP_FAILED);
	pthread_mutexattr_t at;
	ZERO(pthread_mutexattr_init(&at));
	ZERO(pthread_mutexattr_setpshared(&at, PTHREAD_PROCESS_SHARED));
	ZERO(pthread_mutexattr_setrobust(&at, PTHREAD_MUTEX_ROBUST));
	ZERO(pthread_mutex_init(m, &at));
	pid_t p = OK(fork());
	if (!p) {
		pthread_mutex_lock(m);
		raise(SIGKILL);
	}
	EQ(t_wait(p), 128 + SIGKILL);
	EQ(pthread_mutex_lock(m), EOWNERDEAD);
	ZERO(pthread_mutex_consistent(m));
	ZERO(pthread_mutex_unlock(m));
	ZERO(pthread_mutex_lock(m));
}

static void *hold_and_exit(void *arg)
{
	pthread_mutex_lock(arg);
	return NULL;
}

TEST(robust_mutex_thread_died)
{
	pthread_mutex_t m;
	pthread_mutexattr_t at;
	pthread_t t;
	ZERO(pthread_mutexattr_init(&at));
	ZERO(pthread_mutexattr_setrobust(&at, PTHREAD_MUTEX_ROBUST));
	ZERO(pthread_mutex_init(&m, &at));
	ZERO(pthread_create(&t, NULL, hold_and_exit, &m));
	ZERO(pthread_join(t, NULL));
	EQ(pthread_mutex_lock(&m), EOWNERDEAD);
}

TEST(affinity)
{
	cpu_set_t set;
	CPU_ZERO(&set);
	OK(sched_getaffinity(0, sizeof(set), &set));
	CHECK(CPU_COUNT(&set) >= 1);
	CHECK(sysconf(_SC_NPROCESSORS_ONLN) >= 1);
	int cpu = sched_getcpu();
	CHECK(cpu >= 0);
	OK(sched_setaffinity(0, sizeof(set), &set));
}
