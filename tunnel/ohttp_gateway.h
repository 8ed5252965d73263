// SPDX-License-Identifier: Apache-2.0
// OHTTP's two ends as services of the gateway (docs/ohttp.md): the one in the enclave, which plain HTTP load balancers and relays speak to, and the
// one beside the client, which takes plain HTTP and encapsulates it. Each has threads of its own (http1_server.h).
#ifndef COFFER_TUNNEL_OHTTP_GATEWAY_H
#define COFFER_TUNNEL_OHTTP_GATEWAY_H

#include "ratls/ratls.h"
#include "tunnel/ohttp_keys.h"

#define OHTTP_PATH "/.well-known/ohttp-gateway"	// RFC 9540
#define OHTTP_MAX_BODY (16u << 20)
#define OHTTP_MAX_ORIGINS 16
#define OHTTP_PAD 256

struct ohttp_counts {
	unsigned long long requests;	// that were opened (egress), or taken from clients (ingress)
	unsigned long long refused;	// egress: that could not be opened; ingress: that got no answer
	unsigned long long replayed;	// egress: that had been before
	unsigned long long documents;	// attested key configurations given out, or fetched
	unsigned long long failed;	// egress: whose plain server gave no answer; ingress: fetches whose gateway was refused
	unsigned int open;		// connections now
};

// ---- in the enclave ----

struct ohttp_egress;

// Texts are copied. Zeros and NULLs stand for what is in brackets.
struct ohttp_egress_options {
	int listener;			// taken over in every case
	const char *to;			// the plain HTTP server: "host:port", "unix:PATH"
	const char *path;		// [OHTTP_PATH]
	const struct ratls_options *tls;	// what this side shows: attest, or a token with its key; NULL: nothing vouches for its keys
	const char *const *origins;	// web pages that may use it ("https://app.example"), up to NULL; NULL: none. "*": any
	unsigned int rotate_s, overlap_s, max_requests, evidence_per_s;	// ohttp_keys_options
	const char *seed_file;		// a secret that several gateways share (ohttp_keys_options), its owner's alone; NULL: none
	size_t max_body;		// of a request, and of a response that is not chunked [OHTTP_MAX_BODY]
	unsigned int pad_bytes;		// messages are filled up to a multiple of so many [OHTTP_PAD]; 1: not at all; 16384 at most
	unsigned int max_connections;	// [512]
	unsigned int answer_ms;		// how long the plain server may take to begin its answer [60000]
};

int ohttp_egress_start(struct ohttp_egress **out, const struct ohttp_egress_options *o, struct fault *f);
void ohttp_egress_stop(struct ohttp_egress *e, unsigned int drain_ms);
void ohttp_egress_counts(struct ohttp_egress *e, struct ohttp_counts *out);

// ---- beside the client ----

struct ohttp_ingress;

struct ohttp_ingress_options {
	int listener;			// taken over in every case
	const char *url;		// of the gateway, as the relay shows it: "http://lb.example/.well-known/ohttp-gateway", or https
	const char *ca_file;		// for https: authorities (PEM) [the system's]
	const struct ratls_options *tls;	// whom it believes; `insecure_any_server`: anybody
	const char *authority;		// what requests are for, whatever they say; NULL: as they say
	const char *scheme;		// of requests that do not say [http]
	bool whole;			// requests and responses in one piece: for gateways that know nothing of chunks
	unsigned int refresh_s;		// how long fetched keys are used [300]
	size_t max_body;		// of a request, and of a response in one piece [OHTTP_MAX_BODY]
	unsigned int pad_bytes;		// messages are filled up to a multiple of so many [OHTTP_PAD]; 1: not at all; 16384 at most
	unsigned int max_connections;	// [512]
	unsigned int answer_ms;		// [60000]
};

int ohttp_ingress_start(struct ohttp_ingress **out, const struct ohttp_ingress_options *o, struct fault *f);
void ohttp_ingress_stop(struct ohttp_ingress *i, unsigned int drain_ms);
void ohttp_ingress_counts(struct ohttp_ingress *i, struct ohttp_counts *out);

#endif
