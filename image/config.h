// SPDX-License-Identifier: Apache-2.0
// coffer.yaml -> struct config -> the canonical JSON that becomes /.coffer/config.json in the measured image.
//
// The JSON always has every key, sorted, without white space:
//   {"anchor":{"bound":60,"each_fsync":false,"every":1000,"in":"broker"},
//    "broker":{"ca":"<PEM text or empty>","name":"<or empty>","timeout":10},"command":["/bin/echo"],
//    "debug_enclave":false,"environment":{"K":"V"},"host_arguments":false,"host_environment":["TERM"],"host_exec":["/bin/sh"],
//    "limits":{"cpus":0,"descriptors":0,"files":0,"processes":0},"memory":8589934592,"name":"hello","network":{"connect":"listed","destinations":[{"address":"100.64.1.1","attest":false,
//    "host":"db.example","mux":true,"plain":false,"port":5432,"session":"required","verify":{"policy":"/etc/db.yaml"}}],"dns":[],"listen":[8080],
//    "shield":[{"attest":true,"port":6379,"session":"required","verify":null}]},
//    "restartable_sequences":false,"secrets":{"/run/key":{"group":0,"mode":256,"owner":0,"resource":"default/app/key","version":0}},
//    "time":"host","version":1,"volume_cache":67108864,"volumes":{"/data":{"mode":"ro","name":"<32 hex digits or empty>"}},"working_directory":"/app"}
#ifndef COFFER_IMAGE_CONFIG_H
#define COFFER_IMAGE_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

#include "lib/fault.h"
#include "image/text.h"

#define CONFIG_FILE "coffer.yaml"
#define CONFIG_DEFAULT_MEMORY (8ull << 30)
#define CONFIG_MAX_PORTS 64
#define CONFIG_MAX_SECRETS 64
#define CONFIG_DNS_ADDRESS "100.64.0.53"	// the name server that programs see
#define CONFIG_DEFAULT_BROKER_TIMEOUT 10
#define CONFIG_DEFAULT_ANCHOR_EVERY 1000
#define CONFIG_DEFAULT_TPM_EVERY 60000
#define CONFIG_DEFAULT_TPM_BOUND 600
#define CONFIG_DEFAULT_ANCHOR_BOUND 60
#define CONFIG_DEFAULT_VOLUME_CACHE (64ull << 20)

struct config {
	char *project;				// the folder that coffer.yaml was read from, absolute
	char *name;
	struct string_list command;		// what runs; its first item is the program
	bool host_arguments;			// may the host choose the program and its arguments?
	struct config_pair {
		char *name;
		char *value;
	} *environment;				// fixed and measured, sorted by name
	size_t environment_count;
	struct string_list host_environment;	// names that the host may set
	struct string_list host_exec;		// programs that it may start besides, absolute
	bool host_exec_any;			// or any
	char *working_directory;		// absolute; "/" when not given
	struct config_volume {
		char *path;			// mount point in the enclave
		bool read_only;
		bool sealing;			// its key is the enclave's own sealing key
		char *name;			// the one volume id accepted there, 32 hex digits; "" for any
	} *volumes;				// sorted by path
	size_t volume_count;
	struct config_secret {
		char *path;			// file in the enclave, below /run
		char *resource;			// of the broker
		unsigned int mode, owner, group;
		unsigned int version;		// 0: the current one
	} *secrets;				// sorted by path
	size_t secret_count;
	struct config_copy {
		char *from;
		char *to;			// NULL: where copy.h says
	} *copy;
	size_t copy_count;
	uint64_t memory_bytes;
	int limit_cpus, limit_processes, limit_descriptors, limit_files; // 0: none but the kernel's own
	uint64_t volume_cache_bytes;		// most memory that a mounted volume takes for its structure
	uint16_t listen[CONFIG_MAX_PORTS];	// ascending
	size_t listen_count;
	bool connect_any;
	struct config_shield {			// what the gateway in the enclave carries
		char *host;			// to where; NULL: from the world to a program that listens on `port`
		uint16_t port;
		bool numeric;			// `host` is an address
		char *address;			// where programs reach it
		bool plain;			// as it is; else attested TLS
		bool attest;			// the far end is shown this enclave's evidence
		char *session;			// required, wanted, off
		bool mux;			// many connections are streams of one; else the far end is no gateway of Coffer's
		bool mux_given;
		char *verify;			// JSON: what the far end must prove; NULL: nothing
	} *shield, *destinations, *dns;		// ports, ascending; destinations by name and port; at most one name server
	size_t shield_count, destination_count, dns_count;
	char *verify;				// of entries that have none of their own, until all is read
	struct string_list shield_files;	// in the enclave, that the gateway reads
	char *broker_ca;			// PEM text, "" when none
	char *broker_name;			// that a broker certificate which is not in broker_ca itself must carry, or ""
	char *anchor;				// what detects a rollback of volumes: "broker", "tpm" or "none"
	bool anchor_fsync;			// each fsync waits for it
	int anchor_every;			// else: milliseconds between two commits that it is told of
	int anchor_bound;			// seconds that it may be silent before fsync fails
	int broker_timeout;			// seconds to wait for a broker that does not answer
	bool time_broker;			// the clock is set to the broker's before the program starts
	bool restartable_sequences;		// rseq(2) is given to programs
	bool encrypt;				// the image is ciphertext; not in the JSON: /.coffer/image.json tells init
	bool debug_enclave;			// logs and traces may leave the enclave
};

// Reads `folder`/coffer.yaml. Errors carry the file's name and line: -ENOENT no such file, -EINVAL bad content (unknown
// key with the nearest known one, wrong type, duplicate, out of range), -EFBIG past 1 MiB.
int config_load(struct config *c, const char *folder, struct fault *p);

// The same from text; `folder` is where `broker: ca:` is looked up, `file` names the text in messages.
int config_parse(struct config *c, const char *folder, const char *file, const char *yaml, size_t len, struct fault *p);

void config_free(struct config *c);

// Canonical JSON (see the top of this file).
void config_json(const struct config *c, struct text *out);

// May the host publish this port?
bool config_listens(const struct config *c, unsigned int port);

// Is there anything that the gateway carries?
bool config_has_gateway(const struct config *c);

// The section `network`: its JSON, and its end.
void config_network_json(const struct config *c, struct text *out);
void config_network_free(struct config *c);

// "8G", "512M", "64K" or plain bytes. -EINVAL, -ERANGE.
int config_parse_size(const char *s, uint64_t *bytes);

#endif
