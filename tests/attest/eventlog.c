// SPDX-License-Identifier: Apache-2.0
// Event logs: of real machines against the registers that a quote signs, against another implementation (tpm2_eventlog) and recorded
// readings; made ones with everything wrong that can be.
#include "attest/eventlog.h"

#include <stdlib.h>
#include <string.h>

#include "attest/dcap_quote.h"
#include "lib/encode.h"
#include "tests/attest/ok.h"
#include "tests/attest/vectors.h"

// GCP's quote signs what its log replays to.
static void test_quote(void)
{
	size_t log_len, quote_len;
	char *log = vector_read("tdx/gcp-ccel/ccel_data.dat", &log_len), *quote = vector_read("tdx/gcp-ccel/cos-113-tdx-quote.dat", &quote_len);
	struct dcap_quote q;
	struct attest_result r;
	struct fault f = {""};
	if (!log || !quote) {
		skip("eventlog: a real log and its quote", "the vectors are not here");
		goto out;
	}
	dcap_quote_parse((uint8_t *)quote, quote_len, &q, NULL);
	const uint8_t *rtmr[4] = {q.td.rtmr[0], q.td.rtmr[1], q.td.rtmr[2], q.td.rtmr[3]};
	attest_result_init(&r);
	eventlog_check(&r, (uint8_t *)log, log_len, TPM_SHA384, 1, 15, rtmr, 4, "RTMR");
	const json_t *measured = json_object_get(json_object_get(r.claims, "event_log"), "measured");
	ok("eventlog: a real log replays to its quote's RTMRs", attest_passed(&r), "%s", failures(&r));
	ok("eventlog: its 43 events are read", json_integer_value(json_object_get(json_object_get(r.claims, "event_log"), "count")) == 43, "%lld",
	   (long long)json_integer_value(json_object_get(json_object_get(r.claims, "event_log"), "count")));
	ok("eventlog: GRUB's commands are told apart", json_array_size(json_object_get(measured, "grub-command")) > 0 ||
	   json_array_size(json_object_get(measured, "cmdline")) > 0, "they are not");
	attest_result_free(&r);
	unsigned int missed = 0;
	struct eventlog l;
	struct event e;
	eventlog_open(&l, (uint8_t *)log, log_len, &f);
	while (eventlog_next(&l, &e, &f) == 1) {
		uint8_t *digest = (uint8_t *)event_digest(&e, TPM_SHA384);
		if (e.type == EV_NO_ACTION)
			continue;
		digest[7] ^= 4;
		attest_result_init(&r);
		eventlog_check(&r, (uint8_t *)log, log_len, TPM_SHA384, 1, 15, rtmr, 4, "RTMR");
		missed += attest_passed(&r);
		attest_result_free(&r);
		digest[7] ^= 4;
	}
	ok("eventlog: each changed digest is noticed", missed == 0, "%u missed", missed);
	memset(q.td.rtmr[3], 1, 48);
	attest_result_init(&r);
	eventlog_check(&r, (uint8_t *)log, log_len, TPM_SHA384, 1, 15, rtmr, 4, "RTMR");
	ok("eventlog: a register without events must be zero", !attest_passed(&r) && strstr(r.checks[0].found, "RTMR3"), "%s", r.checks[0].found);
	attest_result_free(&r);
	attest_result_init(&r);
	eventlog_check(&r, (uint8_t *)log, log_len, TPM_SHA384, 1, 5, rtmr, 4, "RTMR");
	ok("eventlog: events of a register that nobody signed", !attest_passed(&r), "accepted");
	attest_result_free(&r);
out:
	free(log);
	free(quote);
}

// Recorded readings of CCEL data: type, register, digest and whether the digest is the event's own.
static void test_golden(const char *name, uint16_t alg)
{
	char label[128], path[128];
	size_t len, json_len, n = 0, wrong = 0, matches = 0, golden_matches = 0;
	struct eventlog l;
	struct event e;
	snprintf(path, sizeof path, "eventlog/trustee/%s", name);
	char *log = vector_read(path, &len);
	snprintf(path, sizeof path, "eventlog/trustee/%s_out.json", name);
	char *text = vector_read(path, &json_len);
	snprintf(label, sizeof label, "eventlog: %s as another reader has it", name);
	if (!log || !text) {
		skip(label, "the vectors are not here");
		goto out;
	}
	json_t *o = json_loadb(text, json_len, 0, NULL), *list = json_object_get(o, "uefi_event_logs");
	int err = eventlog_open(&l, (uint8_t *)log, len, NULL);
	while (!err && (err = eventlog_next(&l, &e, NULL)) == 1) {
		char hex[2 * DIGEST_MAX + 1];
		const json_t *g = json_array_get(list, n), *d = json_array_get(json_object_get(g, "digests"), 0);
		const uint8_t *digest = event_digest(&e, alg), *t;
		size_t t_len;
		err = 0;
		if (e.type == EV_NO_ACTION && !g)
			continue;
		n++;
		const char *want = json_string_value(json_object_get(d, "digest")), *type = json_string_value(json_object_get(g, "type_name"));
		wrong += !want || !digest || !type || strcmp(want, hex_encode(hex, digest, digest_size(alg))) ||
			 strcmp(type, event_type_name(e.type)) || json_integer_value(json_object_get(g, "index")) != (json_int_t)e.index;
		bool theirs = json_is_true(json_object_get(g, "digest_matches_event")), ours = event_proved(&e, alg, &t, &t_len);
		golden_matches += theirs;
		matches += theirs && ours;
	}
	ok(label, !err && !wrong && n == json_array_size(list), "%zu of %zu differ, end %d, %zu there", wrong, n, err, json_array_size(list));
	snprintf(label, sizeof label, "eventlog: %s, what its digests prove", name);
	ok(label, matches == golden_matches, "%zu of %zu", matches, golden_matches);
	json_decref(o);
out:
	free(log);
	free(text);
}

// TPM logs: registers as tpm2-tools replay them.
static void test_tool(const char *name)
{
	char label[128], path[256], line[512], bank[16] = "";
	size_t len;
	unsigned int compared = 0, wrong = 0;
	snprintf(label, sizeof label, "eventlog: %s replays as tpm2_eventlog replays it", name);
	snprintf(path, sizeof path, "eventlog/tpm/%s.bin", name);
	char *log = vector_read(path, &len);
	const char *folder = getenv("COFFER_VECTORS");
	snprintf(line, sizeof line, "tpm2_eventlog %s/%s 2>/dev/null", folder ? folder : "../shared/vectors", path);
	FILE *tool = log && !system("command -v tpm2_eventlog >/dev/null 2>&1") ? popen(line, "r") : NULL;
	if (!tool) {
		skip(label, log ? "tpm2_eventlog is not installed" : "the vectors are not here");
		free(log);
		return;
	}
	struct eventlog_registers r = {0};
	bool pcrs = false;
	int err = 0;
	while (fgets(line, sizeof line, tool)) {
		char value[2 * DIGEST_MAX + 1], hex[2 * DIGEST_MAX + 1];
		unsigned int i;
		if (!strncmp(line, "pcrs:", 5))
			pcrs = true;
		else if (pcrs && sscanf(line, " %15[a-z0-9]:", bank) == 1 && strstr(line, "sha"))
			err |= eventlog_replay((uint8_t *)log, len, !strcmp(bank, "sha1") ? TPM_SHA1 : !strcmp(bank, "sha256") ? TPM_SHA256 : TPM_SHA384, &r, NULL);
		else if (pcrs && r.alg && sscanf(line, " %u : 0x%128[0-9a-f]", &i, value) == 2 && i < EVENTLOG_REGISTERS) {
			// The tool does not know that PCR 0 begins with the locality of the start-up.
			if (i == 0 && memmem(log, len, "StartupLocality", 16))
				continue;
			compared++;
			wrong += strcmp(value, hex_encode(hex, r.value[i], digest_size(r.alg))) != 0;
		}
	}
	pclose(tool);
	ok(label, !err && compared >= 7 && !wrong, "%u of %u registers differ, error %d", wrong, compared, err);
	free(log);
}

static uint8_t made[8192];

static size_t put(size_t at, uint64_t v, int n)
{
	for (int i = 0; i < n; i++)
		made[at + (size_t)i] = (uint8_t)(v >> 8 * i);
	return at + (size_t)n;
}

// The header of a log with SHA-256 and SHA-384.
static size_t put_header(void)
{
	size_t at = put(0, 0, 4);
	at = put(at, EV_NO_ACTION, 4);
	memset(made + at, 0, 20);
	at = put(at + 20, 16 + 8 + 4 + 8 + 1, 4);
	memcpy(made + at, "Spec ID Event03", 16);
	at = put(at + 16, 0, 4);
	at = put(at, 0x00020002, 4);
	at = put(at, 2, 4);
	at = put(at, TPM_SHA256 | 32 << 16, 4);
	at = put(at, TPM_SHA384 | 48 << 16, 4);
	return put(at, 0, 1);
}

static size_t put_event(size_t at, uint32_t index, uint32_t type, const void *measured, size_t measured_len, const void *data, size_t len)
{
	at = put(at, index, 4);
	at = put(at, type, 4);
	at = put(at, 2, 4);
	at = put(at, TPM_SHA256, 2);
	digest_two(TPM_SHA256, measured, measured_len, "", 0, made + at);
	at = put(at + 32, TPM_SHA384, 2);
	digest_two(TPM_SHA384, measured, measured_len, "", 0, made + at);
	at = put(at + 48, len, 4);
	memcpy(made + at, data, len);
	return at + len;
}

static const char *role_of(const void *data, size_t len, uint32_t type)
{
	struct event e = {.type = type, .data = data, .len = (uint32_t)len};
	return event_role(&e);
}

static void test_made(void)
{
	struct eventlog_registers r;
	struct fault f = {""};
	uint8_t want[48] = {0}, digest[48];
	size_t header = put_header(), at = header;
	static const char cmdline[] = "kernel_cmdline: ro quiet", locality[17] = "StartupLocality\0\x03";
	at = put_event(at, 0, EV_NO_ACTION, "", 0, locality, sizeof locality);
	size_t first = at;
	at = put_event(at, 9, EV_IPL, "ro quiet", 8, cmdline, sizeof cmdline);
	at = put_event(at, 0, EV_SEPARATOR, "\0\0\0\0", 4, "\0\0\0\0", 4);
	int err = eventlog_replay(made, at, TPM_SHA384, &r, &f);
	digest_two(TPM_SHA384, "ro quiet", 8, "", 0, digest);
	digest_two(TPM_SHA384, want, 48, digest, 48, want);
	ok("eventlog: one event", !err && r.used[9] && !memcmp(r.value[9], want, 48) && !r.used[1], "%d %s", err, f.text);
	memset(want, 0, sizeof want);
	want[47] = 3;
	digest_two(TPM_SHA384, "\0\0\0\0", 4, "", 0, digest);
	digest_two(TPM_SHA384, want, 48, digest, 48, want);
	ok("eventlog: PCR 0 begins with the locality", !memcmp(r.value[0], want, 48), "it does not");
	json_t *claims = eventlog_claims(made, at, TPM_SHA384, NULL);
	const json_t *line = json_array_get(json_object_get(json_object_get(claims, "measured"), "cmdline"), 0);
	ok("eventlog: a command line is named and proved", json_is_true(json_object_get(line, "digest_matches_event")) &&
	   !strcmp(json_string_value(json_object_get(line, "about")), cmdline), "it is not");
	json_decref(claims);
	char longest[1500];
	size_t end;
	memset(longest, 'x', sizeof longest);
	memcpy(longest, cmdline, sizeof cmdline - 1);
	memcpy(longest + sizeof longest - 6, " last", 6);
	end = put_event(at, 9, EV_IPL, longest + 16, sizeof longest - 17, longest, sizeof longest);
	claims = eventlog_claims(made, end, TPM_SHA384, NULL);
	line = json_array_get(json_object_get(json_object_get(claims, "measured"), "cmdline"), 1);
	ok("eventlog: of a long command line the end is there too", json_is_true(json_object_get(line, "digest_matches_event")) &&
	   !strcmp(json_string_value(json_object_get(line, "about")), longest), "it is cut");
	json_decref(claims);
	memset(made + at, 0, end - at);
	made[at - 4 - 4 - 48 - 2 - 32 - 2 - 4 - 8 - 5] ^= 1;	// a word of the command line
	claims = eventlog_claims(made, at, TPM_SHA384, NULL);
	line = json_array_get(json_object_get(json_object_get(claims, "measured"), "cmdline"), 0);
	ok("eventlog: a command line that was changed is not", json_is_false(json_object_get(line, "digest_matches_event")), "it is");
	json_decref(claims);
	memset(made + at, 0xff, 64);
	ok("eventlog: padding of ones", !eventlog_replay(made, at + 64, TPM_SHA384, &r, &f), "%s", f.text);
	memset(made + at, 0, 64);
	ok("eventlog: padding of zeros", !eventlog_replay(made, at + 64, TPM_SHA384, &r, &f), "%s", f.text);
	unsigned int accepted = 0;
	for (size_t n = first + 1; n < at; n++) {
		uint8_t *cut = malloc(n);
		memcpy(cut, made, n);
		bool whole = n == at - (12 + 34 + 50 + 8);	// between two events
		accepted += !whole && !eventlog_replay(cut, n, TPM_SHA384, &r, NULL) && r.used[0];
		free(cut);
	}
	ok("eventlog: cut short anywhere", accepted == 0, "%u accepted", accepted);
	ok("eventlog: an algorithm that the events lack", eventlog_replay(made, at, TPM_SHA512, &r, &f) < 0, "accepted");
	put(first + 8, 3, 4);
	ok("eventlog: more digests than algorithms", eventlog_replay(made, at, TPM_SHA384, &r, &f) < 0, "accepted");
	put(first + 8, 2, 4);
	put(first + 12, TPM_SHA384, 2);
	ok("eventlog: a digest of another size than its algorithm's", eventlog_replay(made, at, TPM_SHA384, &r, &f) < 0, "accepted");
	put(first + 12, TPM_SM3, 2);
	ok("eventlog: an algorithm that the header lacks", eventlog_replay(made, at, TPM_SHA384, &r, &f) < 0, "accepted");
	put(first + 12, TPM_SHA256, 2);
	put(first, 24, 4);
	ok("eventlog: a register that does not exist", eventlog_replay(made, at, TPM_SHA384, &r, &f) < 0, "accepted");
	put(first, 9, 4);
	put(first + 12 + 34 + 50, 0xffffffff, 4);
	ok("eventlog: an event of 4 GiB", eventlog_replay(made, at, TPM_SHA384, &r, &f) < 0, "accepted");
	put(32 + 16 + 8, 0xffffffff, 4);
	ok("eventlog: 4 billion algorithms", eventlog_replay(made, at, TPM_SHA384, &r, &f) < 0, "accepted");
}

// What an attestation agent writes for applications: a tagged event whose digest is that of all of it.
static void test_application(void)
{
	static const struct { const char *text, *operation, *content; } rows[] = {
		{"github.com/example PullImage {\"image\":\"a b\"}", "PullImage", "{\"image\":\"a b\"}"}, {"kernel_cmdline: ro", "none", "none"},
		{"a b \033[2J", "none", "none"}, {"a b ", "b", ""}};
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		uint8_t event[128] = {'L', 'E', 'A', 'A', (uint8_t)strlen(rows[i].text)};
		size_t len = 8 + strlen(rows[i].text), at = put_header();
		memcpy(event + 8, rows[i].text, len - 8);
		at = put_event(at, 4, EV_EVENT_TAG, event, len, event, len);
		json_t *claims = eventlog_claims(made, at, TPM_SHA384, NULL), *measured = json_object_get(claims, "measured");
		const json_t *e = json_array_get(json_object_get(measured, "application"), 0);
		const char *operation = json_string_value(json_object_get(e, "operation")) ?: "none";
		const char *content = json_string_value(json_object_get(e, "content")) ?: "none";
		ok("eventlog: an application's event", json_object_size(measured) == 1 && json_is_true(json_object_get(e, "digest_matches_event")) &&
		   !strcmp(operation, rows[i].operation) && !strcmp(content, rows[i].content), "%s: %s, %s", rows[i].text, operation, content);
		json_decref(claims);
		event[4]++;	// a length that is not its own
		ok("eventlog: an event that is not one", strcmp(role_of(event, len, EV_EVENT_TAG), "application") != 0, "%zu", i);
	}
}

static void test_roles(void)
{
	static const struct { const char *text, *role; uint32_t type; } rows[] = {
		{"grub_linuxefi Kernel", "kernel", EV_IPL}, {"grub_linuxefi Initrd", "initrd", EV_IPL}, {"kernel_cmdline: ro", "cmdline", EV_IPL},
		{"grub_kernel_cmdline ro", "cmdline", EV_IPL}, {"grub_cmd: linux /vmlinuz", "grub-command", EV_IPL}, {"MokListX", "shim-keys", EV_IPL},
		{".linux", "uki-section", EV_IPL}, {"(hd0,gpt1)/vmlinuz", "grub-file", EV_IPL}, {"something", "", EV_IPL},
		{"12345678LOADED_IMAGE::LoadOptions", "cmdline", EV_EVENT_TAG}, {"12345678Linux initrd", "initrd", EV_EVENT_TAG},
		{"Linux initrd", "", EV_SEPARATOR},
	};
	static const uint8_t uki[] = "01234567012345670123456701234567\x04\x04\x2a\0\\\0E\0F\0I\0\\\0L\0i\0n\0u\0x\0\\\0x\0.\0e\0f\0i\0\0\0\0\0\0\0\x7f\xff\x04\0";
	unsigned int wrong = 0;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
		wrong += strcmp(role_of(rows[i].text, strlen(rows[i].text), rows[i].type), rows[i].role) != 0;
	ok("eventlog: kernels, initrds and command lines are told apart", wrong == 0, "%u are not", wrong);
	ok("eventlog: a unified kernel image by its path", !strcmp(role_of(uki, sizeof uki - 1, EV_EFI_BOOT_SERVICES_APPLICATION), "uki"), "%s",
	   role_of(uki, sizeof uki - 1, EV_EFI_BOOT_SERVICES_APPLICATION));
}

int main(void)
{
	static const char *const logs[] = {"arch-linux-workstation", "cos-101-amd-sev", "cos-85-amd-sev", "cos-93-amd-sev", "debian-10", "glinux-alex",
					   "rhel8-uefi", "ubuntu-1804-amd-sev", "ubuntu-2104-no-dbx", "ubuntu-2104-no-secure-boot"};
	test_quote();
	test_golden("CCEL_data_ovmf", TPM_SHA384);
	test_golden("CCEL_data_grub", TPM_SHA384);
	test_golden("CCEL_data_csv", TPM_SM3);
	for (size_t i = 0; i < sizeof logs / sizeof *logs; i++)
		test_tool(logs[i]);
	test_made();
	test_application();
	test_roles();
	return ok_failed != 0;
}
