// SPDX-License-Identifier: Apache-2.0
// /.coffer/gateway (static, with the engine of `coffer tunnel`): listens for the enclave where coffer.yaml says `attested`, and connects for it. init
// starts it before the program, with a socket as descriptor 3, to which it writes a byte when all its ports are open, and which ends with the program. What goes wrong later stands on
// the enclave's stderr. No locks of its own.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "init/gateway.h"
#include "init/paths.h"
#include "lib/file.h"
#include "tunnel/engine.h"

enum { INIT_FD = 3, TURN_MS = 10 };

static int gateway_fd;

// From here on programs neither see nor reach this process, and the kernel lets it speak for them.
static int become_gateway(struct fault *f)
{
	int fd = gateway_fd = open(GATEWAY_FILE, O_WRONLY | O_CLOEXEC), oom = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	if (oom >= 0) {
		if (write(oom, "-1000", 5) < 0)
			fprintf(stderr, "coffer: gateway: it may be killed when memory is short\n");
		close(oom);
	}
	if (fd < 0 || write(fd, "1", 1) != 1) // which stays open: its end is the gateway's
		return fault_errno(f, errno, "cannot become the network gateway");
	return 0;
}

// Ports of IPv6 are opened where the host has it.
static bool host_has_ipv6(void)
{
	struct sockaddr_in6 any = {.sin6_family = AF_INET6};
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	any.sin6_port = htons(9);
	any.sin6_addr = (struct in6_addr){{{0x20, 0x01, 0x0d, 0xb8, [15] = 1}}};	// nothing is sent to it
	bool has = fd >= 0 && (!connect(fd, (struct sockaddr *)&any, sizeof any) || errno != EAFNOSUPPORT);
	if (fd >= 0)
		close(fd);
	return has;
}

static int start_tunnel(const char *text, struct engine **out, struct fault *f)
{
	struct config *c;
	struct engine *e = NULL;
	struct fault why = {""};
	int err = tunnel_config_parse(&c, text, strlen(text), "/.coffer/config.json", &why);
	if (!err) {
		tunnel_log_set(c->settings.log_level, c->settings.log_json);
		err = engine_new(&e, c, &why);
		tunnel_config_free(c);
	}
	if (!err)
		err = engine_start(e, &why);
	*out = e;
	return err ? fault_set(f, err, "coffer.yaml, network: %.900s", why.text) : 0;
}

// The program has ended, and with it its ends of all connections: what they carried last goes out.
_Noreturn static void end(struct engine *e)
{
	int left = GATEWAY_END_MS;
	if (e)
		engine_stop(e, GATEWAY_END_MS);
	while (left > 0 && ((e && !engine_wait(e, TURN_MS)) || gateway_plain_busy())) {
		usleep(1000);
		left -= TURN_MS;
	}
	if (write(gateway_fd, "0", 1) != 1) // this end is in order
		fprintf(stderr, "coffer: gateway: the kernel does not hear of its end\n");
	_exit(0);
}

int main(void)
{
	static struct gateway g; // plain destinations stay in use
	struct engine *engine = NULL;
	char *config = NULL, *host = NULL;
	size_t config_len, host_len;
	struct fault f = {""};
	char byte;
	signal(SIGPIPE, SIG_IGN);
	int err = file_read(CONFIG_PATH, CONFIG_MAX_BYTES, &config, &config_len, &f);
	if (!err)
		err = file_read(HOST_BLOCK_PATH, HOST_BLOCK_MAX_BYTES, &host, &host_len, &f);
	if (!err)
		err = become_gateway(&f);
	if (!err)
		err = gateway_read(&g, config, config_len, host, host_len, host_has_ipv6(), &f);
	free(config);
	free(host);
	if (!err && g.tunnel)
		err = start_tunnel(g.tunnel, &engine, &f);
	for (unsigned int i = 0; i < g.plain_count && !err; i++)
		err = gateway_plain_start(&g.plain[i], &f);
	if (!err && g.dns)
		err = gateway_dns_start(g.dns, &f);
	if (!err) {
		int null = open("/dev/null", O_RDWR | O_CLOEXEC);
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		setsid();
		if (write(INIT_FD, "", 1) != 1)
			err = fault_errno(&f, errno, "the gateway is not awaited");
	}
	if (err) {
		fprintf(stderr, "coffer: %s\n", f.text);
		_exit(1);
	}
	while (read(INIT_FD, &byte, 1) < 0 && errno == EINTR)
		;
	end(engine);
}
