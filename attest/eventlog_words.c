// SPDX-License-Identifier: Apache-2.0
// What events are about: names of types, files, variables, texts; the role of each in a boot; the log as claims. See eventlog.h. Pure.
#include <ctype.h>
#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "attest/eventlog.h"
#include "attest/json.h"
#include "lib/encode.h"

static const struct {
	uint32_t type;
	const char *name;
} types[] = {
#define TYPE(t) {t, #t}
	TYPE(EV_PREBOOT_CERT), TYPE(EV_POST_CODE), TYPE(EV_NO_ACTION), TYPE(EV_SEPARATOR), TYPE(EV_ACTION), TYPE(EV_EVENT_TAG),
	TYPE(EV_S_CRTM_CONTENTS), TYPE(EV_S_CRTM_VERSION), TYPE(EV_CPU_MICROCODE), TYPE(EV_PLATFORM_CONFIG_FLAGS), TYPE(EV_TABLE_OF_DEVICES),
	TYPE(EV_COMPACT_HASH), TYPE(EV_IPL), TYPE(EV_IPL_PARTITION_DATA), TYPE(EV_NONHOST_CODE), TYPE(EV_NONHOST_CONFIG), TYPE(EV_NONHOST_INFO),
	TYPE(EV_OMIT_BOOT_DEVICE_EVENTS), TYPE(EV_EFI_VARIABLE_DRIVER_CONFIG), TYPE(EV_EFI_VARIABLE_BOOT), TYPE(EV_EFI_BOOT_SERVICES_APPLICATION),
	TYPE(EV_EFI_BOOT_SERVICES_DRIVER), TYPE(EV_EFI_RUNTIME_SERVICES_DRIVER), TYPE(EV_EFI_GPT_EVENT), TYPE(EV_EFI_ACTION),
	TYPE(EV_EFI_PLATFORM_FIRMWARE_BLOB), TYPE(EV_EFI_HANDOFF_TABLES), TYPE(EV_EFI_PLATFORM_FIRMWARE_BLOB2), TYPE(EV_EFI_HANDOFF_TABLES2),
	TYPE(EV_EFI_VARIABLE_BOOT2), TYPE(EV_EFI_HCRTM_EVENT), TYPE(EV_EFI_VARIABLE_AUTHORITY),
#undef TYPE
};

const char *event_type_name(uint32_t type)
{
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		if (types[i].type == type)
			return types[i].name;
	}
	return "";
}

// Bytes as text: of two bytes a character where every second one is zero, up to a terminator; what is not printable becomes '?'.
static size_t words(const uint8_t *p, size_t len, char *out, size_t size)
{
	size_t step = len >= 4 && p[0] && !p[1] && !p[3] ? 2 : 1, n = 0;
	for (size_t i = 0; i + step <= len && n + 1 < size; i += step) {
		if (!p[i])
			break;
		out[n++] = p[i] >= ' ' && p[i] < 0x7f && (step == 1 || !p[i + 1]) ? (char)p[i] : '?';
	}
	out[n] = '\0';
	return n;
}

// The name in UEFI_VARIABLE_DATA: GUID 16, length of name and data 8 each, name in UTF-16. NULL when malformed.
static const uint8_t *variable_name(const struct event *e, size_t *len, const uint8_t **data, size_t *data_len)
{
	struct cursor c = cursor_of(e->data, e->len);
	cursor_take(&c, 16);
	const uint8_t *sizes = cursor_take(&c, 16);
	if (!sizes)
		return NULL;
	uint64_t n = load_le64(sizes), d = load_le64(sizes + 8);
	if (n > c.left / 2)
		return NULL;
	const uint8_t *name = cursor_take(&c, (size_t)n * 2);
	if (d > c.left)
		return NULL;
	*len = (size_t)n * 2;
	*data = c.p;
	*data_len = (size_t)d;
	return name;
}

// The last file path among a UEFI device path's nodes: {type, subtype, length 2}, file paths are type 4, subtype 4.
static bool file_path(struct cursor c, char *out, size_t size)
{
	bool found = false;
	while (c.left >= 4) {
		const uint8_t *h = cursor_take(&c, 4);
		size_t n = load_le16(h + 2);
		if (n < 4 || n - 4 > c.left)
			break;
		const uint8_t *data = cursor_take(&c, n - 4);
		if (h[0] == 4 && h[1] == 4 && n - 4 >= 4) {
			words(data, n - 4, out, size);
			found = true;
		}
	}
	return found;
}

char *event_words(const struct event *e, char *out, size_t size)
{
	const uint8_t *data, *name;
	size_t len, data_len;
	out[0] = '\0';
	switch (e->type) {
	case EV_EFI_VARIABLE_DRIVER_CONFIG:
	case EV_EFI_VARIABLE_BOOT:
	case EV_EFI_VARIABLE_BOOT2:
	case EV_EFI_VARIABLE_AUTHORITY:
		name = variable_name(e, &len, &data, &data_len);
		if (name && len == 4)	// two characters are too few for the guess
			snprintf(out, size, "%c%c", isprint(name[0]) ? name[0] : '?', isprint(name[2]) ? name[2] : '?');
		else if (name)
			words(name, len, out, size);
		break;
	case EV_EFI_BOOT_SERVICES_APPLICATION:
	case EV_EFI_BOOT_SERVICES_DRIVER:
	case EV_EFI_RUNTIME_SERVICES_DRIVER:	// UEFI_IMAGE_LOAD_EVENT: address, length, link address, length of path, path
		if (e->len >= 32)
			file_path(cursor_of(e->data + 32, e->len - 32), out, size);
		break;
	case EV_EVENT_TAG:			// tag 4, length 4, text
		if (e->len >= 8)
			words(e->data + 8, e->len - 8, out, size);
		break;
	case EV_EFI_PLATFORM_FIRMWARE_BLOB2:
	case EV_EFI_HANDOFF_TABLES2:		// length 1, text
		if (e->len > 1 && e->data[0] < e->len)
			words(e->data + 1, e->data[0], out, size);
		break;
	case EV_IPL:
	case EV_ACTION:
	case EV_EFI_ACTION:
	case EV_PLATFORM_CONFIG_FLAGS:
	case EV_S_CRTM_VERSION:
	case EV_COMPACT_HASH:
	case EV_POST_CODE:
		words(e->data, e->len, out, size);
		break;
	default:
		break;
	}
	return out;
}

#define TAG_AAEL 0x4141454c	// "AAEL": what applications of a confidential guest measure after the boot, by way of its attestation agent

// A whole tagged event of that kind: its text, "domain operation content"; NULL for others.
static const uint8_t *application_text(const struct event *e, size_t *len)
{
	if (e->type != EV_EVENT_TAG || e->len < 8 || load_le32(e->data) != TAG_AAEL || load_le32(e->data + 4) != e->len - 8)
		return NULL;
	*len = e->len - 8;
	return e->data + 8;
}

// The three parts, where they are plain text.
static void application_parts(const uint8_t *p, size_t len, json_t *o)
{
	static const char *const names[] = {"domain", "operation", "content"};
	char *text = strndup((const char *)p, len), *part[3], *rest = text;
	if (text && strlen(text) == len && text_is_printable(text)) {
		part[0] = strsep(&rest, " ");
		part[1] = strsep(&rest, " ");
		part[2] = rest;
		for (int i = 0; i < 3 && part[1] && part[2]; i++)
			set_text(o, names[i], part[i]);
	}
	free(text);
}

static bool begins(const char *s, const char *with)
{
	return !strncmp(s, with, strlen(with));
}

// Loaders name their measurements by the beginning of a text. Longer ones first.
static const struct {
	const char *begin, *role;
} loaders[] = {
	{"grub_linuxefi Kernel", "kernel"}, {"grub_linux Kernel", "kernel"}, {"grub_linuxefi Initrd", "initrd"}, {"grub_linux Initrd", "initrd"},
	{"grub_kernel_cmdline", "cmdline"}, {"kernel_cmdline", "cmdline"}, {"module_cmdline", "module-cmdline"}, {"grub_cmd", "grub-command"},
	{"LOADED_IMAGE::LoadOptions", "cmdline"}, {"Linux initrd", "initrd"}, {"MokList", "shim-keys"}, {".linux", "uki-section"},
	{".osrel", "uki-section"}, {".cmdline", "uki-section"}, {".initrd", "uki-section"}, {".splash", "uki-section"}, {".dtb", "uki-section"},
	{".uname", "uki-section"}, {".sbat", "uki-section"}, {".pcrsig", "uki-section"}, {".pcrpkey", "uki-section"}, {".ucode", "uki-section"},
};

const char *event_role(const struct event *e)
{
	char text[256], *c;
	event_words(e, text, sizeof text);
	if (e->type == EV_EFI_VARIABLE_DRIVER_CONFIG)
		return !strcmp(text, "SecureBoot") ? "secure-boot" : "";
	if (e->type == EV_EFI_BOOT_SERVICES_APPLICATION) {
		for (c = text; *c; c++)
			*c = (char)tolower((unsigned char)*c);
		if (strstr(text, "shim"))
			return "shim";
		if (strstr(text, "grub"))
			return "grub";
		if (strstr(text, "\\efi\\linux\\"))
			return "uki";
		return "efi-application";
	}
	if (e->type != EV_IPL && e->type != EV_EVENT_TAG)
		return "";
	size_t len;
	if (application_text(e, &len))	// whatever it says
		return "application";
	for (size_t i = 0; i < sizeof loaders / sizeof *loaders; i++) {
		if (begins(text, loaders[i].begin))
			return loaders[i].role;
	}
	return begins(text, "/") || begins(text, "(") ? "grub-file" : "";
}

static bool digest_is(const uint8_t *digest, uint16_t alg, const uint8_t *p, size_t len)
{
	uint8_t own[DIGEST_MAX];
	return digest_two(alg, p, len, "", 0, own) && !CRYPTO_memcmp(own, digest, digest_size(alg));
}

bool event_proved(const struct event *e, uint16_t alg, const uint8_t **text, size_t *len)
{
	// What GRUB puts before the text that it measures.
	static const char *const before[] = {"grub_kernel_cmdline ", "kernel_cmdline: ", "module_cmdline: ", "grub_cmd: ", "grub_cmd "};
	const uint8_t *digest = event_digest(e, alg);
	*text = e->data;
	*len = e->len;
	if (!digest || !e->len)
		return false;
	if (digest_is(digest, alg, *text, *len))
		return true;
	for (size_t i = 0; i < sizeof before / sizeof *before; i++) {
		size_t n = strlen(before[i]);
		if (e->type != EV_IPL || e->len < n || memcmp(e->data, before[i], n))
			continue;
		*text = e->data + n;
		*len = e->len - n;
		while (*len && !(*text)[*len - 1])
			--*len;
		return digest_is(digest, alg, *text, *len) || (*len < e->len - n && digest_is(digest, alg, *text, *len + 1));
	}
	while (*len && !(*text)[*len - 1])
		--*len;
	if (*len < e->len && digest_is(digest, alg, *text, *len))
		return true;
	// A variable's data alone, as some firmware measures it.
	const uint8_t *data;
	size_t name_len, data_len;
	if ((e->type == EV_EFI_VARIABLE_BOOT || e->type == EV_EFI_VARIABLE_BOOT2) && variable_name(e, &name_len, &data, &data_len)) {
		*text = data;
		*len = data_len;
		return digest_is(digest, alg, data, data_len);
	}
	return false;
}

static void event_claims(const struct event *e, uint16_t alg, json_t *events, json_t *roles)
{
	char *text = malloc(e->len + 8);	// whole: of a long command line the end counts too
	const uint8_t *proved_text;
	size_t proved_len;
	const uint8_t *digest = event_digest(e, alg);
	const char *role = event_role(e), *name = event_type_name(e->type);
	json_t *o = json_object();
	set_number(o, "index", e->index);
	if (*name)
		set_text(o, "type", name);
	else
		set_number(o, "type", e->type);
	if (digest && e->type != EV_NO_ACTION)
		set_hex(o, "digest", digest, digest_size(alg));
	if (text && *event_words(e, text, e->len + 8))
		set_text(o, "about", text);
	free(text);
	if (*role)
		set_text(o, "role", role);
	const uint8_t *application = application_text(e, &proved_len);
	if (application)
		application_parts(application, proved_len, o);
	if (e->type != EV_NO_ACTION)
		set_bool(o, "digest_matches_event", event_proved(e, alg, &proved_text, &proved_len));
	json_array_append_new(events, o);
	if (*role) {
		json_t *list = json_object_get(roles, role);
		if (!list) {
			list = json_array();
			json_object_set_new(roles, role, list);
		}
		json_array_append(list, o);
	}
}

json_t *eventlog_claims(const uint8_t *bytes, size_t len, uint16_t alg, struct fault *f)
{
	struct eventlog l;
	struct event e;
	json_t *o = json_object(), *events = json_array(), *roles = json_object();
	int err = eventlog_open(&l, bytes, len, f);
	while (!err && (err = eventlog_next(&l, &e, f)) == 1) {
		event_claims(&e, alg, events, roles);
		err = 0;
	}
	set_text(o, "algorithm", digest_name(alg));
	set_number(o, "count", (json_int_t)json_array_size(events));
	json_object_set_new(o, "measured", roles);
	json_object_set_new(o, "events", events);
	if (err < 0) {
		json_decref(o);
		return NULL;
	}
	return o;
}
