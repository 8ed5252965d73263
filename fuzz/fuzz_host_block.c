// SPDX-License-Identifier: Apache-2.0
// Fuzzes the host block against a strict and a permissive configuration: whatever the host writes, a strict enclave
// runs its own command in its own folder with no variable that is not let in.
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "init/gateway.h"
#include "init/settings.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char strict[] =
	"{\"broker\":{\"ca\":\"PEM\"},\"command\":[\"/bin/echo\",\"hi\"],\"environment\":{\"MODE\":\"prod\"},"
	"\"host_arguments\":false,\"host_environment\":[\"TERM\"],\"volumes\":{},\"working_directory\":\"/app\"}";
static const char lax[] = "{\"broker\":{\"ca\":\"PEM\"},\"command\":[],\"environment\":{},\"host_arguments\":true,"
			  "\"host_environment\":[\"A\"],"
			  "\"volumes\":{\"/data\":{\"mode\":\"ro\",\"name\":\"\"}},\"working_directory\":\"/\"}";

static const char shielded[] = "{\"network\":{\"connect\":\"listed\",\"destinations\":[{\"address\":\"100.64.1.1\",\"attest\":false,\"host\":\"a.b\",\"plain\":true,"
			       "\"port\":80,\"session\":\"off\",\"verify\":null}],\"dns\":[],\"listen\":[],\"shield\":[]}}";

// It places what the configuration names, and nothing else.
static void gateway(const uint8_t *data, size_t size)
{
	struct gateway g;
	struct fault f;
	if (!gateway_read(&g, shielded, sizeof shielded - 1, (const char *)data, size, false, &f) &&
	    (g.plain_count != 1 || g.tunnel || strcmp(g.plain[0].host, "a.b") || g.plain[0].port != 80 || g.plain[0].place_count > GATEWAY_MAX_PLACES))
		abort();
	gateway_free(&g);
	gateway_read(&g, (const char *)data, size, "{}", 2, true, &f);
	gateway_free(&g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct settings s;
	struct fault f;
	if (!settings_read(&s, strict, sizeof strict - 1, (const char *)data, size, &f)) {
		if (strcmp(s.argv[0], "/bin/echo") || strcmp(s.argv[1], "hi") || s.argv[2] || strcmp(s.cwd, "/app") ||
		    s.volume_count)
			abort();
		for (char **e = s.envp; *e; e++) {
			if (strncmp(*e, "MODE=prod", 9) && strncmp(*e, "TERM=", 5) && strncmp(*e, "PATH=/usr", 9) &&
			    strcmp(*e, "HOME=/root"))
				abort();
		}
	}
	settings_free(&s);
	gateway(data, size);
	settings_read(&s, lax, sizeof lax - 1, (const char *)data, size, &f);
	settings_free(&s);
	return 0;
}
