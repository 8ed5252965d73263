// SPDX-License-Identifier: Apache-2.0
// What is wrong with a text that libyaml refuses, in words that name the cause. No locks, no globals.
#ifndef COFFER_LIB_YAMLPROBLEM_H
#define COFFER_LIB_YAMLPROBLEM_H

#include <stddef.h>
#include <yaml.h>

// The words for `p`, whose last call failed, over the `len` bytes of `text` that it was given. Lives as long as the parser.
const char *yaml_problem(const yaml_parser_t *p, const char *text, size_t len);

#endif
