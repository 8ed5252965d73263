// SPDX-License-Identifier: Apache-2.0
// Inside spdm/: the messages of SPDM 1.2 (DMTF DSP0274), requests and responses, between bytes and structures. Readers take untrusted bytes and are
// strict: a message is as long as its fields say, reserved algorithms and counts are refused. Pointers go into the message. Pure; no locks.
#ifndef COFFER_SPDM_MESSAGE_H
#define COFFER_SPDM_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "attest/spdm.h"
#include "lib/fault.h"
#include "spdm/buffer.h"
#include "spdm/suite.h"

#define SPDM_1_0 0x10		// of GET_VERSION and VERSION, whatever is agreed on
#define SPDM_1_2 0x12
#define SPDM_HEAD 4		// version, code, two parameters
#define SPDM_RANDOM 32
#define SPDM_MAX_OPAQUE 1024
#define SPDM_MAX_CHAIN 65535
#define SPDM_MIN_TRANSFER 42	// DataTransferSize, of version 1.2

enum spdm_code {
	SPDM_GET_DIGESTS = 0x81, SPDM_GET_CERTIFICATE, SPDM_CHALLENGE, SPDM_GET_VERSION, SPDM_CHUNK_SEND, SPDM_CHUNK_GET,
	SPDM_GET_MEASUREMENTS = 0xe0, SPDM_GET_CAPABILITIES, SPDM_NEGOTIATE_ALGORITHMS = 0xe3, SPDM_KEY_EXCHANGE, SPDM_FINISH,
	SPDM_HEARTBEAT = 0xe8, SPDM_KEY_UPDATE, SPDM_END_SESSION = 0xec,
	// A response has its request's code without the top bit.
	SPDM_DIGESTS = 0x01, SPDM_CERTIFICATE, SPDM_CHALLENGE_AUTH, SPDM_VERSION, SPDM_CHUNK_RESPONSE = 0x06,
	SPDM_MEASUREMENTS = 0x60, SPDM_CAPABILITIES, SPDM_ALGORITHMS = 0x63, SPDM_KEY_EXCHANGE_RSP, SPDM_FINISH_RSP,
	SPDM_HEARTBEAT_ACK = 0x68, SPDM_KEY_UPDATE_ACK, SPDM_END_SESSION_ACK = 0x6c, SPDM_ERROR = 0x7f,
};

enum spdm_error_code {
	SPDM_INVALID_REQUEST = 0x01, SPDM_UNEXPECTED_REQUEST = 0x04, SPDM_UNSPECIFIED = 0x05, SPDM_DECRYPT_ERROR = 0x06,
	SPDM_UNSUPPORTED_REQUEST = 0x07,
	SPDM_SESSION_LIMIT = 0x0a, SPDM_SESSION_REQUIRED = 0x0b, SPDM_RESPONSE_TOO_LARGE = 0x0d, SPDM_LARGE_RESPONSE = 0x0f,
	SPDM_VERSION_MISMATCH = 0x41, SPDM_OPERATION_FAILED = 0x44,
};
// "InvalidRequest"...
const char *spdm_error_name(uint8_t code);

// Capabilities, as flags.
#define CAP_CERT (1u << 1)
#define CAP_CHAL (1u << 2)
#define CAP_MEAS (3u << 3)	// two bits, see the next
#define CAP_MEAS_SIG (2u << 3)
#define CAP_ENCRYPT (1u << 6)
#define CAP_MAC (1u << 7)
#define CAP_MUT_AUTH (1u << 8)
#define CAP_KEY_EX (1u << 9)
#define CAP_HBEAT (1u << 13)
#define CAP_KEY_UPD (1u << 14)
#define CAP_CLEAR_HANDSHAKE (1u << 15)
#define CAP_CHUNK (1u << 17)

struct spdm_head {
	uint8_t version, code, param1, param2;
};

// False: too short for one.
bool head_read(const uint8_t *bytes, size_t len, struct spdm_head *h);
// A message that is nothing more than this.
void head_write(struct buffer *b, uint8_t version, uint8_t code, uint8_t param1, uint8_t param2);

// All readers: 0, or -EINVAL and what is wrong. The head has been looked at; it is skipped.

// VERSION: true when `version` (0x12) is in the list.
int version_read(const uint8_t *bytes, size_t len, uint8_t version, bool *has, struct fault *f);
void version_write(struct buffer *b, uint8_t version);

struct spdm_capabilities {
	uint8_t ct_exponent;		// a request with cryptography takes 2^n microseconds at most
	uint32_t flags;
	uint32_t data_transfer_size, max_message_size;
};
// GET_CAPABILITIES and CAPABILITIES are alike.
int capabilities_read(const uint8_t *bytes, size_t len, struct spdm_capabilities *c, struct fault *f);
void capabilities_write(struct buffer *b, uint8_t code, const struct spdm_capabilities *c);

#define MEASUREMENT_DMTF 1
#define OPAQUE_FORMAT_1 2
#define KEY_SCHEDULE_SPDM 1
// NEGOTIATE_ALGORITHMS (what may be, as bits) and ALGORITHMS (what is, one bit each).
struct spdm_algorithms {
	uint8_t measurement_spec, opaque;
	uint32_t measurement_hash;	// of ALGORITHMS
	uint32_t asym, hash;
	uint16_t dhe, aead, req_asym, key_schedule;
	uint8_t tables;			// which of the last four are there, as bits 0 to 3
};
int algorithms_read(const uint8_t *bytes, size_t len, bool response, struct spdm_algorithms *a, struct fault *f);
void algorithms_write(struct buffer *b, bool response, const struct spdm_algorithms *a);

// DIGESTS: of slot 0, which must be among them.
int digests_read(const uint8_t *bytes, size_t len, const struct suite *s, const uint8_t **digest, struct fault *f);

struct spdm_portion {
	uint8_t slot;
	uint16_t offset, length;	// of the request
	const uint8_t *bytes;		// of the response, `length` of them
	uint16_t remainder;
};
int get_certificate_read(const uint8_t *bytes, size_t len, struct spdm_portion *p, struct fault *f);
void get_certificate_write(struct buffer *b, const struct spdm_portion *p);
int certificate_read(const uint8_t *bytes, size_t len, struct spdm_portion *p, struct fault *f);
void certificate_write(struct buffer *b, const struct spdm_portion *p);

enum spdm_summary { SUMMARY_NONE = 0, SUMMARY_TCB = 1, SUMMARY_ALL = 0xff };
bool summary_known(uint8_t type);

// CHALLENGE and CHALLENGE_AUTH.
struct spdm_challenge {
	uint8_t slot, summary_type;
	uint8_t slot_mask;
	const uint8_t *chain_hash, *nonce, *summary, *signature;
	const uint8_t *opaque;
	uint16_t opaque_len;
	size_t signed_len;		// bytes before the signature
};
int challenge_read(const uint8_t *bytes, size_t len, struct spdm_challenge *c, struct fault *f);
void challenge_write(struct buffer *b, const struct spdm_challenge *c);
// `summary_type` of the request says whether there is a summary.
int challenge_auth_read(const uint8_t *bytes, size_t len, const struct suite *s, uint8_t summary_type, struct spdm_challenge *c, struct fault *f);
// Without the signature, which comes behind it.
void challenge_auth_write(struct buffer *b, const struct suite *s, const struct spdm_challenge *c);

#define ATTRIBUTE_SIGNATURE 1
#define ATTRIBUTE_RAW 2
#define MEASUREMENTS_COUNT 0
#define MEASUREMENTS_ALL 0xff
struct spdm_get_measurements {
	uint8_t attributes, operation;
	uint8_t slot;
	const uint8_t *nonce;		// NULL: no signature is asked for
};
int get_measurements_read(const uint8_t *bytes, size_t len, struct spdm_get_measurements *g, struct fault *f);
void get_measurements_write(struct buffer *b, const struct spdm_get_measurements *g);
// MEASUREMENTS is read by attest/spdm.h (spdm_parse_answer). Written without its signature.
void measurements_write(struct buffer *b, uint8_t param1, uint8_t param2, unsigned int count, const struct buffer *record,
			const uint8_t nonce[SPDM_NONCE_BYTES]);

// KEY_EXCHANGE and KEY_EXCHANGE_RSP.
struct spdm_key_exchange {
	uint8_t summary_type, slot;	// of the request
	uint8_t heartbeat_s, mut_auth;	// of the response
	uint16_t session_id;		// this side's half
	uint8_t policy;
	const uint8_t *random, *exchange, *summary;
	const uint8_t *opaque;
	uint16_t opaque_len;
	const uint8_t *signature, *verify;
	size_t signed_len;		// bytes before the signature
};
int key_exchange_read(const uint8_t *bytes, size_t len, const struct suite *s, struct spdm_key_exchange *k, struct fault *f);
void key_exchange_write(struct buffer *b, const struct suite *s, const struct spdm_key_exchange *k);
int key_exchange_rsp_read(const uint8_t *bytes, size_t len, const struct suite *s, uint8_t summary_type, struct spdm_key_exchange *k,
			  struct fault *f);
// Without signature and verify data.
void key_exchange_rsp_write(struct buffer *b, const struct suite *s, const struct spdm_key_exchange *k);

// FINISH of a requester that shows no certificate: the verify data.
int finish_read(const uint8_t *bytes, size_t len, const struct suite *s, const uint8_t **verify, struct fault *f);

enum spdm_key_operation { KEY_UPDATE_REQUEST = 1, KEY_UPDATE_ALL = 2, KEY_UPDATE_VERIFY = 3 };

// Pieces of a response that is longer than the other side takes at once: CHUNK_GET and CHUNK_RESPONSE.
struct spdm_chunk {
	uint8_t handle;
	bool last;
	uint16_t number;
	uint32_t total;			// of number 0
	const uint8_t *bytes;
	uint32_t len;
};
#define CHUNK_FIRST_HEAD 16		// of CHUNK_RESPONSE number 0; the others have four bytes less
int chunk_get_read(const uint8_t *bytes, size_t len, struct spdm_chunk *c, struct fault *f);
void chunk_get_write(struct buffer *b, const struct spdm_chunk *c);
int chunk_response_read(const uint8_t *bytes, size_t len, struct spdm_chunk *c, struct fault *f);
void chunk_response_write(struct buffer *b, const struct spdm_chunk *c);

// Opaque data of a key exchange (format 1): which versions of secured messages (DSP0277) there may be, or is.
#define SECURED_1_1 0x1100
#define SECURED_1_2 0x1200
void opaque_offer_write(struct buffer *b);
void opaque_choice_write(struct buffer *b, uint16_t version);
// The best that both have, 0 when there is none.
int opaque_offer_read(const uint8_t *bytes, size_t len, uint16_t *version, struct fault *f);
int opaque_choice_read(const uint8_t *bytes, size_t len, uint16_t *version, struct fault *f);

#endif
