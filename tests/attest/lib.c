// SPDX-License-Identifier: Apache-2.0
// The hosted helpers: encodings, strict YAML, HTTP heads, URLs, JWE against a published vector and the `jose` tool.
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib/encode.h"
#include "lib/file.h"
#include "lib/http.h"
#include "lib/jwe.h"
#include "lib/yamlcfg.h"
#include "tests/attest/ok.h"
#include "tests/folder.h"

static void test_encode(void)
{
	static const struct {
		const char *plain, *std, *url;
	} vectors[] = {
		// RFC 4648 section 10, and two of - and _
		{"", "", ""},
		{"f", "Zg==", "Zg"},
		{"fo", "Zm8=", "Zm8"},
		{"foo", "Zm9v", "Zm9v"},
		{"foob", "Zm9vYg==", "Zm9vYg"},
		{"fooba", "Zm9vYmE=", "Zm9vYmE"},
		{"foobar", "Zm9vYmFy", "Zm9vYmFy"},
		{"\xff\xef\xbe", "/+++", "_---"},
	};
	bool good = true;
	for (size_t i = 0; i < sizeof vectors / sizeof *vectors; i++) {
		char text[32], back[32];
		size_t n = strlen(vectors[i].plain);
		base64_encode(text, vectors[i].plain, n, BASE64_STD);
		good &= !strcmp(text, vectors[i].std);
		good &= base64_decode(back, sizeof back, text, strlen(text), BASE64_STD) == (ssize_t)n &&
			!memcmp(back, vectors[i].plain, n);
		base64_encode(text, vectors[i].plain, n, BASE64_URL);
		good &= !strcmp(text, vectors[i].url);
		good &= base64_decode(back, sizeof back, text, strlen(text), BASE64_URL) == (ssize_t)n;
	}
	ok("base64 vectors", good, "differ");
	char out[8];
	ok("base64 is strict",
	   base64_decode(out, 8, "Zh==", 4, BASE64_STD) == -EINVAL &&
		   base64_decode(out, 8, "Z", 1, BASE64_STD) == -EINVAL &&
		   base64_decode(out, 8, "Zg=a", 4, BASE64_STD) == -EINVAL &&
		   base64_decode(out, 8, "Zm 9", 4, BASE64_STD) == -EINVAL &&
		   base64_decode(out, 8, "_---", 4, BASE64_STD) == -EINVAL &&
		   base64_decode(out, 2, "Zm9v", 4, BASE64_STD) == -ENOSPC,
	   "it is not");
	uint8_t bytes[64], again[64];
	char text[BASE64_SIZE(64)];
	bool same = true, refused = true;
	for (size_t n = 0; n <= sizeof bytes; n++) {
		for (size_t i = 0; i < n; i++)
			bytes[i] = (uint8_t)(97 * i + 31 * n);
		for (int url = 0; url < 2; url++) {
			size_t len = base64_encode(text, bytes, n, url ? BASE64_URL : BASE64_STD);
			same &= base64_decode(again, n, text, len, url ? BASE64_URL : BASE64_STD) == (ssize_t)n && !memcmp(again, bytes, n);
		}
	}
	ok("base64 of any length", same, "differs");
	for (int c = 0; c < 256; c++) {
		static const char std[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
		static const char url[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
		for (size_t at = 0; at < 6; at++) {	// of a whole group and of the rest
			char changed[] = "QUFBQUE";
			changed[at] = (char)c;
			refused &= (base64_decode(again, sizeof again, changed, 7, BASE64_STD) >= 0) == (c && strchr(std, c)) &&
				   (base64_decode(again, sizeof again, changed, 7, BASE64_URL) >= 0) == (c && strchr(url, c));
		}
	}
	ok("base64 takes no other character", refused, "it does");
	ok("hex is strict", !hex_decode(out, 2, "aBcD") && hex_decode(out, 2, "aBc") == -EINVAL &&
	   hex_decode(out, 2, "aBcg") == -EINVAL && hex_decode(out, 2, "aBcDe") == -EINVAL, "it is not");
}

static void test_printable(void)
{
	char text[] = "a\x1b[2J\x7f\tb \xc3\xa4 \xc2\x9b" "31m \xc2\xa0 \xc2", plain[] = "caf\xc3\xa9";
	ok("nothing for a terminal to obey is left", !strcmp(text_printable(text), "a?[2J??b \xc3\xa4 ??31m \xc2\xa0 \xc2") &&
	   !strcmp(text_printable(plain), "caf\xc3\xa9"), "%s", text);
}

// Whoever waits gets the lock only when the other lets go.
static void test_lock(void)
{
	char dir[64], path[80], got = 0;
	int held = -1, second = -1, ends[2];
	struct fault f;
	if (!test_folder(dir, "lock") || pipe(ends))
		abort();
	snprintf(path, sizeof path, "%s/file", dir);
	int err = file_lock(path, &held, &f);
	pid_t pid = fork();
	if (pid == 0) {
		close(held);	// or it would wait for itself
		char done = !file_lock(path, &second, NULL);
		_exit(write(ends[1], &done, 1) != 1);
	}
	struct pollfd wait = {.fd = ends[0], .events = POLLIN};
	bool early = poll(&wait, 1, 100) > 0;
	close(held);
	bool late = read(ends[0], &got, 1) == 1 && got == 1;
	waitpid(pid, NULL, 0);
	ok("two who change a file take turns", !err && !early && late, "%d %d %d", err, early, late);
	close(ends[0]);
	close(ends[1]);
}

static const struct yamlcfg_type text_type = {.kind = YAMLCFG_TEXT};
static const struct yamlcfg_key keys[] = {
	{.name = "name", .type = {.kind = YAMLCFG_TEXT}, .required = true},
	{.name = "debug", .type = {.kind = YAMLCFG_BOOL}},
	{.name = "port", .type = {.kind = YAMLCFG_INT, .min = 1, .max = 65535}},
	{.name = "command", .type = {.kind = YAMLCFG_LIST, .item = &text_type}},
	{.name = "environment", .type = {.kind = YAMLCFG_MAP, .item = &text_type}},
	{.name = NULL},
};
static const struct yamlcfg_type record = {.kind = YAMLCFG_RECORD, .keys = keys};

static void yaml_refused(const char *name, const char *yaml, const char *text)
{
	json_t *o = NULL;
	struct fault f = {""};
	int err = yamlcfg_parse(yaml, strlen(yaml), "x.yaml", &record, &o, &f);
	ok(name, err == -EINVAL && strstr(f.text, text), "%d: %s", err, f.text);
	if (!err)
		json_decref(o);
}

static void test_yaml(void)
{
	static const char good[] = "name: no\ndebug: true\nport: 8443\ncommand: [a, \"b c\"]\nenvironment: {A: 1}\n";
	json_t *o = NULL;
	struct fault f = {""};
	int err = yamlcfg_parse(good, strlen(good), "x.yaml", &record, &o, &f);
	char *text = err ? NULL : json_dumps(o, JSON_SORT_KEYS | JSON_COMPACT);
	ok("yaml becomes typed JSON",
	   text && !strcmp(text, "{\"command\":[\"a\",\"b c\"],\"debug\":true,\"environment\":"
				 "{\"A\":\"1\"},\"name\":\"no\",\"port\":8443}"),
	   "%s%s", f.text, text ? text : "");
	free(text);
	json_decref(o);
	yaml_refused("a tab that indents", "command:\n\t- a\n", "x.yaml:2: a tab: YAML is indented with spaces");
	yaml_refused("a tab behind other letters", "# \xd0\xbf\xd1\x80\xd0\xbe \xe6\x97\xa5\ncommand:\n\t- a\n",
		     "x.yaml:3: a tab: YAML is indented with spaces");
	yaml_refused("a tab behind the mark of UTF-8", "\xef\xbb\xbf" "command:\n\t- a\n", "x.yaml:2: a tab: YAML is indented with spaces");
	yaml_refused("yaml: an unknown key names the nearest", "name: x\ncomand: [a]\n",
		     "x.yaml:2: unknown key 'comand'; the "
		     "nearest known key is 'command'");
	yaml_refused("yaml: duplicates", "name: x\nname: y\n", "given twice");
	yaml_refused("yaml: a missing key", "port: 1\n", "lacks the key 'name'");
	yaml_refused("yaml: not a boolean", "name: x\ndebug: yes\n", "true or false");
	yaml_refused("yaml: out of range", "name: x\nport: 70000\n", "from 1 to 65535");
	yaml_refused("yaml: no value", "name:\n", "has no value");
	yaml_refused("yaml: not a list", "name: x\ncommand: a\n", "must be a list");
	yaml_refused("yaml: aliases", "name: &a x\ncommand: [*a]\n", "anchors");
	yaml_refused("yaml: two documents", "name: x\n---\nname: y\n", "second document");
	yaml_refused("yaml: not YAML", "name: [\n", "x.yaml:");
}

static int head(struct http_head *h, const char *text)
{
	return http_parse_head(h, text, strlen(text), false);
}

static void test_http(void)
{
	struct http_head h;
	ok("http: a request",
	   !head(&h, "POST /a/b?c=d HTTP/1.1\r\nHost: x\r\ncontent-length:  12 \r\nCookie: a=1; sid=xyz\r\n\r\n") &&
		   !strcmp(h.method, "POST") && !strcmp(h.path, "/a/b") && !strcmp(h.query, "c=d") &&
		   h.content_length == 12 && h.keep_alive,
	   "no");
	char v[8];
	ok("http: cookies",
	   http_cookie(h.cookie, "sid", v, sizeof v) && !strcmp(v, "xyz") && !http_cookie(h.cookie, "id", v, sizeof v),
	   "no");
	static const struct {
		const char *date;
		int64_t seconds;
	} dates[] = { // RFC 9110 section 5.6.7
		{"Sun, 06 Nov 1994 08:49:37 GMT", 784111777}, {"Thu, 29 Feb 2024 23:59:59 GMT", 1709251199}, {"Sun, 06 Nov 1994 08:49:37 UTC", 0},
		{"Sunday, 06-Nov-94 08:49:37 GMT", 0}, {"Sun, 06 Xyz 1994 08:49:37 GMT", 0}, {"Sun, 06 anF 1994 08:49:37 GMT", 0}, {"Sun, 00 Nov 1994 08:49:37 GMT", 0},
		{"Sun, 06 Nov 1994 24:00:00 GMT", 0}, {"Sun, 06 Nov 1969 08:49:37 GMT", 0}, {"Sun, 06 Nov 1994 08:49:37 GMTx", 0}, {"", 0},
	};
	for (size_t i = 0; i < sizeof dates / sizeof *dates; i++) {
		char text[128];
		snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nDate: %s\r\n\r\n", dates[i].date);
		ok("http: a date", !http_parse_head(&h, text, strlen(text), true) && h.date_s == dates[i].seconds, "%s", dates[i].date);
	}
	static const char *const bad[] = {
		"GET /\r\n\r\n",
		"GET / HTTP/2.0\r\n\r\n",
		"GET x HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET / HTTP/1.1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
		"GET / HTTP/1.1\nHost: x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\n folded: x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\n: x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999999999999999\r\n\r\n",
		"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
		"G\001T / HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nA: b\001\r\n\r\n",
		"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1 2\r\n\r\n",
	};
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		char name[64];
		snprintf(name, sizeof name, "http: malformed head %zu", i);
		ok(name, head(&h, bad[i]) == -EINVAL, "accepted");
	}
	ok("http: chunked bodies are refused as such",
	   head(&h, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n") == -EOPNOTSUPP, "no");
	struct http_url u;
	ok("urls",
	   !http_parse_url(&u, "https://[::1]:8443/kbs/") && !strcmp(u.host, "::1") && !strcmp(u.port, "8443") &&
		   !strcmp(u.prefix, "/kbs") && !http_parse_url(&u, "https://example.org") && !strcmp(u.port, "443"),
	   "no");
	ok("bad urls",
	   http_parse_url(&u, "http://x") && http_parse_url(&u, "https://") && http_parse_url(&u, "https://x:99999") &&
		   http_parse_url(&u, "https://x:1y") && http_parse_url(&u, "https://x\r\nEvil: 1/"),
	   "accepted");
}

static void test_files(void)
{
	char dir[64], path[80], *text = NULL;
	size_t len;
	struct fault f;
	if (!test_folder(dir, "lib"))
		abort();
	snprintf(path, sizeof path, "%s/secret", dir);
	ok("a private file is written and read", !file_write(path, "abc", 3, 0600, true, &f) &&
	   !file_read_private(path, 10, &text, &len, &f) && len == 3 && !strcmp(text, "abc"), "%s", f.text);
	free(text);
	ok("a fresh file does not replace one", file_write(path, "x", 1, 0600, true, &f) == -EEXIST, "it does");
	ok("a bound holds", file_read(path, 2, &text, &len, &f) == -EFBIG, "%s", f.text);
	chmod(path, 0644);
	ok("a secret that others may read is refused", file_read_private(path, 10, &text, &len, &f) == -EPERM &&
	   strstr(f.text, "chmod 600"), "%s", f.text);
}

static void test_jwe(void)
{
	static const char *const names[] = {"P-256", "P-384", "P-521"};
	struct fault f = {""};
	for (int i = 0; i < 3; i++) {
		EVP_PKEY *key = jwk_new_key(names[i]), *other = jwk_new_key(names[i]), *back = NULL;
		json_t *jwk = jwk_from_key(key), *jwe = NULL;
		uint8_t plain[100];
		size_t len = 0;
		char label[64];
		snprintf(label, sizeof label, "jwe round trip %s", names[i]);
		int err = jwk_to_key(jwk, &back, &f);
		if (!err)
			err = jwe_encrypt(back, "secret bytes", 12, &jwe, &f);
		if (!err)
			err = jwe_decrypt(key, jwe, plain, sizeof plain, &len, &f);
		ok(label, !err && len == 12 && !memcmp(plain, "secret bytes", 12), "%d: %s", err, f.text);
		snprintf(label, sizeof label, "jwe for another key %s", names[i]);
		ok(label, jwe && jwe_decrypt(other, jwe, plain, sizeof plain, &len, &f) == -EBADMSG, "opened");
		static const char *const fields[] = {"ciphertext", "tag", "iv", "encrypted_key", "protected"};
		for (size_t k = 0; jwe && k < 5; k++) {
			json_t *copy = json_deep_copy(jwe);
			char *text = strdup(json_string_value(json_object_get(jwe, fields[k])));
			text[5] = text[5] == 'A' ? 'B' : 'A';
			json_object_set_new(copy, fields[k], json_string(text));
			snprintf(label, sizeof label, "jwe with a changed %s %s", fields[k], names[i]);
			ok(label, jwe_decrypt(key, copy, plain, sizeof plain, &len, &f) < 0, "opened");
			free(text);
			json_decref(copy);
		}
		json_decref(jwe);
		json_decref(jwk);
		EVP_PKEY_free(back);
		EVP_PKEY_free(key);
		EVP_PKEY_free(other);
	}
	EVP_PKEY *key = NULL;
	json_t *off = json_pack("{s:s, s:s, s:s, s:s}", "kty", "EC", "crv", "P-256", "x",
				"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "y",
				"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyN");
	ok("a point off the curve is refused", jwk_to_key(off, &key, &f) == -EINVAL, "accepted");
	json_decref(off);
}

// The other implementation at hand: what we encrypt `jose` decrypts, and the other way round.
static void test_jose(void)
{
	if (system("jose jwk gen -i '{\"alg\":\"A256GCM\"}' >/dev/null 2>&1") != 0) {
		skip("jwe against jose", "the tool jose is not installed");
		return;
	}
	char dir[64], command[512], path[80], *text = NULL;
	struct fault f = {""};
	size_t len, n = 0;
	if (!test_folder(dir, "jose"))
		abort();
	snprintf(command, sizeof command, "cd %s && jose jwk gen -i '{\"kty\":\"EC\",\"crv\":\"P-256\"}' -o key.jwk",
		 dir);
	int rc = system(command);
	snprintf(path, sizeof path, "%s/key.jwk", dir);
	json_t *jwk = rc ? NULL : json_load_file(path, 0, NULL), *jwe = NULL;
	EVP_PKEY *key = NULL;
	json_object_del(jwk, "alg");
	int err = jwk ? jwk_to_key(jwk, &key, &f) : -1;
	if (!err)
		err = jwe_encrypt(key, "secret bytes", 12, &jwe, &f);
	snprintf(path, sizeof path, "%s/ours.jwe", dir);
	if (!err)
		json_dump_file(jwe, path, 0);
	snprintf(command, sizeof command, "cd %s && jose jwe dec -i ours.jwe -k key.jwk -O plain", dir);
	rc = err ? -1 : system(command);
	snprintf(path, sizeof path, "%s/plain", dir);
	ok("jose opens what we encrypt",
	   rc == 0 && !file_read(path, 100, &text, &len, &f) && !strcmp(text, "secret bytes"), "%d %s", err, f.text);
	if (rc == 0)
		free(text);
	json_decref(jwe);
	json_decref(jwk);
	EVP_PKEY_free(key);

	key = jwk_new_key("P-256");
	jwk = jwk_from_key(key);
	snprintf(path, sizeof path, "%s/pub.jwk", dir);
	json_dump_file(jwk, path, 0);
	snprintf(command, sizeof command, "cd %s && printf 'their secret' | jose jwe enc -I- -k pub.jwk "
		 "-i '{\"protected\":{\"alg\":\"ECDH-ES+A256KW\",\"enc\":\"A256GCM\"}}' -o theirs.jwe", dir);
	rc = system(command);
	snprintf(path, sizeof path, "%s/theirs.jwe", dir);
	jwe = rc ? NULL : json_load_file(path, 0, NULL);
	uint8_t plain[64];
	err = jwe ? jwe_decrypt(key, jwe, plain, sizeof plain, &n, &f) : -1;
	ok("we open what jose encrypts", !err && n == 12 && !memcmp(plain, "their secret", 12), "%d %s", err, f.text);
	json_decref(jwe);
	json_decref(jwk);
	EVP_PKEY_free(key);
}

int main(void)
{
	test_encode();
	test_printable();
	test_lock();
	test_yaml();
	test_http();
	test_files();
	test_jwe();
	test_jose();
	return ok_failed != 0;
}
