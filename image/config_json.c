// SPDX-License-Identifier: Apache-2.0
// A configuration as canonical JSON (config.h), and its end.
#include <stdlib.h>

#include "image/config.h"

void config_free(struct config *c)
{
	free(c->project);
	free(c->name);
	string_list_free(&c->command);
	for (size_t i = 0; i < c->environment_count; i++) {
		free(c->environment[i].name);
		free(c->environment[i].value);
	}
	free(c->environment);
	string_list_free(&c->host_environment);
	string_list_free(&c->host_exec);
	free(c->working_directory);
	for (size_t i = 0; i < c->volume_count; i++) {
		free(c->volumes[i].path);
		free(c->volumes[i].name);
	}
	free(c->volumes);
	for (size_t i = 0; i < c->secret_count; i++) {
		free(c->secrets[i].path);
		free(c->secrets[i].resource);
	}
	free(c->secrets);
	for (size_t i = 0; i < c->copy_count; i++) {
		free(c->copy[i].from);
		free(c->copy[i].to);
	}
	free(c->copy);
	config_network_free(c);
	free(c->anchor);
	free(c->broker_ca);
	free(c->broker_name);
	*c = (struct config){0};
}

void config_json(const struct config *c, struct text *out)
{
	text_printf(out, "{\"anchor\":{\"bound\":%d,\"each_fsync\":%s,\"every\":%d,\"in\":\"%s\"},\"broker\":{\"ca\":", c->anchor_bound,
		    c->anchor_fsync ? "true" : "false", c->anchor_every, c->anchor);
	text_json(out, c->broker_ca);
	text_puts(out, ",\"name\":");
	text_json(out, c->broker_name);
	text_printf(out, ",\"timeout\":%d", c->broker_timeout);
	text_puts(out, "},\"command\":");
	text_json_list(out, &c->command);
	text_printf(out, ",\"debug_enclave\":%s,\"environment\":{", c->debug_enclave ? "true" : "false");
	for (size_t i = 0; i < c->environment_count; i++) {
		if (i)
			text_puts(out, ",");
		text_json(out, c->environment[i].name);
		text_puts(out, ":");
		text_json(out, c->environment[i].value);
	}
	text_printf(out, "},\"host_arguments\":%s,\"host_environment\":", c->host_arguments ? "true" : "false");
	text_json_list(out, &c->host_environment);
	text_puts(out, ",\"host_exec\":");
	if (c->host_exec_any)
		text_puts(out, "\"any\"");
	else
		text_json_list(out, &c->host_exec);
	text_printf(out, ",\"limits\":{\"cpus\":%d,\"descriptors\":%d,\"files\":%d,\"processes\":%d}", c->limit_cpus, c->limit_descriptors, c->limit_files,
		    c->limit_processes);
	text_printf(out, ",\"memory\":%llu,\"name\":", (unsigned long long)c->memory_bytes);
	text_json(out, c->name);
	text_puts(out, ",\"network\":");
	config_network_json(c, out);
	text_printf(out, ",\"restartable_sequences\":%s,\"secrets\":{", c->restartable_sequences ? "true" : "false");
	for (size_t i = 0; i < c->secret_count; i++) {
		const struct config_secret *s = &c->secrets[i];

		if (i)
			text_puts(out, ",");
		text_json(out, s->path);
		text_printf(out, ":{\"group\":%u,\"mode\":%u,\"owner\":%u,\"resource\":", s->group, s->mode, s->owner);
		text_json(out, s->resource);
		text_printf(out, ",\"version\":%u}", s->version);
	}
	text_printf(out, "},\"time\":\"%s\",\"version\":1,\"volume_cache\":%llu,\"volumes\":{", c->time_broker ? "broker" : "host", (unsigned long long)c->volume_cache_bytes);
	for (size_t i = 0; i < c->volume_count; i++) {
		if (i)
			text_puts(out, ",");
		text_json(out, c->volumes[i].path);
		text_printf(out, ":{%s\"mode\":\"%s\",\"name\":", c->volumes[i].sealing ? "\"key\":\"sealing\"," : "", c->volumes[i].read_only ? "ro" : "rw");
		text_json(out, c->volumes[i].name);
		text_puts(out, "}");
	}
	text_puts(out, "},\"working_directory\":");
	text_json(out, c->working_directory);
	text_puts(out, "}");
}
