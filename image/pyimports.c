// SPDX-License-Identifier: Apache-2.0
// The scanner for Python's import statements (see pyimports.h).
#include "image/pyimports.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

struct scan {
	const char *at;
	const char *end;
	int brackets;		// depth of ( [ {
	bool line_start;	// at the first word of a statement
	bool indented;
	struct string_list *modules;
	bool whole;
};

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || c == '_' || (c & 0x80);
}

// Past a string that begins at the quote; raw or not makes no difference to where it ends, but for a backslash.
static void skip_string(struct scan *s)
{
	char quote = *s->at;
	bool triple = s->end - s->at >= 3 && s->at[1] == quote && s->at[2] == quote;

	s->at += triple ? 3 : 1;
	while (s->at < s->end) {
		if (*s->at == '\\') {
			s->at += s->end - s->at >= 2 ? 2 : 1;
		} else if (triple ? s->end - s->at >= 3 && s->at[0] == quote && s->at[1] == quote && s->at[2] == quote
				  : *s->at == quote) {
			s->at += triple ? 3 : 1;
			return;
		} else if (!triple && *s->at == '\n') {
			return;
		} else {
			s->at++;
		}
	}
}

static void add_module(struct scan *s, const char *name, size_t len)
{
	char *module;

	if (!len || len > 200)
		return;
	module = xstrndup(name, len);
	if (!string_list_has(s->modules, module))
		string_list_add(s->modules, module);
	free(module);
}

static void skip_blanks(struct scan *s)
{
	while (s->at < s->end) {
		if (*s->at == ' ' || *s->at == '\t' || *s->at == '\f')
			s->at++;
		else if (*s->at == '\\' && s->end - s->at >= 2 && s->at[1] == '\n')
			s->at += 2;
		else
			return;
	}
}

static size_t take_word(struct scan *s, const char **word)
{
	*word = s->at;
	while (s->at < s->end && is_word(*s->at))
		s->at++;
	return (size_t)(s->at - *word);
}

// "a.b as c, d": the first part of each
static void import_list(struct scan *s)
{
	const char *word;
	size_t n;

	do {
		skip_blanks(s);
		n = take_word(s, &word);
		add_module(s, word, n);
		while (s->at < s->end && (is_word(*s->at) || *s->at == '.' || *s->at == ' ' || *s->at == '\t'))
			s->at++;
		skip_blanks(s);
	} while (s->at < s->end && *s->at == ',' && s->at++);
}

// import_module("a.b") and __import__("a")
static void import_call(struct scan *s)
{
	const char *word;
	size_t n;

	skip_blanks(s);
	if (s->at == s->end || *s->at != '(')
		return;
	s->at++;
	s->brackets++;
	skip_blanks(s);
	if (s->end - s->at < 2 || (*s->at != '"' && *s->at != '\''))
		return;
	word = s->at + 1;
	for (n = 0; word + n < s->end && is_word(word[n]); n++)
		;
	add_module(s, word, n);
}

static void statement_word(struct scan *s)
{
	bool first = s->line_start && !s->brackets;
	const char *word, *name;
	size_t n = take_word(s, &word), m;

	s->line_start = false;
	if (s->at < s->end && (*s->at == '"' || *s->at == '\''))
		return;
	if (s->indented && !s->whole)
		return;
	if (first && n == 6 && !memcmp(word, "import", 6)) {
		import_list(s);
	} else if (first && n == 4 && !memcmp(word, "from", 4)) {
		skip_blanks(s);
		m = take_word(s, &name);
		add_module(s, name, m);
	} else if ((n == 13 && !memcmp(word, "import_module", 13)) || (n == 10 && !memcmp(word, "__import__", 10))) {
		import_call(s);
	}
}

void python_imports(const char *source, size_t len, bool whole, struct string_list *modules)
{
	struct scan s = {.at = source, .end = source + len, .line_start = true, .modules = modules, .whole = whole};

	while (s.at < s.end) {
		char c = *s.at;

		if (c == '#') {
			while (s.at < s.end && *s.at != '\n')
				s.at++;
		} else if (c == '"' || c == '\'') {
			skip_string(&s);
			s.line_start = false;
		} else if (c == '\n') {
			s.at++;
			if (!s.brackets) {
				s.line_start = true;
				s.indented = s.at < s.end && (*s.at == ' ' || *s.at == '\t');
			}
		} else if (c == '\\' && s.end - s.at >= 2) {
			s.at += 2;
		} else if (is_word(c)) {
			statement_word(&s);
		} else {
			if (c == '(' || c == '[' || c == '{')
				s.brackets++;
			else if ((c == ')' || c == ']' || c == '}') && s.brackets)
				s.brackets--;
			else if (c == ';' || c == ':')
				s.line_start = true;	// `if x: import y`
			s.at++;
		}
	}
}
