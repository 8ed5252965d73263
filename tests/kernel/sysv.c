// SPDX-License-Identifier: Apache-2.0
// System V semaphores, message queues and shared memory (man 7 sysvipc).
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <sys/ipc.h>
#include <sys/msg.h>
#include <sys/sem.h>
#include <sys/shm.h>

#include "tests/kernel/t.h"

union semun {
	int val;
	struct semid_ds *buf;
	unsigned short *array;
	struct seminfo *info;
};

// Waits until a file of /proc shows what another process is expected to do: here until `n` tasks wait.
static void until_waiting(int id, int num, int cmd, int n)
{
	while (semctl(id, num, cmd) != n)
		usleep(1000);
}

static int sems(int n)
{
	return OK(semget(IPC_PRIVATE, n, 0600));
}

static int op1(int id, int num, int op, int flags)
{
	struct sembuf b = {(unsigned short)num, (short)op, (short)flags};
	return semop(id, &b, 1);
}

static int val(int id, int num) { return semctl(id, num, GETVAL); }
static void done(int id) { semctl(id, 0, IPC_RMID); }

TEST(sem_values)
{
	int id = sems(3);
	unsigned short v[3] = {4, 5, 6};
	EQ(val(id, 0), 0);
	OK(semctl(id, 1, SETVAL, (union semun){.val = 7}));
	EQ(val(id, 1), 7);
	EQ(semctl(id, 1, GETPID), getpid());
	EQ(semctl(id, 0, GETPID), 0);
	OK(semctl(id, 0, SETALL, (union semun){.array = v}));
	memset(v, 0, sizeof(v));
	OK(semctl(id, 0, GETALL, (union semun){.array = v}));
	CHECK(v[0] == 4 && v[1] == 5 && v[2] == 6);
	ERR(semctl(id, 3, GETVAL), EINVAL);
	ERR(semctl(id, 0, SETVAL, (union semun){.val = -1}), ERANGE);
	ERR(semctl(id, 0, SETVAL, (union semun){.val = 32768}), ERANGE);
	v[1] = 40000;
	ERR(semctl(id, 0, SETALL, (union semun){.array = v}), ERANGE);
	EQ(val(id, 0), 4);
	OK(semctl(id, 0, IPC_RMID));
	ERR(semctl(id, 0, GETVAL), EINVAL);
	ERR(op1(id, 0, 1, 0), EINVAL);
	ERR(semctl(-1, 0, GETVAL), EINVAL);
}

TEST(sem_keys)
{
	key_t key = 0x10000000 + getpid();
	ERR(semget(key, 0, 0), ENOENT);
	ERR(semget(key, 0, IPC_CREAT | 0600), EINVAL);
	int id = OK(semget(key, 2, IPC_CREAT | IPC_EXCL | 0600));
	EQ(semget(key, 2, IPC_CREAT | 0600), id);
	EQ(semget(key, 0, 0), id);
	EQ(semget(key, 1, 0), id);
	ERR(semget(key, 3, 0), EINVAL);
	ERR(semget(key, 2, IPC_CREAT | IPC_EXCL), EEXIST);
	ERR(semget(key, -1, 0), EINVAL);
	ERR(semget(IPC_PRIVATE, 40000, 0600), EINVAL);
	struct semid_ds ds;
	OK(semctl(id, 0, IPC_STAT, (union semun){.buf = &ds}));
	EQ(ds.sem_nsems, 2);
	EQ(ds.sem_perm.__key, key);
	EQ(ds.sem_perm.mode, 0600);
	EQ(ds.sem_otime, 0);
	CHECK(ds.sem_ctime > 1600000000);
	ds.sem_perm.mode = 0666;
	OK(semctl(id, 0, IPC_SET, (union semun){.buf = &ds}));
	OK(semctl(id, 0, IPC_STAT, (union semun){.buf = &ds}));
	EQ(ds.sem_perm.mode, 0666);
	done(id);
	ERR(semget(key, 0, 0), ENOENT);
}

TEST(sem_operations_at_once)
{
	int id = sems(2);
	struct sembuf b[3] = {{0, 2, 0}, {1, -1, IPC_NOWAIT}, {0, 1, 0}};
	ERR(semop(id, b, 3), EAGAIN);
	EQ(val(id, 0), 0); // nothing was done
	b[1].sem_op = 1;
	OK(semop(id, b, 3));
	EQ(val(id, 0), 3);
	EQ(val(id, 1), 1);
	ERR(op1(id, 0, 0, IPC_NOWAIT), EAGAIN);
	OK(op1(id, 0, -3, 0));
	OK(op1(id, 0, 0, 0));
	ERR(op1(id, 2, 1, 0), EFBIG);
	OK(op1(id, 0, 32767, 0));
	ERR(op1(id, 0, 1, 0), ERANGE);
	ERR(semop(id, b, 0), EINVAL);
	ERR(semop(id, b, 501), E2BIG);
	ERR(semop(id, (void *)8, 1), EFAULT);
	done(id);
}

TEST(sem_wait_and_wake)
{
	int id = sems(1), st;
	pid_t kid = OK(fork());
	if (!kid)
		_exit(op1(id, 0, -2, 0) ? 1 : 0);
	until_waiting(id, 0, GETNCNT, 1);
	EQ(semctl(id, 0, GETZCNT), 0);
	OK(op1(id, 0, 1, 0));
	EQ(semctl(id, 0, GETNCNT), 1);
	OK(op1(id, 0, 2, 0));
	EQ(waitpid(kid, &st, 0), kid);
	EQ(st, 0);
	EQ(val(id, 0), 1);
	EQ(semctl(id, 0, GETPID), kid);
	// for zero
	kid = OK(fork());
	if (!kid)
		_exit(op1(id, 0, 0, 0) ? 1 : 0);
	until_waiting(id, 0, GETZCNT, 1);
	OK(semctl(id, 0, SETVAL, (union semun){.val = 0}));
	EQ(waitpid(kid, &st, 0), kid);
	EQ(st, 0);
	done(id);
}

TEST(sem_oldest_possible_first)
{
	int id = sems(1), st;
	pid_t big = OK(fork());
	if (!big)
		_exit(op1(id, 0, -3, 0) ? 1 : 0);
	until_waiting(id, 0, GETNCNT, 1);
	pid_t small = OK(fork());
	if (!small)
		_exit(op1(id, 0, -1, 0) ? 1 : 0);
	until_waiting(id, 0, GETNCNT, 2);
	OK(op1(id, 0, 1, 0)); // enough for the second only
	EQ(waitpid(small, &st, 0), small);
	EQ(st, 0);
	EQ(semctl(id, 0, GETNCNT), 1);
	OK(op1(id, 0, 3, 0));
	EQ(waitpid(big, &st, 0), big);
	EQ(val(id, 0), 0);
	done(id);
}

TEST(sem_removed_while_waiting)
{
	int id = sems(1), st;
	pid_t kid = OK(fork());
	if (!kid)
		_exit(op1(id, 0, -1, 0) == -1 && errno == EIDRM ? 0 : 1);
	until_waiting(id, 0, GETNCNT, 1);
	OK(semctl(id, 0, IPC_RMID));
	EQ(waitpid(kid, &st, 0), kid);
	EQ(st, 0);
}

static void nothing(int sig) { (void)sig; }

TEST(sem_signal_and_timeout)
{
	int id = sems(1), st;
	struct sembuf b = {0, -1, 0};
	struct timespec ts = {0, 20000000}, zero = {0, 0}, bad = {0, 1000000000};
	ERR(semtimedop(id, &b, 1, &ts), EAGAIN);
	ERR(semtimedop(id, &b, 1, &zero), EAGAIN);
	ERR(semtimedop(id, &b, 1, &bad), EINVAL);
	EQ(semctl(id, 0, GETNCNT), 0);
	pid_t kid = OK(fork());
	if (!kid) {
		struct sigaction sa = {.sa_handler = nothing, .sa_flags = SA_RESTART};
		sigaction(SIGUSR1, &sa, NULL);
		_exit(op1(id, 0, -1, 0) == -1 && errno == EINTR ? 0 : 1); // never restarted
	}
	until_waiting(id, 0, GETNCNT, 1);
	kill(kid, SIGUSR1);
	EQ(waitpid(kid, &st, 0), kid);
	EQ(st, 0);
	EQ(semctl(id, 0, GETNCNT), 0);
	done(id);
}

TEST(sem_undo_at_exit)
{
	int id = sems(2), st;
	OK(semctl(id, 0, SETVAL, (union semun){.val = 5}));
	pid_t kid = OK(fork());
	if (!kid) {
		if (op1(id, 0, -3, SEM_UNDO) || op1(id, 1, 4, SEM_UNDO) || op1(id, 1, -1, 0))
			_exit(1);
		_exit(val(id, 0) == 2 ? 0 : 2);
	}
	EQ(waitpid(kid, &st, 0), kid);
	EQ(st, 0);
	EQ(val(id, 0), 5);
	EQ(val(id, 1), 0); // 3 - 4 stops at zero
	EQ(semctl(id, 0, GETPID), kid);
	// a killed holder lets the next one go on
	kid = OK(fork());
	if (!kid) {
		if (op1(id, 0, -5, SEM_UNDO))
			_exit(1);
		pause();
	}
	while (val(id, 0))
		usleep(1000);
	pid_t next = OK(fork());
	if (!next)
		_exit(op1(id, 0, -5, SEM_UNDO) ? 1 : 0);
	until_waiting(id, 0, GETNCNT, 1);
	kill(kid, SIGKILL);
	EQ(waitpid(kid, NULL, 0), kid);
	EQ(waitpid(next, &st, 0), next);
	EQ(st, 0);
	EQ(val(id, 0), 5);
	done(id);
}

TEST(sem_undo_forgotten_by_setval)
{
	int id = sems(1), st;
	pid_t kid = OK(fork());
	if (!kid) {
		if (op1(id, 0, 3, SEM_UNDO) || semctl(id, 0, SETVAL, (union semun){.val = 9}))
			_exit(1);
		_exit(0);
	}
	EQ(waitpid(kid, &st, 0), kid);
	EQ(st, 0);
	EQ(val(id, 0), 9);
	// fork does not inherit adjustments, a removed set has none
	OK(op1(id, 0, 1, SEM_UNDO));
	kid = OK(fork());
	if (!kid)
		_exit(0);
	EQ(waitpid(kid, &st, 0), kid);
	EQ(val(id, 0), 10);
	done(id);
}

static void *undo_thread(void *p)
{
	op1((int)(intptr_t)p, 0, 2, SEM_UNDO);
	return NULL;
}

TEST(sem_undo_belongs_to_the_process)
{
	int id = sems(1);
	pthread_t t;
	ZERO(pthread_create(&t, NULL, undo_thread, (void *)(intptr_t)id));
	ZERO(pthread_join(t, NULL));
	EQ(val(id, 0), 2);
	done(id);
}

static int undo_seen;
static void *undo_waits(void *p)
{
	struct sembuf op = {0, -1, SEM_UNDO};
	OK(semop((int)(intptr_t)p, &op, 1));
	while (!__atomic_load_n(&undo_seen, __ATOMIC_SEQ_CST))
		t_sleep_ms(1);
	return NULL;
}

// A thread that leaves the shared adjustments takes nothing from one that waits with them: they are given back when that one ends.
TEST(sem_undo_left_beside_a_waiter)
{
	int id = sems(1);
	pid_t p = OK(fork());
	if (!p) {
		pthread_t t;
		ZERO(pthread_create(&t, NULL, undo_waits, (void *)(intptr_t)id));
		while (semctl(id, 0, GETNCNT) != 1)
			t_sleep_ms(1);
		OK(unshare(CLONE_SYSVSEM));
		struct sembuf op = {0, 5, 0};
		OK(semop(id, &op, 1));
		while (semctl(id, 0, GETNCNT))
			t_sleep_ms(1);
		EQ(semctl(id, 0, GETVAL), 4);
		__atomic_store_n(&undo_seen, 1, __ATOMIC_SEQ_CST);
		ZERO(pthread_join(t, NULL));
		_exit(0);
	}
	EQ(t_wait(p), 0);
	EQ(semctl(id, 0, GETVAL), 5);
	done(id);
}

TEST(sem_many_processes)
{
	enum { KIDS = 8, ROUNDS = 300 };
	int id = sems(2), shm = OK(shmget(IPC_PRIVATE, 4096, 0600));
	volatile int *count = shmat(shm, NULL, 0);
	OK(semctl(id, 0, SETVAL, (union semun){.val = 1}));
	for (int k = 0; k < KIDS; k++)
		if (OK(fork()) == 0) {
			for (int i = 0; i < ROUNDS; i++) {
				if (op1(id, 0, -1, SEM_UNDO))
					_exit(1);
				*count = *count + 1;
				if (op1(id, 0, 1, SEM_UNDO))
					_exit(1);
			}
			_exit(0);
		}
	for (int k = 0, st; k < KIDS; k++) {
		OK(wait(&st));
		EQ(st, 0);
	}
	EQ(*count, KIDS * ROUNDS);
	EQ(val(id, 0), 1);
	done(id);
	shmctl(shm, IPC_RMID, NULL);
}

TEST(sem_info_and_stat)
{
	int id = sems(4);
	struct seminfo si;
	int last = OK(semctl(0, 0, SEM_INFO, (union semun){.info = &si}));
	CHECK(si.semusz >= 1 && si.semaem >= 4);
	OK(semctl(0, 0, IPC_INFO, (union semun){.info = &si}));
	EQ(si.semmsl, 32000);
	EQ(si.semopm, 500);
	EQ(si.semvmx, 32767);
	bool found = false;
	for (int i = 0; i <= last; i++) {
		struct semid_ds ds;
		if (semctl(i, 0, SEM_STAT, (union semun){.buf = &ds}) == id)
			found = ds.sem_nsems == 4;
	}
	CHECK(found);
	done(id);
}

// --- message queues

struct note {
	long type;
	char text[64];
};

static int snd(int id, long type, const char *s, int flags)
{
	struct note m = {.type = type};
	strcpy(m.text, s);
	return msgsnd(id, &m, strlen(s), flags);
}

static const char *rcv(int id, long type, int flags)
{
	static struct note m;
	memset(&m, 0, sizeof(m));
	ssize_t n = msgrcv(id, &m, sizeof(m.text) - 1, type, flags);
	return n < 0 ? NULL : m.text;
}

static int queue(void) { return OK(msgget(IPC_PRIVATE, 0600)); }

TEST(msg_order_and_types)
{
	int id = queue();
	OK(snd(id, 3, "three", 0));
	OK(snd(id, 1, "one", 0));
	OK(snd(id, 2, "two", 0));
	OK(snd(id, 3, "again", 0));
	STREQ(rcv(id, 2, 0), "two");
	STREQ(rcv(id, -3, 0), "one");
	STREQ(rcv(id, 0, 0), "three");
	STREQ(rcv(id, -9, 0), "again");
	CHECK(!rcv(id, 0, IPC_NOWAIT) && errno == ENOMSG);
	OK(snd(id, 1, "a", 0));
	OK(snd(id, 2, "b", 0));
	STREQ(rcv(id, 1, MSG_EXCEPT), "b");
	CHECK(!rcv(id, 1, MSG_EXCEPT | IPC_NOWAIT) && errno == ENOMSG);
	STREQ(rcv(id, LONG_MIN, 0), "a");
	OK(snd(id, 7, "", 0));
	STREQ(rcv(id, 7, 0), "");
	OK(msgctl(id, IPC_RMID, NULL));
}

TEST(msg_sizes)
{
	int id = queue();
	static struct { long type; char text[9000]; } m = {1, ""};
	ERR(msgsnd(id, &m, 8193, 0), EINVAL);
	ERR(msgsnd(id, &m, (size_t)-1, 0), EINVAL);
	m.type = 0;
	ERR(msgsnd(id, &m, 1, 0), EINVAL);
	m.type = -1;
	ERR(msgsnd(id, &m, 1, 0), EINVAL);
	m.type = 1;
	memset(m.text, 'x', 8192);
	OK(msgsnd(id, &m, 8192, 0));
	OK(msgsnd(id, &m, 8192, 0));
	ERR(msgsnd(id, &m, 1, IPC_NOWAIT), EAGAIN);
	ERR(msgrcv(id, &m, 10, 0, 0), E2BIG);
	memset(m.text, 0, sizeof(m.text));
	EQ(msgrcv(id, &m, 10, 0, MSG_NOERROR), 10);
	CHECK(m.text[9] == 'x' && m.text[10] == 0);
	struct msqid_ds ds;
	OK(msgctl(id, IPC_STAT, &ds));
	EQ(ds.msg_qnum, 1);
	EQ(ds.msg_qbytes, 16384);
	EQ(ds.__msg_cbytes, 8192);
	EQ(ds.msg_lspid, getpid());
	EQ(ds.msg_lrpid, getpid());
	ERR(msgrcv(id, &m, (size_t)-1, 0, 0), EINVAL);
	OK(msgctl(id, IPC_RMID, NULL));
	ERR(msgsnd(id, &m, 1, 0), EINVAL);
}

TEST(msg_copy)
{
	int id = queue();
	OK(snd(id, 5, "first", 0));
	OK(snd(id, 6, "second", 0));
	const char *s = rcv(id, 1, MSG_COPY | IPC_NOWAIT);
	if (!s && errno == ENOSYS)
		SKIP("no MSG_COPY here");
	STREQ(s, "second");
	STREQ(rcv(id, 0, MSG_COPY | IPC_NOWAIT), "first");
	CHECK(!rcv(id, 2, MSG_COPY | IPC_NOWAIT) && errno == ENOMSG);
	CHECK(!rcv(id, 0, MSG_COPY) && errno == EINVAL);
	CHECK(!rcv(id, 0, MSG_COPY | MSG_EXCEPT | IPC_NOWAIT) && errno == EINVAL);
	STREQ(rcv(id, 0, 0), "first");
	OK(msgctl(id, IPC_RMID, NULL));
}

TEST(msg_keys_and_limits)
{
	key_t key = 0x20000000 + getpid();
	struct msqid_ds ds;
	ERR(msgget(key, 0), ENOENT);
	int id = OK(msgget(key, IPC_CREAT | IPC_EXCL | 0640));
	EQ(msgget(key, 0), id);
	ERR(msgget(key, IPC_CREAT | IPC_EXCL), EEXIST);
	OK(msgctl(id, IPC_STAT, &ds));
	EQ(ds.msg_perm.mode, 0640);
	ds.msg_qbytes = 3;
	OK(msgctl(id, IPC_SET, &ds));
	OK(snd(id, 1, "abc", IPC_NOWAIT));
	OK(snd(id, 1, "", IPC_NOWAIT));
	OK(snd(id, 1, "", IPC_NOWAIT));
	ERR(snd(id, 1, "", IPC_NOWAIT), EAGAIN); // no more messages than bytes
	struct msginfo mi;
	OK(msgctl(0, IPC_INFO, (struct msqid_ds *)&mi));
	EQ(mi.msgmax, 8192);
	EQ(mi.msgmnb, 16384);
	OK(msgctl(id, IPC_RMID, NULL));
	ERR(msgctl(id, IPC_STAT, &ds), EINVAL);
	ERR(msgctl(id, 99, &ds), EINVAL);
}

static bool sleeps(pid_t pid)
{
	char path[64], *s;
	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	s = strrchr(t_get(path), ')');
	return s && s[2] == 'S';
}

static void until_asleep(pid_t pid)
{
	while (!sleeps(pid))
		usleep(1000);
}

TEST(msg_reader_waits)
{
	int id = queue(), st;
	pid_t kid = OK(fork());
	if (!kid) {
		const char *s = rcv(id, 4, 0);
		_exit(s && !strcmp(s, "four") ? 0 : 1);
	}
	until_asleep(kid);
	OK(snd(id, 3, "three", 0));
	OK(snd(id, 4, "four", 0));
	EQ(waitpid(kid, &st, 0), kid);
	EQ(st, 0);
	STREQ(rcv(id, 0, 0), "three");
	OK(msgctl(id, IPC_RMID, NULL));
}

TEST(msg_writer_waits)
{
	int id = queue(), st;
	struct msqid_ds ds;
	OK(msgctl(id, IPC_STAT, &ds));
	ds.msg_qbytes = 10;
	OK(msgctl(id, IPC_SET, &ds));
	OK(snd(id, 1, "12345678", 0));
	pid_t kid = OK(fork());
	if (!kid)
		_exit(snd(id, 2, "xyz", 0) ? 1 : 0);
	until_asleep(kid);
	STREQ(rcv(id, 0, 0), "12345678");
	EQ(waitpid(kid, &st, 0), kid);
	EQ(st, 0);
	STREQ(rcv(id, 0, 0), "xyz");
	OK(msgctl(id, IPC_RMID, NULL));
}

TEST(msg_removed_or_interrupted)
{
	int id = queue(), st;
	pid_t kid = OK(fork());
	if (!kid)
		_exit(!rcv(id, 0, 0) && errno == EIDRM ? 0 : 1);
	until_asleep(kid);
	pid_t kid2 = OK(fork());
	if (!kid2) {
		struct sigaction sa = {.sa_handler = nothing, .sa_flags = SA_RESTART};
		sigaction(SIGUSR1, &sa, NULL);
		_exit(!rcv(id, 0, 0) && errno == EINTR ? 0 : 1);
	}
	until_asleep(kid2);
	kill(kid2, SIGUSR1);
	EQ(waitpid(kid2, &st, 0), kid2);
	EQ(st, 0);
	OK(msgctl(id, IPC_RMID, NULL));
	EQ(waitpid(kid, &st, 0), kid);
	EQ(st, 0);
}

TEST(msg_bad_memory_keeps_nothing)
{
	int id = queue();
	ERR(msgsnd(id, (void *)8, 4, 0), EFAULT);
	OK(snd(id, 1, "x", 0));
	ERR(msgrcv(id, (void *)8, 4, 0, 0), EFAULT);
	OK(msgctl(id, IPC_RMID, NULL));
}

// --- shared memory

TEST(shm_lives_until_the_last_detaches)
{
	struct shmid_ds ds;
	int id = OK(shmget(IPC_PRIVATE, 5000, 0600)), st;
	char *a = shmat(id, NULL, 0), *b;
	CHECK(a != (void *)-1);
	strcpy(a, "kept");
	OK(shmctl(id, IPC_STAT, &ds));
	EQ(ds.shm_nattch, 1);
	EQ(ds.shm_segsz, 5000);
	EQ(ds.shm_cpid, getpid());
	OK(shmctl(id, IPC_RMID, NULL));
	OK(shmctl(id, IPC_STAT, &ds));
	EQ(ds.shm_perm.mode, 0600 | SHM_DEST);
	b = shmat(id, NULL, SHM_RDONLY); // others may still join
	CHECK(b != (void *)-1 && b != a);
	STREQ(b, "kept");
	pid_t kid = OK(fork());
	if (!kid)
		_exit(strcmp(b, "kept"));
	EQ(waitpid(kid, &st, 0), kid);
	EQ(st, 0);
	OK(shmdt(b));
	ERR(shmdt(b), EINVAL);
	OK(shmdt(a));
	ERR(shmctl(id, IPC_STAT, &ds), EINVAL);
	ERR(shmat(id, NULL, 0), EINVAL);
}

TEST(shm_keys)
{
	key_t key = 0x30000000 + getpid();
	ERR(shmget(key, 100, 0), ENOENT);
	ERR(shmget(key, 0, IPC_CREAT), EINVAL);
	int id = OK(shmget(key, 100, IPC_CREAT | IPC_EXCL | 0600));
	EQ(shmget(key, 0, 0), id);
	EQ(shmget(key, 100, IPC_CREAT), id);
	ERR(shmget(key, 101, 0), EINVAL);
	ERR(shmget(key, 100, IPC_CREAT | IPC_EXCL), EEXIST);
	OK(shmctl(id, IPC_RMID, NULL));
	ERR(shmget(key, 100, 0), ENOENT);
	ERR(shmat(id, NULL, 0), EINVAL);
	ERR(shmctl(id, 99, NULL), EINVAL);
}

// --- /proc/sysvipc

static bool listed(const char *file, int id)
{
	char line[512];
	bool found = false;
	FILE *f = fopen(file, "r");
	if (!f || !fgets(line, sizeof(line), f))
		t_fail(__LINE__, "%s: errno %d", file, errno);
	while (fgets(line, sizeof(line), f)) {
		int key, got;
		if (sscanf(line, "%d %d", &key, &got) == 2 && got == id)
			found = true;
	}
	fclose(f);
	return found;
}

TEST(proc_lists_them)
{
	int s = sems(2), q = queue(), m = OK(shmget(IPC_PRIVATE, 100, 0600));
	CHECK(listed("/proc/sysvipc/sem", s));
	CHECK(listed("/proc/sysvipc/msg", q));
	CHECK(listed("/proc/sysvipc/shm", m));
	done(s);
	OK(msgctl(q, IPC_RMID, NULL));
	OK(shmctl(m, IPC_RMID, NULL));
	CHECK(!listed("/proc/sysvipc/sem", s));
	CHECK(!listed("/proc/sysvipc/msg", q));
	CHECK(!listed("/proc/sysvipc/shm", m));
}
