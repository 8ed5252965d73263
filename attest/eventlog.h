// SPDX-License-Identifier: Apache-2.0
// The TCG's event logs: of a TPM (crypto-agile, or the old form with SHA-1 alone) and of confidential guests (CCEL), and their replay to the
// registers that the hardware signs. Format: "TCG PC Client Platform Firmware Profile", section 10; UEFI 2.10 section 38 for CCEL.
// A log is untrusted: what makes it worth reading is that it replays to a signed register, and even then only the digests are proved,
// not the words beside them (event_proved tells where the digest is one of the words). Pure; no locks.
#ifndef COFFER_ATTEST_EVENTLOG_H
#define COFFER_ATTEST_EVENTLOG_H

#include <jansson.h>

#include "attest/bytes.h"
#include "attest/digest.h"
#include "attest/result.h"
#include "lib/fault.h"

#define EVENTLOG_MAX_BYTES (4 << 20)
#define EVENTLOG_MAX_EVENTS 8192
#define EVENTLOG_MAX_ALGS 8
#define EVENTLOG_REGISTERS 24

struct eventlog {
	struct cursor rest;
	bool legacy;			// SHA-1 alone, without header
	unsigned int events;		// read so far
	unsigned int alg_count;
	struct {
		uint16_t alg, size;
	} algs[EVENTLOG_MAX_ALGS];
};

struct event {
	uint32_t index, type;		// register as the log counts; TCG's event type
	unsigned int digest_count;
	struct {
		uint16_t alg;
		const uint8_t *bytes;
	} digests[EVENTLOG_MAX_ALGS];
	const uint8_t *data;
	uint32_t len;
};

enum event_type {
	EV_PREBOOT_CERT = 0, EV_POST_CODE = 1, EV_NO_ACTION = 3, EV_SEPARATOR = 4, EV_ACTION = 5, EV_EVENT_TAG = 6, EV_S_CRTM_CONTENTS = 7,
	EV_S_CRTM_VERSION = 8, EV_CPU_MICROCODE = 9, EV_PLATFORM_CONFIG_FLAGS = 10, EV_TABLE_OF_DEVICES = 11, EV_COMPACT_HASH = 12, EV_IPL = 13,
	EV_IPL_PARTITION_DATA = 14, EV_NONHOST_CODE = 15, EV_NONHOST_CONFIG = 16, EV_NONHOST_INFO = 17, EV_OMIT_BOOT_DEVICE_EVENTS = 18,
	EV_EFI_VARIABLE_DRIVER_CONFIG = 0x80000001, EV_EFI_VARIABLE_BOOT = 0x80000002, EV_EFI_BOOT_SERVICES_APPLICATION = 0x80000003,
	EV_EFI_BOOT_SERVICES_DRIVER = 0x80000004, EV_EFI_RUNTIME_SERVICES_DRIVER = 0x80000005, EV_EFI_GPT_EVENT = 0x80000006,
	EV_EFI_ACTION = 0x80000007, EV_EFI_PLATFORM_FIRMWARE_BLOB = 0x80000008, EV_EFI_HANDOFF_TABLES = 0x80000009,
	EV_EFI_PLATFORM_FIRMWARE_BLOB2 = 0x8000000a, EV_EFI_HANDOFF_TABLES2 = 0x8000000b, EV_EFI_VARIABLE_BOOT2 = 0x8000000c,
	EV_EFI_HCRTM_EVENT = 0x80000010, EV_EFI_VARIABLE_AUTHORITY = 0x800000e0,
};

// Reads the header. -EINVAL when there is none that is known.
int eventlog_open(struct eventlog *l, const uint8_t *bytes, size_t len, struct fault *f);
// The next event: 1; 0 at the end (padding counts as such); -EINVAL when the log is cut short or malformed.
int eventlog_next(struct eventlog *l, struct event *e, struct fault *f);

// The digest of that algorithm, or NULL.
const uint8_t *event_digest(const struct event *e, uint16_t alg);
// "EV_IPL"; "" for unknown ones.
const char *event_type_name(uint32_t type);
// What the event is about, in words: a file's path, a variable, a text. Returns out, printable ASCII.
char *event_words(const struct event *e, char *out, size_t size);
// What it measures: "kernel", "initrd", "cmdline", "uki-section", "grub", "shim", "secure-boot", "application"...; "" when it is none of these.
const char *event_role(const struct event *e);
// The digest is that of the event's own data or text, so the words are proved with it. *text gets where that text begins.
bool event_proved(const struct event *e, uint16_t alg, const uint8_t **text, size_t *len);

struct eventlog_registers {
	uint16_t alg;
	bool used[EVENTLOG_REGISTERS];	// some event was extended to it
	uint8_t value[EVENTLOG_REGISTERS][DIGEST_MAX];
};

// Extends registers as the hardware did. -EINVAL: malformed, an event without a digest of that algorithm, or a register that does not exist.
int eventlog_replay(const uint8_t *bytes, size_t len, uint16_t alg, struct eventlog_registers *r, struct fault *f);

// Replays and compares with registers that a signature vouches for: check "event-log". `first` is the log's number of registers[0] (CCEL: 1
// for RTMR0; TPM: 0), `mask` says which of `count` are given. On success the claims of the log are set under `event_log`.
void eventlog_check(struct attest_result *out, const uint8_t *bytes, size_t len, uint16_t alg, uint32_t first, uint32_t mask,
		    const uint8_t *const *registers, unsigned int count, const char *register_name);

// The log as claims, as untrusted as the log: events, and by role what was measured.
json_t *eventlog_claims(const uint8_t *bytes, size_t len, uint16_t alg, struct fault *f);

#endif
