// SPDX-License-Identifier: Apache-2.0
// coffer.yaml: what is accepted, the canonical JSON, and each refusal with its line.
#include <stdlib.h>
#include <string.h>

#include "image/config.h"
#include "tests/image/unit.h"

#define ANCHOR "{\"anchor\":{\"bound\":60,\"each_fsync\":false,\"every\":1000,\"in\":\"broker\"},"

static void accepts(const char *name, const char *yaml, const char *json)
{
	struct text out = {0};
	struct config c;
	struct fault f = {0};

	if (config_parse(&c, "/tmp", "coffer.yaml", yaml, strlen(yaml), &f)) {
		unit_check(false, name, f.text);
		return;
	}
	config_json(&c, &out);
	unit_check(!strcmp(out.data, json), name, out.data);
	text_free(&out);
	config_free(&c);
}

// The message must contain every part of `says`, which are separated by |.
static void refuses(const char *name, const char *yaml, const char *says)
{
	char parts[512], *save = NULL;
	struct fault f = {0};
	struct config c;
	bool good = config_parse(&c, "/tmp", "coffer.yaml", yaml, strlen(yaml), &f) < 0;

	snprintf(parts, sizeof(parts), "%s", says);
	for (char *part = strtok_r(parts, "|", &save); part && good; part = strtok_r(NULL, "|", &save))
		good = strstr(f.text, part);
	unit_check(good, name, f.text[0] ? f.text : "it was accepted");
}

static void accepts_network(const char *name, const char *section, const char *json)
{
	char yaml[512];
	struct fault f = {0};
	struct text out = {0};
	struct config c;

	snprintf(yaml, sizeof(yaml), "command: [a]\nnetwork:\n  %s\n", section);
	if (config_parse(&c, "/tmp", "coffer.yaml", yaml, strlen(yaml), &f)) {
		unit_check(false, name, f.text);
		return;
	}
	config_network_json(&c, &out);
	unit_check(!strcmp(out.data, json), name, out.data);
	text_free(&out);
	config_free(&c);
}

#define VERIFY "verify: {policy: /p.yaml}"

// The network shield.
static void network(void)
{
	static const char yaml[] =
		"command: [a]\nnetwork:\n  verify: {measurements: [00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff]}\n"
		"  listen: [8080, 6379: attested, 443: {session: wanted, verify: {policy: /p.yaml, collateral: /c}}]\n"
		"  connect:\n    - Db.example:5432: attested\n    - db.example:22\n    - \"[2001:db8::1]:443\": {attest: true, verify: {ca: /ca.pem, name: x}}\n"
		"    - 192.0.2.1:80\n    - a.example:80\n";
	static const char want[] =
		"{\"connect\":\"listed\",\"destinations\":["
		"{\"address\":\"192.0.2.1\",\"attest\":false,\"host\":\"192.0.2.1\",\"mux\":false,\"plain\":true,\"port\":80,\"session\":\"off\",\"verify\":null},"
		"{\"address\":\"2001:db8::1\",\"attest\":true,\"host\":\"2001:db8::1\",\"mux\":false,\"plain\":false,\"port\":443,\"session\":\"required\","
		"\"verify\":{\"ca\":\"/ca.pem\",\"name\":\"x\"}},"
		"{\"address\":\"100.64.1.1\",\"attest\":false,\"host\":\"a.example\",\"mux\":false,\"plain\":true,\"port\":80,\"session\":\"off\",\"verify\":null},"
		"{\"address\":\"100.64.1.2\",\"attest\":false,\"host\":\"db.example\",\"mux\":false,\"plain\":true,\"port\":22,\"session\":\"off\",\"verify\":null},"
		"{\"address\":\"100.64.1.2\",\"attest\":false,\"host\":\"db.example\",\"mux\":true,\"plain\":false,\"port\":5432,\"session\":\"required\","
		"\"verify\":{\"measurements\":[\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\"]}}],\"dns\":[],\"listen\":[8080],\"shield\":["
		"{\"attest\":true,\"port\":443,\"session\":\"wanted\",\"verify\":{\"collateral\":\"/c\",\"policy\":\"/p.yaml\"}},"
		"{\"attest\":true,\"port\":6379,\"session\":\"required\",\"verify\":null}]}";
	static const struct {
		const char *name, *text, *says;
	} wrong[] = {
		{"port_twice", "listen: [80, 80: attested]", "given twice"},
		{"protection", "listen: [80: encrypted]", "'attested' or a map"},
		{"port_zero", "listen: [0: attested]", "not a port"},
		{"two_in_one", "listen: [{80: attested, 81: attested}]", "one line"},
		{"proves_nothing", "listen: [80: {attest: false}]", "shown evidence"},
		{"entry_key", "listen: [80: {verfy: {}}]", "did you mean 'verify'"},
		{"nobody_meant", "connect: [a.b:1: attested]", "what the far end has to prove"},
		{"nobody_meant_either", "connect: [a.b:1: {verify: {collateral: /c}}]", "which peers are meant"},
		{"relative", "connect: [a.b:1: {verify: {policy: p.yaml}}]", "absolute path"},
		{"mux", "listen: [80: {mux: true}]", "is for destinations"},
		{"digest", "connect: [a.b:1: {verify: {measurements: [xyz]}}]", "not a measurement"},
		{"session", "connect: [a.b:1: {session: yes}]", "required, wanted or off"},
		{"inside", "connect: [127.0.0.1:1]", "inside the enclave"},
		{"inside_name", "connect: [localhost:1]", "inside the enclave"},
		{"inside_mapped", "connect: [\"[::1]:1\"]", "inside the enclave"},
		{"ours", "connect: [100.64.1.1:1]", "stand for destinations"},
		{"no_port", "connect: [a.b]", "not a destination"},
		{"bad_host", "connect: [\"a b:1\"]", "not a destination"},
		{"bare_v6", "connect: [\"2001:db8::1:443\"]", "in brackets"},
		{"twice", "connect: [a.b:1, A.B:1: {" VERIFY "}]", "given twice"},
		{"dns_listed", "dns: {1.2.3.4:853: {" VERIFY "}}\n  connect: [a.b:1]", "may connect to any"},
		{"dns_list", "dns: [1.2.3.4:853]", "a name server behind"},
	};
	char *many = xmalloc(1 << 16), name[64], text[256];
	struct fault f = {0};
	struct text out = {0};
	struct config c;

	unit_check(!config_parse(&c, "/tmp", "coffer.yaml", yaml, strlen(yaml), &f), "network_read", f.text);
	config_network_json(&c, &out);
	unit_check(out.data && !strcmp(out.data, want), "network_json", out.data ? out.data : "");
	unit_check(config_has_gateway(&c) && config_listens(&c, 6379) && config_listens(&c, 8080) && !config_listens(&c, 22), "network_listens", "");
	unit_check(c.shield_files.count == 3, "network_files", "the files that the gateway reads");
	text_free(&out);
	config_free(&c);
	accepts_network("network_dns", "connect: any\n  dns: {1.2.3.4:853: {" VERIFY "}}",
			"{\"connect\":\"any\",\"destinations\":[],\"dns\":[{\"address\":\"100.64.0.53\",\"attest\":false,\"host\":\"1.2.3.4\",\"mux\":true,\"plain\":false,"
			"\"port\":853,\"session\":\"required\",\"verify\":{\"policy\":\"/p.yaml\"}}],\"listen\":[],\"shield\":[]}");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
		snprintf(name, sizeof(name), "network_%s", wrong[i].name);
		snprintf(text, sizeof(text), "command: [a]\nnetwork:\n  %s\n", wrong[i].text);
		refuses(name, text, wrong[i].says);
	}
	strcpy(many, "command: [a]\nnetwork: {listen: [1");
	for (int i = 2; i <= CONFIG_MAX_PORTS + 1; i++)
		sprintf(many + strlen(many), ", %d: attested", i);
	strcat(many, "]}\n");
	refuses("network_many", many, "at most 64");
	free(many);
}

int main(void)
{
	struct fault f = {0};
	struct config c;
	uint64_t size;

	accepts("config_least", "command: [/bin/echo]\n",
		ANCHOR "\"broker\":{\"ca\":\"\",\"name\":\"\",\"timeout\":10},\"command\":[\"/bin/echo\"],\"debug_enclave\":false,\"environment\":{},"
		"\"host_arguments\":false,\"host_environment\":[],\"host_exec\":[],\"limits\":{\"cpus\":0,\"descriptors\":0,\"files\":0,\"processes\":0},\"memory\":8589934592,\"name\":\"enclave\","
		"\"network\":{\"connect\":\"none\",\"destinations\":[],\"dns\":[],\"listen\":[],\"shield\":[]},\"restartable_sequences\":false,\"secrets\":{},\"time\":\"host\",\"version\":1,\"volume_cache\":67108864,\"volumes\":{},\"working_directory\":\"/\"}");
	accepts("config_all",
		"name: scoring\ncommand: [python3, \"a b\\n.py\"]\nhost_arguments: true\nenvironment: {B: 'x\"y', A: 1}\n"
		"host_environment: [TERM, LC_ALL]\nhost_exec: [/x, /bin/sh]\nworking_directory: /app\nvolumes:\n  /out: {mode: rw}\n"
		"  /data: {mode: ro, name: 00112233445566778899aabbccddeeff}\n  /x:\ncopy: [a, {from: b, to: /c}]\nmemory: 64M\nvolume_cache: 2M\n"
		"limits: {processes: 100, cpus: 2, descriptors: 512, files: 4096}\n"
		"network: {listen: [443, 80], connect: any}\nbroker:\ndebug_enclave: true\nrestartable_sequences: true\ntime: broker\n"
		"secrets:\n  /run/s/b: {resource: a/b/c-1, mode: 0440, owner: 33, group: 34, version: 2}\n  /run/a: default/app/x\n",
		ANCHOR "\"broker\":{\"ca\":\"\",\"name\":\"\",\"timeout\":10},\"command\":[\"python3\",\"a b\\n.py\"],\"debug_enclave\":true,\"environment\":{\"A\":\"1\","
		"\"B\":\"x\\\"y\"},\"host_arguments\":true,\"host_environment\":[\"LC_ALL\",\"TERM\"],\"host_exec\":[\"/bin/sh\",\"/x\"],\"limits\":{\"cpus\":2,\"descriptors\":512,\"files\":4096,\"processes\":100},\"memory\":67108864,"
		"\"name\":\"scoring\",\"network\":{\"connect\":\"any\",\"destinations\":[],\"dns\":[],\"listen\":[80,443],\"shield\":[]},\"restartable_sequences\":true,\"secrets\":{\"/run/a\":{\"group\":0,\"mode\":256,"
		"\"owner\":0,\"resource\":\"default/app/x\",\"version\":0},\"/run/s/b\":{\"group\":34,\"mode\":288,\"owner\":33,\"resource\":\"a/b/c-1\",\"version\":2}},"
		"\"time\":\"broker\",\"version\":1,\"volume_cache\":2097152,\"volumes\":{\"/data\":{"
		"\"mode\":\"ro\",\"name\":\"00112233445566778899aabbccddeeff\"},\"/out\":{\"mode\":\"rw\",\"name\":\"\"},"
		"\"/x\":{\"mode\":\"ro\",\"name\":\"\"}},\"working_directory\":\"/app\"}");
	refuses("config_limit_name", "command: [a]\nlimits: {cpu: 1}\n", "coffer.yaml:2:|of 'limits'|did you mean 'cpus'");
	refuses("config_limit_range", "command: [a]\nlimits: {cpus: 65}\n", "coffer.yaml:2:|from 1 to 64");
	refuses("config_limit_none", "command: [a]\nlimits: {processes: 0}\n", "from 8 to 16384");
	refuses("config_limit_sign", "command: [a]\nlimits: {descriptors: -1}\n", "from 16 to 1048576");
	refuses("config_limit_text", "command: [a]\nlimits: {files: 1000x}\n", "not '1000x'");
	refuses("config_limit_long", "command: [a]\nlimits: {files: 99999999999999999999999}\n", "from 64 to");
	refuses("config_limit_memory", "command: [a]\nlimits: {memory: 1G}\n", "key of its own");
	refuses("config_limit_twice", "command: [a]\nlimits: {cpus: 1, cpus: 2}\n", "twice");
	refuses("config_broker_timeout", "command: [a]\nbroker: {timeout: soon}\n", "coffer.yaml:2:|number of seconds");
	refuses("config_broker_name", "command: [a]\nbroker: {name: 'a b'}\n", "coffer.yaml:2:|name or address");
	refuses("config_unknown_key_named", "command: [a]\n\nmemroy: 1G\n", "coffer.yaml:3:|unknown key 'memroy'|did you mean 'memory'");
	refuses("config_unknown_key_far", "command: [a]\nxyzzyplugh: 1\n", "coffer.yaml:2:|known keys: name, command");
	refuses("config_unknown_inner_key", "command: [a]\nnetwork:\n  lsiten: [1]\n", "coffer.yaml:3:|did you mean 'listen'");
	refuses("config_unknown_volume_key", "command: [a]\nvolumes:\n  /d: {mdoe: ro}\n", "coffer.yaml:3:|did you mean 'mode'");
	refuses("config_secret_elsewhere", "command: [a]\nsecrets:\n  /etc/key: default/a/b\n", "coffer.yaml:3:|below /run");
	refuses("config_secret_up", "command: [a]\nsecrets:\n  /run/../etc/key: default/a/b\n", "coffer.yaml:3:|below /run");
	refuses("config_secret_name", "command: [a]\nsecrets: {/run/key: default/a}\n", "coffer.yaml:2:|resource of the broker");
	refuses("config_secret_of_nothing", "command: [a]\nsecrets: {/run/key: {mode: 0400}}\n", "coffer.yaml:2:|'resource' is missing");
	refuses("config_secret_mode", "command: [a]\nsecrets: {/run/key: {resource: a/b/c, mode: 4755}}\n", "coffer.yaml:2:|octal");
	refuses("config_secret_key", "command: [a]\nsecrets: {/run/key: {resuorce: a/b/c}}\n", "coffer.yaml:2:|did you mean 'resource'");
	refuses("config_duplicate_key", "command: [a]\nname: a\nname: b\n", "coffer.yaml:3:|given twice");
	refuses("config_wrong_type_list", "command: /bin/echo\n", "coffer.yaml:1:|'command' is a list");
	refuses("config_wrong_type_scalar", "command: [a]\nname: [a]\n", "coffer.yaml:2:|one value");
	refuses("config_bad_bool", "command: [a]\nhost_arguments: yes\n", "coffer.yaml:2:|true or false");
	refuses("config_no_command", "name: a\n", "'command' is missing");
	refuses("config_empty", "", "empty");
	refuses("config_not_yaml", "command: [a\n", "not valid YAML");
	refuses("config_tab", "name: a\ncommand:\n\t- a\n", ":3: not valid YAML: a tab: YAML is indented with spaces");
	refuses("config_memory_word", "command: [a]\nmemory: lots\n", "coffer.yaml:2:|such as 512M");
	refuses("config_volume_cache", "command: [a]\nvolume_cache: 100K\n", "coffer.yaml:2:|between");
	refuses("config_memory_small", "command: [a]\nmemory: 1M\n", "coffer.yaml:2:|between");
	refuses("config_memory_overflow", "command: [a]\nmemory: 99999999999999999999G\n", "coffer.yaml:2:");
	refuses("config_relative_path", "command: [a]\nworking_directory: app\n", "coffer.yaml:2:|absolute path");
	refuses("config_dotted_path", "command: [a]\nvolumes: {/a/../b: {}}\n", "coffer.yaml:2:|absolute path");
	refuses("config_volume_over_coffer", "command: [a]\nvolumes: {/.coffer: {}}\n", "belongs to Coffer");
	refuses("config_volume_id", "command: [a]\nvolumes: {/a: {name: xyz}}\n", "32 hex digits");
	refuses("config_port", "command: [a]\nnetwork: {listen: [70000]}\n", "not a port");
	refuses("config_port_twice", "command: [a]\nnetwork: {listen: [80, 80]}\n", "given twice");
	refuses("config_connect", "command: [a]\nnetwork: {connect: some}\n", "any, none or a list");
	refuses("config_time", "command: [a]\ntime: ntp\n", "host or broker");
	network();
	refuses("config_environment_name", "command: [a]\nenvironment: {1A: x}\n", "cannot be the name");
	refuses("config_exec_relative", "command: [a]\nhost_exec: [sh]\n", ":2:|absolute path");
	refuses("config_exec_unclean", "command: [a]\nhost_exec: [/bin/../sh]\n", ":2:|absolute path");
	refuses("config_exec_word", "command: [a]\nhost_exec: all\n", ":2:|any, or none");
	refuses("config_environment_conflict", "command: [a]\nenvironment: {A: x}\nhost_environment: [A]\n", "fixed by 'environment'");
	refuses("config_ca_missing", "command: [a]\nbroker: {ca: no-such-file.pem}\n", "coffer.yaml:2:|no-such-file.pem");
	refuses("config_host_mounts", "command: [a]\ninsecure_host_mounts: [/x]\n", "coffer.yaml:2:|cannot mount host folders");
	refuses("config_copy_without_from", "command: [a]\ncopy: [{to: /x}]\n", "coffer.yaml:2:|what to copy");
	unit_check(config_load(&c, "/no/such/folder", &f) < 0 && strstr(f.text, "/no/such/folder"), "config_no_folder", f.text);
	unit_check(config_load(&c, "/tmp", &f) < 0 && strstr(f.text, "coffer init"), "config_no_project", f.text);
	unit_check(!config_parse_size("3K", &size) && size == 3072 && config_parse_size("3X", &size) < 0 &&
			   config_parse_size("", &size) < 0 && config_parse_size("18446744073709551616", &size) < 0,
		   "config_sizes", "a size was read wrongly");
	return unit_failed;
}
