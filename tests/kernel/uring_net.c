// SPDX-License-Identifier: Apache-2.0
// io_uring: sockets, registered files and buffers, provided buffers, messages between rings.
#include "tests/kernel/uring.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/un.h>

static void pair(int s[2]) { OK(socketpair(AF_UNIX, SOCK_STREAM, 0, s)); }

// A listener on a port of 127.0.0.1 that the kernel chose.
static int listener(struct sockaddr_in *a)
{
	socklen_t len = sizeof(*a);
	int l = OK(socket(AF_INET, SOCK_STREAM, 0));
	*a = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	OK(bind(l, (void *)a, sizeof(*a)));
	OK(listen(l, 16));
	OK(getsockname(l, (void *)a, &len));
	return l;
}

static int dial(struct sockaddr_in *a)
{
	int c = OK(socket(AF_INET, SOCK_STREAM, 0));
	OK(connect(c, (void *)a, sizeof(*a)));
	return c;
}

TEST(send_recv)
{
	struct ring r;
	char buf[16] = "";
	int s[2];
	ring_new(&r, 8, 0);
	pair(s);
	sqe(&r, IORING_OP_RECV, s[0], buf, sizeof(buf), 0, 1);
	EQ(enter(r.fd, 1, 0, 0), 1);
	EQ(ready(&r), 0);
	sqe(&r, IORING_OP_SEND, s[1], "hello", 5, 0, 2);
	EQ(enter(r.fd, 1, 2, IORING_ENTER_GETEVENTS), 1);
	EQ(result_of(&r, 2, 1), 5);
	STREQ(buf, "hello");
	sqe(&r, IORING_OP_RECV, s[0], buf, sizeof(buf), 0, 1)->msg_flags = MSG_DONTWAIT;
	EQ(one(&r), -EAGAIN);
	int p[2];
	OK(pipe(p));
	sqe(&r, IORING_OP_RECV, p[0], buf, sizeof(buf), 0, 1);
	EQ(one(&r), -ENOTSOCK);
	// MSG_WAITALL gathers
	sqe(&r, IORING_OP_RECV, s[0], buf, 6, 0, 3)->msg_flags = MSG_WAITALL;
	EQ(enter(r.fd, 1, 0, 0), 1);
	OK(write(s[1], "abc", 3));
	EQ(enter(r.fd, 0, 0, IORING_ENTER_GETEVENTS), 0);
	EQ(ready(&r), 0);
	OK(write(s[1], "def", 3));
	COMPLETES(&r, 3, 6);
	EQ(memcmp(buf, "abcdef", 6), 0);
	// no SIGPIPE
	close(s[0]);
	sqe(&r, IORING_OP_SEND, s[1], "hello", 5, 0, 2);
	EQ(one(&r), -EPIPE);
	ring_free(&r);
}

TEST(poll_first)
{
	struct ring r;
	char buf[16] = "";
	int s[2];
	ring_new(&r, 8, 0);
	pair(s);
	OK(write(s[1], "x", 1));
	sqe(&r, IORING_OP_RECV, s[0], buf, sizeof(buf), 0, 1)->ioprio = IORING_RECVSEND_POLL_FIRST;
	EQ(one(&r), 1);
	ring_free(&r);
}

TEST(messages)
{
	struct ring r;
	char a[4] = "abc", b[8] = "", c[8] = "", ctl[64];
	int s[2], p[2];
	struct iovec out[2] = {{a, 2}, {a + 2, 1}}, in[2] = {{b, 1}, {c, 7}};
	ring_new(&r, 8, 0);
	pair(s);
	OK(pipe(p));
	struct msghdr m = {.msg_iov = out, .msg_iovlen = 2, .msg_control = ctl, .msg_controllen = CMSG_SPACE(sizeof(int))};
	struct cmsghdr *h = CMSG_FIRSTHDR(&m);
	h->cmsg_level = SOL_SOCKET;
	h->cmsg_type = SCM_RIGHTS;
	h->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(h), &p[1], sizeof(int));
	sqe(&r, IORING_OP_SENDMSG, s[0], &m, 1, 0, 1);
	EQ(one(&r), 3);
	memset(ctl, 0, sizeof(ctl));
	struct msghdr g = {.msg_iov = in, .msg_iovlen = 2, .msg_control = ctl, .msg_controllen = sizeof(ctl)};
	sqe(&r, IORING_OP_RECVMSG, s[1], &g, 1, 0, 2);
	EQ(one(&r), 3);
	EQ(b[0], 'a');
	STREQ(c, "bc");
	int fd;
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&g)), sizeof(int));
	OK(write(fd, "q", 1));
	EQ(read(p[0], b, 1), 1);
	// the ring itself cannot be sent
	m.msg_control = ctl;
	m.msg_controllen = CMSG_SPACE(sizeof(int));
	h = CMSG_FIRSTHDR(&m);
	*h = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof(int))};
	memcpy(CMSG_DATA(h), &r.fd, sizeof(int));
	ERR(sendmsg(s[0], &m, 0), EINVAL);
	sqe(&r, IORING_OP_RECVMSG, s[1], (void *)8, 1, 0, 2);
	EQ(one(&r), -EFAULT);
	ring_free(&r);
}

TEST(accept_connect)
{
	struct ring r;
	struct sockaddr_in a, peer;
	socklen_t len = sizeof(peer);
	ring_new(&r, 16, 0);
	int l = listener(&a);
	sqe(&r, IORING_OP_ACCEPT, l, &peer, 0, (unsigned long)&len, 1)->accept_flags = SOCK_CLOEXEC;
	EQ(enter(r.fd, 1, 0, 0), 1);
	EQ(ready(&r), 0);
	sqe(&r, IORING_OP_SOCKET, AF_INET, NULL, 0, SOCK_STREAM, 2);
	EQ(enter(r.fd, 1, 0, 0), 1);
	struct cqe c = next(&r);
	EQ(c.user_data, 2);
	int cl = c.res;
	sqe(&r, IORING_OP_CONNECT, cl, &a, 0, sizeof(a), 3);
	EQ(enter(r.fd, 1, 2, IORING_ENTER_GETEVENTS), 1);
	int srv = -1;
	for (int i = 0; i < 2; i++) {
		c = next(&r);
		if (c.user_data == 1)
			srv = c.res;
		else
			EQ(c.res, 0);
	}
	CHECK(srv >= 0);
	CHECK(fcntl(srv, F_GETFD) & FD_CLOEXEC);
	EQ(peer.sin_family, AF_INET);
	OK(write(cl, "x", 1));
	char b;
	EQ(read(srv, &b, 1), 1);
	sqe(&r, IORING_OP_SHUTDOWN, srv, NULL, SHUT_RDWR, 0, 4);
	EQ(one(&r), 0);
	EQ(read(cl, &b, 1), 0);
	// nobody listens
	close(l);
	cl = OK(socket(AF_INET, SOCK_STREAM, 0));
	sqe(&r, IORING_OP_CONNECT, cl, &a, 0, sizeof(a), 3);
	EQ(one(&r), -ECONNREFUSED);
	ring_free(&r);
}

TEST(accept_multi)
{
	struct ring r;
	struct sockaddr_in a;
	ring_new(&r, 16, 0);
	int l = listener(&a), c[4], fds[4] = {-1, -1, -1, -1};
	sqe(&r, IORING_OP_ACCEPT, l, NULL, 0, 0, 1)->ioprio = IORING_ACCEPT_MULTISHOT;
	EQ(enter(r.fd, 1, 0, 0), 1);
	for (int i = 0; i < 4; i++) {
		c[i] = dial(&a);
		struct cqe e = next(&r);
		EQ(e.user_data, 1);
		CHECK(e.res >= 0 && e.flags & IORING_CQE_F_MORE);
		OK(write(c[i], "x", 1));
		char b;
		EQ(read(e.res, &b, 1), 1);
	}
	sqe(&r, IORING_OP_ASYNC_CANCEL, -1, (void *)1, 0, 0, 2);
	EQ(enter(r.fd, 1, 2, IORING_ENTER_GETEVENTS), 1);
	EQ(result_of(&r, 2, 1), -ECANCELED);
	// into registered slots of its own choice
	EQ(reg(r.fd, IORING_REGISTER_FILES, fds, 4), 0);
	struct io_uring_sqe *s = sqe(&r, IORING_OP_ACCEPT, l, NULL, 0, 0, 3);
	s->ioprio = IORING_ACCEPT_MULTISHOT;
	s->file_index = ~0u;
	EQ(enter(r.fd, 1, 0, 0), 1);
	for (int i = 0; i < 4; i++) {
		c[i] = dial(&a);
		struct cqe e = next(&r);
		EQ(e.res, i);
		sqe(&r, IORING_OP_SEND, i, "y", 1, 0, 9)->flags = IOSQE_FIXED_FILE;
		EQ(enter(r.fd, 1, 0, 0), 1);
		COMPLETES(&r, 9, 1);
		char b;
		EQ(read(c[i], &b, 1), 1);
	}
	dial(&a);
	COMPLETES(&r, 3, -ENFILE);
	ring_free(&r);
}

TEST(fixed_files)
{
	struct ring r;
	char buf[8] = "";
	int p[2], fds[3];
	ring_new(&r, 8, 0);
	OK(pipe(p));
	fds[0] = p[0];
	fds[1] = -1;
	fds[2] = p[1];
	ERR(reg(r.fd, IORING_UNREGISTER_FILES, NULL, 0), ENXIO);
	EQ(reg(r.fd, IORING_REGISTER_FILES, fds, 3), 0);
	ERR(reg(r.fd, IORING_REGISTER_FILES, fds, 3), EBUSY);
	close(p[0]);
	close(p[1]);
	sqe(&r, IORING_OP_WRITE, 2, "abc", 3, 0, 1)->flags = IOSQE_FIXED_FILE;
	EQ(one(&r), 3);
	sqe(&r, IORING_OP_READ, 0, buf, 3, 0, 1)->flags = IOSQE_FIXED_FILE;
	EQ(one(&r), 3);
	STREQ(buf, "abc");
	sqe(&r, IORING_OP_READ, 1, buf, 3, 0, 1)->flags = IOSQE_FIXED_FILE;
	EQ(one(&r), -EBADF);
	sqe(&r, IORING_OP_READ, 3, buf, 3, 0, 1)->flags = IOSQE_FIXED_FILE;
	EQ(one(&r), -EBADF);
	int none = -1, efd = OK(eventfd(5, 0));
	struct io_uring_files_update u = {.offset = 2, .fds = (unsigned long)&none};
	sqe(&r, IORING_OP_READ, 0, buf, 3, 0, 7)->flags = IOSQE_FIXED_FILE;
	EQ(enter(r.fd, 1, 0, 0), 1);
	EQ(reg(r.fd, IORING_REGISTER_FILES_UPDATE, &u, 1), 1); // the last writer goes
	COMPLETES(&r, 7, 0);
	u = (struct io_uring_files_update){.offset = 3, .fds = (unsigned long)&none};
	ERR(reg(r.fd, IORING_REGISTER_FILES_UPDATE, &u, 1), EINVAL);
	int ef[2] = {efd, 999};
	sqe(&r, IORING_OP_FILES_UPDATE, -1, ef, 1, 1, 2);
	EQ(one(&r), 1);
	sqe(&r, IORING_OP_READ, 1, buf, 8, 0, 1)->flags = IOSQE_FIXED_FILE;
	EQ(one(&r), 8);
	EQ(buf[0], 5);
	ERR(reg(r.fd, IORING_REGISTER_FILES, &r.fd, 1), EBUSY);
	EQ(reg(r.fd, IORING_UNREGISTER_FILES, NULL, 0), 0);
	ERR(reg(r.fd, IORING_REGISTER_FILES, &r.fd, 1), EBADF);
	struct io_uring_rsrc_register sp = {.nr = 8, .flags = IORING_RSRC_REGISTER_SPARSE};
	EQ(reg(r.fd, IORING_REGISTER_FILES2, &sp, sizeof(sp)), 0);
	unsigned long tag = 4711;
	struct io_uring_rsrc_update2 u2 = {.offset = 4, .data = (unsigned long)&efd, .tags = (unsigned long)&tag, .nr = 1};
	EQ(reg(r.fd, IORING_REGISTER_FILES_UPDATE2, &u2, sizeof(u2)), 1);
	sqe(&r, IORING_OP_CLOSE, 0, NULL, 0, 0, 3)->file_index = 5;
	EQ(enter(r.fd, 1, 2, IORING_ENTER_GETEVENTS), 1);
	EQ(result_of(&r, 2, 4711), 0);
	struct io_uring_file_index_range rg = {.off = 6, .len = 2};
	EQ(reg(r.fd, IORING_REGISTER_FILE_ALLOC_RANGE, &rg, 0), 0);
	sqe(&r, IORING_OP_SOCKET, AF_UNIX, NULL, 0, SOCK_STREAM, 3)->file_index = ~0u;
	EQ(one(&r), 6);
	ring_free(&r);
}

TEST_DIR(fixed_buffers)
{
	struct ring r;
	char *mem = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct iovec v[2] = {{mem, 4096}, {mem + 4096, 4096}}, bad = {NULL, 5};
	ring_new(&r, 8, 0);
	int fd = OK(open("f", O_RDWR | O_CREAT, 0600));
	ERR(reg(r.fd, IORING_UNREGISTER_BUFFERS, NULL, 0), ENXIO);
	ERR(reg(r.fd, IORING_REGISTER_BUFFERS, &bad, 1), EFAULT);
	EQ(reg(r.fd, IORING_REGISTER_BUFFERS, v, 2), 0);
	ERR(reg(r.fd, IORING_REGISTER_BUFFERS, v, 2), EBUSY);
	memset(mem, 'a', 4096);
	sqe(&r, IORING_OP_WRITE_FIXED, fd, mem, 4096, 0, 1);
	EQ(one(&r), 4096);
	sqe(&r, IORING_OP_READ_FIXED, fd, mem + 5000, 100, 0, 1)->buf_index = 1;
	EQ(one(&r), 100);
	EQ(mem[5000], 'a');
	EQ(mem[5099], 'a');
	EQ(mem[5100], 0);
	sqe(&r, IORING_OP_READ_FIXED, fd, mem + 5000, 100, 0, 1);
	EQ(one(&r), -EFAULT);
	sqe(&r, IORING_OP_READ_FIXED, fd, mem + 4000, 100, 0, 1);
	EQ(one(&r), -EFAULT);
	sqe(&r, IORING_OP_READ_FIXED, fd, mem, 100, 0, 1)->buf_index = 2;
	EQ(one(&r), -EFAULT);
	EQ(reg(r.fd, IORING_UNREGISTER_BUFFERS, NULL, 0), 0);
	ring_free(&r);
}

TEST(provided_buffers)
{
	struct ring r;
	char mem[4][16], b[16];
	int s[2];
	ring_new(&r, 8, 0);
	pair(s);
	struct io_uring_sqe *q = sqe(&r, IORING_OP_RECV, s[0], NULL, 16, 0, 1);
	q->flags = IOSQE_BUFFER_SELECT;
	q->buf_group = 7;
	OK(write(s[1], "first", 5));
	EQ(one(&r), -ENOBUFS);
	sqe(&r, IORING_OP_PROVIDE_BUFFERS, 4, mem, 16, 10, 2)->buf_group = 7;
	CHECK(one(&r) >= 0);
	q = sqe(&r, IORING_OP_RECV, s[0], NULL, 16, 0, 1);
	q->flags = IOSQE_BUFFER_SELECT;
	q->buf_group = 7;
	EQ(enter(r.fd, 1, 1, IORING_ENTER_GETEVENTS), 1);
	struct cqe c = next(&r);
	EQ(c.res, 5);
	CHECK(c.flags & IORING_CQE_F_BUFFER);
	unsigned id = c.flags >> IORING_CQE_BUFFER_SHIFT;
	CHECK(id >= 10 && id < 14);
	EQ(memcmp(mem[id - 10], "first", 5), 0);
	// READ from a pipe, waiting first
	int p[2];
	OK(pipe(p));
	q = sqe(&r, IORING_OP_READ, p[0], NULL, 3, 0, 1);
	q->flags = IOSQE_BUFFER_SELECT;
	q->buf_group = 7;
	EQ(enter(r.fd, 1, 0, 0), 1);
	OK(write(p[1], "abcdef", 6));
	c = next(&r);
	EQ(c.res, 3);
	CHECK(c.flags & IORING_CQE_F_BUFFER);
	EQ(memcmp(mem[(c.flags >> IORING_CQE_BUFFER_SHIFT) - 10], "abc", 3), 0);
	EQ(read(p[0], b, 16), 3);
	sqe(&r, IORING_OP_REMOVE_BUFFERS, 100, NULL, 0, 0, 3)->buf_group = 7;
	EQ(one(&r), 2);
	sqe(&r, IORING_OP_REMOVE_BUFFERS, 100, NULL, 0, 0, 3)->buf_group = 8;
	EQ(one(&r), -ENOENT);
	ring_free(&r);
}

TEST(buffer_ring)
{
	struct ring r;
	static char mem[8][32];
	int s[2];
	struct io_uring_buf_ring *br = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct io_uring_buf_reg reg_ = {.ring_addr = (unsigned long)br, .ring_entries = 8, .bgid = 3};
	ring_new(&r, 8, 0);
	pair(s);
	EQ(reg(r.fd, IORING_REGISTER_PBUF_RING, &reg_, 1), 0);
	ERR(reg(r.fd, IORING_REGISTER_PBUF_RING, &reg_, 1), EEXIST);
	for (unsigned i = 0; i < 8; i++) {
		br->bufs[i].addr = (unsigned long)mem[i];
		br->bufs[i].len = 32;
		br->bufs[i].bid = (unsigned short)(100 + i);
	}
	STORE(&br->tail, 8);
	struct io_uring_sqe *q = sqe(&r, IORING_OP_RECV, s[0], NULL, 0, 0, 1);
	q->flags = IOSQE_BUFFER_SELECT;
	q->buf_group = 3;
	q->ioprio = IORING_RECV_MULTISHOT;
	EQ(enter(r.fd, 1, 0, 0), 1);
	for (int i = 0; i < 8; i++) {
		char t[8];
		snprintf(t, sizeof(t), "msg%d", i);
		OK(write(s[1], t, 4));
		struct cqe c = next(&r);
		EQ(c.res, 4);
		EQ(c.flags >> IORING_CQE_BUFFER_SHIFT, 100 + i);
		CHECK(c.flags & IORING_CQE_F_MORE);
		EQ(memcmp(mem[i], t, 4), 0);
	}
	OK(write(s[1], "more", 4));
	struct cqe c = next(&r);
	EQ(c.res, -ENOBUFS);
	EQ(c.flags & IORING_CQE_F_MORE, 0);
	// one comes back; then the end of the stream
	br->bufs[0].addr = (unsigned long)mem[5];
	br->bufs[0].len = 2;
	br->bufs[0].bid = 55;
	STORE(&br->tail, 9);
	q = sqe(&r, IORING_OP_RECV, s[0], NULL, 0, 0, 2);
	q->flags = IOSQE_BUFFER_SELECT;
	q->buf_group = 3;
	EQ(enter(r.fd, 1, 0, 0), 1);
	c = next(&r);
	EQ(c.res, 2);
	EQ(c.flags >> IORING_CQE_BUFFER_SHIFT, 55);
	EQ(reg(r.fd, IORING_UNREGISTER_PBUF_RING, &reg_, 1), 0);
	ring_free(&r);
}

TEST(recvmsg_multi)
{
	struct ring r;
	static char mem[4][256];
	int s[2];
	ring_new(&r, 8, 0);
	OK(socketpair(AF_UNIX, SOCK_DGRAM, 0, s));
	sqe(&r, IORING_OP_PROVIDE_BUFFERS, 4, mem, 256, 0, 2)->buf_group = 1;
	CHECK(one(&r) >= 0);
	struct msghdr m = {.msg_namelen = 16};
	struct io_uring_sqe *q = sqe(&r, IORING_OP_RECVMSG, s[0], &m, 1, 0, 1);
	q->flags = IOSQE_BUFFER_SELECT;
	q->buf_group = 1;
	q->ioprio = IORING_RECV_MULTISHOT;
	EQ(enter(r.fd, 1, 0, 0), 1);
	for (int i = 0; i < 3; i++) {
		OK(write(s[1], "datagram", 8));
		struct cqe c = next(&r);
		struct io_uring_recvmsg_out *o = (void *)mem[c.flags >> IORING_CQE_BUFFER_SHIFT];
		CHECK(c.flags & IORING_CQE_F_MORE);
		EQ(c.res, 16 + 16 + 8);
		EQ(o->payloadlen, 8);
		EQ(memcmp((char *)o + sizeof(*o) + 16, "datagram", 8), 0);
	}
	ring_free(&r);
}

TEST(send_zc)
{
	struct ring r;
	struct sockaddr_in a;
	char b[8];
	ring_new(&r, 8, 0);
	int l = listener(&a), c = dial(&a), s = OK(accept(l, NULL, NULL));
	sqe(&r, IORING_OP_SEND_ZC, c, "hello", 5, 0, 1);
	EQ(enter(r.fd, 1, 1, IORING_ENTER_GETEVENTS), 1);
	struct cqe e = next(&r);
	EQ(e.res, 5);
	CHECK(e.flags & IORING_CQE_F_MORE);
	EQ(read(s, b, 8), 5);
	e = next(&r);
	EQ(e.user_data, 1);
	CHECK(e.flags & IORING_CQE_F_NOTIF);
	EQ(e.flags & IORING_CQE_F_MORE, 0);
	ring_free(&r);
}

TEST(msg_ring)
{
	struct ring r, to;
	int p[2], fds[2] = {-1, -1};
	ring_new(&r, 8, 0);
	ring_new(&to, 8, 0);
	OK(pipe(p));
	sqe(&r, IORING_OP_MSG_RING, to.fd, NULL, 123, 456, 1);
	EQ(one(&r), 0);
	COMPLETES(&to, 456, 123);
	sqe(&r, IORING_OP_MSG_RING, p[0], NULL, 123, 456, 1);
	EQ(one(&r), -EBADFD);
	fds[0] = p[1];
	EQ(reg(r.fd, IORING_REGISTER_FILES, fds, 2), 0);
	fds[0] = -1;
	EQ(reg(to.fd, IORING_REGISTER_FILES, fds, 2), 0);
	struct io_uring_sqe *q = sqe(&r, IORING_OP_MSG_RING, to.fd, (void *)1, 0, 99, 1);
	q->addr3 = 0;
	q->file_index = 2;
	EQ(one(&r), 0);
	COMPLETES(&to, 99, 0);
	sqe(&to, IORING_OP_WRITE, 1, "x", 1, 0, 2)->flags = IOSQE_FIXED_FILE;
	EQ(one(&to), 1);
	ring_free(&r);
	ring_free(&to);
}

TEST(registered_ring)
{
	struct ring r;
	ring_new(&r, 8, 0);
	struct io_uring_rsrc_update u = {.offset = ~0u, .data = (unsigned long)r.fd};
	EQ(reg(r.fd, IORING_REGISTER_RING_FDS, &u, 1), 1);
	CHECK(u.offset < 16);
	sqe(&r, IORING_OP_NOP, -1, NULL, 0, 0, 1);
	EQ(enter((int)u.offset, 1, 1, IORING_ENTER_GETEVENTS | IORING_ENTER_REGISTERED_RING), 1);
	COMPLETES(&r, 1, 0);
	u.data = 0;
	EQ(reg(r.fd, IORING_UNREGISTER_RING_FDS, &u, 1), 1);
	ERR(enter((int)u.offset, 0, 0, IORING_ENTER_REGISTERED_RING), EBADF);
	ring_free(&r);
}

TEST(udp)
{
	struct ring r;
	struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}, from;
	socklen_t len = sizeof(a);
	char b[16] = "";
	ring_new(&r, 8, 0);
	int s = OK(socket(AF_INET, SOCK_DGRAM, 0)), c = OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(bind(s, (void *)&a, sizeof(a)));
	OK(getsockname(s, (void *)&a, &len));
	struct iovec v = {b, sizeof(b)}, o = {"ping", 4};
	struct msghdr m = {.msg_name = &from, .msg_namelen = sizeof(from), .msg_iov = &v, .msg_iovlen = 1};
	struct msghdr t = {.msg_name = &a, .msg_namelen = sizeof(a), .msg_iov = &o, .msg_iovlen = 1};
	sqe(&r, IORING_OP_RECVMSG, s, &m, 1, 0, 1);
	EQ(enter(r.fd, 1, 0, 0), 1);
	sqe(&r, IORING_OP_SENDMSG, c, &t, 1, 0, 2);
	EQ(enter(r.fd, 1, 2, IORING_ENTER_GETEVENTS), 1);
	EQ(result_of(&r, 2, 1), 4);
	STREQ(b, "ping");
	EQ(from.sin_family, AF_INET);
	ring_free(&r);
}

// Many connections at once.
TEST(echo)
{
	enum { N = 32, ROUNDS = 50 };
	struct ring r;
	int s[N][2];
	static char buf[N][64];
	ring_new(&r, 128, 0);
	for (int i = 0; i < N; i++) {
		pair(s[i]);
		sqe(&r, IORING_OP_RECV, s[i][0], buf[i], 64, 0, (unsigned long)i);
	}
	EQ(enter(r.fd, N, 0, 0), N);
	for (int k = 0; k < ROUNDS; k++) {
		for (int i = 0; i < N; i++)
			OK(write(s[i][1], &k, sizeof(k)));
		for (int i = 0; i < N; i++) {
			struct cqe c = next(&r);
			EQ(c.res, sizeof(k));
			EQ(*(int *)buf[c.user_data], k);
			sqe(&r, IORING_OP_RECV, s[c.user_data][0], buf[c.user_data], 64, 0, c.user_data);
		}
		EQ(enter(r.fd, N, 0, 0), N);
	}
	ring_free(&r);
}
