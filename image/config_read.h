// SPDX-License-Identifier: Apache-2.0
// For the readers of coffer.yaml (config.c, config_mounts.c): values of one type each, and messages that name file and line.
#ifndef COFFER_IMAGE_CONFIG_READ_H
#define COFFER_IMAGE_CONFIG_READ_H

#include <stdbool.h>
#include <yaml.h>

#include "image/config.h"

struct config_reader {
	yaml_document_t *doc;
	const char *file;
	const char *folder;
	struct config *config;
	struct fault *problem;
	struct config_shield *entry;	// config_network.c: whose settings are read
	struct text *verify;		// and the values of its `verify`
};

struct config_key {
	const char *name;
	int (*read)(struct config_reader *r, yaml_node_t *value, const char *key);
};

__attribute__((format(printf, 3, 4)))
int config_bad(struct config_reader *r, const yaml_node_t *node, const char *format, ...);
const char *config_type_name(const yaml_node_t *node);
int config_read_scalar(struct config_reader *r, yaml_node_t *node, const char *key, const char **out);
// A key with nothing after it, or ~: the same as leaving the key out.
bool config_is_empty(const yaml_node_t *node);
int config_read_bool(struct config_reader *r, yaml_node_t *node, const char *key, bool *out);
int config_read_list(struct config_reader *r, yaml_node_t *node, const char *key, struct string_list *out);
int config_read_map(struct config_reader *r, yaml_node_t *node, const char *where, const struct config_key *keys);
bool config_is_name(const char *s);
bool config_is_environment_name(const char *s);
// Absolute, without empty, "." or ".." parts and without a closing slash: one path has one spelling.
bool config_is_clean_path(const char *s);

int config_read_network(struct config_reader *r, yaml_node_t *value, const char *key); // config_network.c

// The sections that put something into the enclave (config_mounts.c).
int config_read_volumes(struct config_reader *r, yaml_node_t *value, const char *key);
int config_read_secrets(struct config_reader *r, yaml_node_t *value, const char *key);
int config_read_copy(struct config_reader *r, yaml_node_t *value, const char *key);

#endif
