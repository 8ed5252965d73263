// SPDX-License-Identifier: Apache-2.0
// What the host may ask of an enclave: each choice that coffer.yaml leaves open, and each refusal by its words.
#include "init/settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/attest/ok.h"

#define ID "00112233445566778899aabbccddeeff"

static const char strict[] =
	"{\"broker\":{\"ca\":\"PEM\"},\"command\":[\"/bin/echo\",\"hi\"],\"environment\":{\"MODE\":\"prod\"},"
	"\"host_arguments\":false,\"host_environment\":[\"TERM\"],\"volumes\":{},\"working_directory\":\"/app\"}";
static const char lax[] =
	"{\"anchor\":{\"bound\":7,\"each_fsync\":true,\"every\":20,\"in\":\"none\"},\"broker\":{\"ca\":\"PEM\",\"name\":\"broker.example\",\"timeout\":3},\"command\":[\"/bin/"
	"echo\"],\"environment\":{},"
	"\"host_arguments\":true,\"host_environment\":[],\"working_directory\":\"/\","
	"\"volumes\":{\"/data\":{\"mode\":\"ro\",\"name\":\"" ID "\"},\"/out\":{\"mode\":\"rw\",\"name\":\"\"}}}";

#define DATA "{\"name\":\"a.vol\",\"path\":\"/data\",\"mode\":\"ro\",\"id\":\"" ID "\"}"
#define OUT "{\"name\":\"b.vol\",\"path\":\"/out\",\"mode\":\"rw\",\"id\":\"ffffffffffffffffffffffffffffffff\"}"
#define BOTH "\"volumes\":[" DATA "," OUT "]"

static int read_both(struct settings *s, const char *config, const char *host, struct fault *f)
{
	f->text[0] = '\0';
	return settings_read(s, config, strlen(config), host, strlen(host), f);
}

static bool env_is(const struct settings *s, const char *pair)
{
	for (char **e = s->envp; e && *e; e++) {
		if (!strcmp(*e, pair))
			return true;
	}
	return false;
}

static void refused(const char *name, const char *config, const char *host, const char *text)
{
	struct settings s;
	struct fault f;
	int err = read_both(&s, config, host, &f);
	ok(name, err == -EPERM && strstr(f.text, text), "%d: %s", err, f.text);
	settings_free(&s);
}

static void test_accepted(void)
{
	struct settings s;
	struct fault f;
	int err = read_both(&s, strict, "{}", &f);
	ok("no secrets unless configured", !s.secret_count && !s.secrets, "no");
	ok("an empty host block runs the command",
	   !err && !strcmp(s.argv[0], "/bin/echo") && !strcmp(s.argv[1], "hi") && !s.argv[2] &&
		   !strcmp(s.cwd, "/app") && s.volume_count == 0,
	   "%d: %s", err, f.text);
	ok("fixed and default environment", !err && env_is(&s, "MODE=prod") && env_is(&s, "HOME=/root"), "no");
	settings_free(&s);
	err = read_both(&s, strict,
			"{\"args\":[\"/bin/echo\",\"hi\"],\"env\":{\"TERM\":\"xterm\"},\"cwd\":\"/app\",\"volumes\":[],"
			"\"broker\":\"https://127.0.0.1:1\"}",
			&f);
	ok("the host may repeat the command", !err && env_is(&s, "TERM=xterm"), "%d: %s", err, f.text);
	settings_free(&s);
	err = read_both(&s, lax, "{\"args\":[\"ls\",\"-l\"],\"cwd\":\"/tmp\"," BOTH "}", &f);
	ok("host_arguments lets the host choose", !err && !strcmp(s.argv[0], "ls") && !strcmp(s.cwd, "/tmp"), "%d: %s",
	   err, f.text);
	ok("volumes keep the host's order", !err && s.volume_count == 2 && !strcmp(s.volumes[0].path, "/data") &&
	   s.volumes[0].read_only && !s.volumes[1].read_only && !strcmp(s.volumes[0].id, ID), "no");
	ok("the broker's name and patience are measured", !err && !strcmp(s.broker_name, "broker.example") &&
	   s.broker_timeout_s == 3 && !s.broker_url, "no");
	settings_free(&s);
}

static void test_sealing(void)
{
	static const char config[] = "{\"command\":[\"/bin/echo\"],\"working_directory\":\"/\",\"volumes\":{\"/out\":{\"key\":\"sealing\",\"mode\":\"rw\",\"name\":\"\"}}}";
	struct settings s;
	struct fault f;
	int err = read_both(&s, config, "{\"volumes\":[{\"name\":\"b\",\"path\":\"/out\",\"mode\":\"rw\",\"id\":\"\"}]}", &f);
	ok("a volume to be made, sealed to the enclave", !err && s.volume_count == 1 && s.volumes[0].sealing && !*s.volumes[0].id, "%d: %s", err, f.text);
	settings_free(&s);
	err = read_both(&s, config, "{\"volumes\":[" OUT "]}", &f);
	ok("one that is there", !err && s.volumes[0].sealing && strlen(s.volumes[0].id) == 32, "%d: %s", err, f.text);
	settings_free(&s);
}

static void test_refused(void)
{
	refused("other arguments", strict, "{\"args\":[\"/bin/sh\"]}",
		"the host asks for '/bin/sh', but this enclave runs only "
		"'/bin/echo hi'");
	refused("more arguments", strict, "{\"args\":[\"/bin/echo\",\"hi\",\"x\"]}", "host_arguments is false");
	refused("control characters do not reach the terminal", strict, "{\"args\":[\"\\u001b[2J\"]}", "'?[2J'");
	refused("arguments that are no list", strict, "{\"args\":\"x\"}", "not a list");
	refused("arguments that are no text", lax, "{\"args\":[1]," BOTH "}", "texts only");
	refused("an empty program", lax, "{\"args\":[\"\"]," BOTH "}", "nothing to run");
	refused("a variable that is not let in", strict, "{\"env\":{\"LD_PRELOAD\":\"x\"}}",
		"'LD_PRELOAD', which coffer.yaml "
		"does not let in");
	refused("a variable that is fixed", strict, "{\"env\":{\"MODE\":\"test\"}}", "'MODE', which coffer.yaml fixes");
	refused("a variable that is no text", strict, "{\"env\":{\"TERM\":1}}", "malformed");
	refused("another working directory", strict, "{\"cwd\":\"/\"}", "works in '/app'");
	refused("a relative working directory", lax, "{\"cwd\":\"tmp\"," BOTH "}", "absolute");
	refused("no id where the key is the broker's", lax, "{\"volumes\":[" DATA ",{\"name\":\"b\",\"path\":\"/out\",\"mode\":\"rw\",\"id\":\"\"}]}",
		"32 hex digits");
	refused("a way to a TPM that is none", lax, "{\"tpm\":\"unix:/x\"," BOTH "}", "not a way to a TPM");
	refused("an unknown key", strict, "{\"init\":\"/bin/sh\"}", "unknown key 'init'");
	refused("a key given twice", strict, "{\"args\":[],\"args\":[]}", "not JSON");
	refused("what is not JSON", strict, "{", "not JSON");
	refused("what is no object", strict, "[]", "not a JSON object");
	refused("a volume that is not listed", strict, "{\"volumes\":[" DATA "]}", "does not list");
	refused("a missing volume", lax, "{\"volumes\":[" DATA "]}", "no volume for /out");
	refused("two volumes at one place", lax, "{\"volumes\":[" DATA "," DATA "]}", "two volumes at /data");
	refused("another volume than the one required", lax,
		"{\"volumes\":[{\"name\":\"a\",\"path\":\"/"
		"data\",\"mode\":\"ro\",\"id\":\"ffffffffffffffffffffffffffffffff\"}]}",
		"must be " ID);
	refused("another mode", lax,
		"{\"volumes\":[{\"name\":\"a\",\"path\":\"/data\",\"mode\":\"rw\",\"id\":\"" ID "\"}]}",
		"but coffer.yaml says 'ro'");
	refused("an odd volume id", lax,
		"{\"volumes\":[{\"name\":\"a\",\"path\":\"/data\",\"mode\":\"ro\",\"id\":\"../../x\"}]}",
		"32 hex digits");
	refused("a volume with more to it", lax,
		"{\"volumes\":[{\"name\":\"a\",\"path\":\"/data\",\"mode\":\"ro\",\"id\":\"" ID "\",\"key\":\"x\"}]}",
		"must have name, path, mode and id");

	char *large = malloc(HOST_BLOCK_MAX_BYTES + 16);
	memset(large, ' ', HOST_BLOCK_MAX_BYTES + 16);
	memcpy(large, "{}", 2);
	large[HOST_BLOCK_MAX_BYTES + 8] = '\0';
	refused("a host block that is too large", strict, large, "too large");
	free(large);

	struct settings s;
	struct fault f;
	int err = read_both(&s, "{}", "{}", &f);
	ok("a configuration without a command", err == -EINVAL && strstr(f.text, "no command"), "%d: %s", err, f.text);
	settings_free(&s);
}

static void test_secrets(void)
{
#define SECRETS(x) "{\"command\":[\"/bin/echo\"],\"working_directory\":\"/\",\"secrets\":{" x "},\"volumes\":{}}"
	static const char good[] = SECRETS("\"/run/a\":{\"group\":3,\"mode\":256,\"owner\":2,\"resource\":\"default/app/a\",\"version\":0},"
					   "\"/run/s/b\":{\"group\":0,\"mode\":288,\"owner\":0,\"resource\":\"default/app/b\",\"version\":7}");
	static const char *const bad[] = {
		SECRETS("\"/run/a\":{\"group\":0,\"mode\":256,\"owner\":0,\"version\":0}"),
		SECRETS("\"run/a\":{\"group\":0,\"mode\":256,\"owner\":0,\"resource\":\"a/b/c\",\"version\":0}"),
		SECRETS("\"/run/a\":{\"group\":0,\"mode\":-1,\"owner\":0,\"resource\":\"a/b/c\",\"version\":0}"),
		SECRETS("\"/run/a\":\"a/b/c\""),
	};
	struct settings s;
	struct fault f;
	int err = read_both(&s, good, "{}", &f);
	ok("secrets", !err && s.secret_count == 2 && !strcmp(s.secrets[0].path, "/run/a") && s.secrets[0].owner == 2 && s.secrets[0].group == 3 &&
	   s.secrets[0].mode == 0400 && !strcmp(s.secrets[1].resource, "default/app/b") && s.secrets[1].version == 7, "%d: %s", err, f.text);
	settings_free(&s);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		err = read_both(&s, bad[i], "{}", &f);
		ok("secrets that are malformed", err == -EINVAL, "%zu: %d: %s", i, err, f.text);
		settings_free(&s);
	}
	refused("the host asks for a secret", good, "{\"secrets\":{}}", "unknown key 'secrets'");
}

int main(void)
{
	test_accepted();
	test_secrets();
	test_sealing();
	test_refused();
	return ok_failed != 0;
}
