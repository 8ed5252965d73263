// SPDX-License-Identifier: Apache-2.0
// Maintainer scripts, read as text (see debian.h): which users, groups, folders and alternatives one would make. A heuristic: lines are
// split into words as a shell does, variables that the script sets to plain words are replaced, conditions are taken for true.
#include "image/debian.h"

#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_WORDS = 256 };

struct reader {
	struct debian_script *s;
	struct string_set variables;
};

static const char *const interesting[] = {
	"ucf", "ln", "cp", "mv", "update-ca-certificates", "locale-gen", "setcap", "make-ssl-cert", "openssl", "ssh-keygen", "mktexlsr",
	"glib-compile-schemas", "update-mime-database", "pg_createcluster", "a2enmod", "a2ensite", "phpenmod", "fc-cache", "jks-keystore", NULL,
};

static bool in(const char *const *list, const char *word)
{
	for (int i = 0; list[i]; i++)
		if (!strcmp(list[i], word))
			return true;
	return false;
}

// Replaces $NAME and ${NAME}; false: something that is not known remains.
static bool expand(struct reader *r, const char *at, size_t len, struct text *out)
{
	const char *end = at + len;
	bool known = true;

	text_puts(out, "");
	while (at < end) {
		size_t n;
		bool brace;

		if (*at != '$') {
			known = known && *at != '`';
			text_add(out, at++, 1);
			continue;
		}
		brace = at + 1 < end && at[1] == '{';
		at += 1 + brace;
		for (n = 0; at + n < end && (isalnum((unsigned char)at[n]) || at[n] == '_');)
			n++;
		char *name = xstrndup(at, n);
		const char *value = n ? string_set_get(&r->variables, name) : NULL;

		if (value)
			text_puts(out, value);
		else
			known = false;
		free(name);
		at += n;
		if (brace) {
			known = known && at < end && *at == '}';
			while (at < end && *at != '}')
				at++;
			at += at < end;
		}
	}
	return known;
}

struct words {
	char *word[MOST_WORDS];
	bool known[MOST_WORDS];
	int count;
};

static void free_words(struct words *w)
{
	for (int i = 0; i < w->count; i++)
		free(w->word[i]);
	w->count = 0;
}

// The words of one command, up to ; & | or the end of the line. Returns where it ended.
static const char *split(struct reader *r, const char *at, const char *end, struct words *w)
{
	w->count = 0;
	while (at < end) {
		struct text word = {0};
		bool known = true, any = false;

		while (at < end && (*at == ' ' || *at == '\t'))
			at++;
		if (at == end || *at == '#')
			return end;
		if (strchr(";&|()", *at))
			return at + 1;
		while (at < end && !strchr(" \t;&|()", *at)) {
			size_t n;

			if (*at == '\'' || *at == '"') {
				char quote = *at++;

				for (n = 0; at + n < end && at[n] != quote; n++)
					n += quote == '"' && at[n] == '\\' && at + n + 1 < end;
				if (quote == '"')
					known = expand(r, at, n, &word) && known;
				else
					text_add(&word, at, n);
				at += n + (at + n < end);
				any = true;
			} else if (*at == '\\' && at + 1 < end) {
				text_add(&word, at + 1, 1);
				at += 2;
			} else {
				for (n = 1; at + n < end && !strchr(" \t;&|()'\"\\", at[n]);)
					n++;
				known = expand(r, at, n, &word) && known;
				at += n;
			}
		}
		if ((any || word.len || !known) && w->count < MOST_WORDS) {
			w->word[w->count] = word.data ? word.data : xstrdup("");
			w->known[w->count++] = known;
		} else {
			text_free(&word);
		}
	}
	return end;
}

static bool is_account_name(const char *s)
{
	if (!isalpha((unsigned char)*s) && *s != '_')
		return false;
	for (; *s; s++)
		if (!isalnum((unsigned char)*s) && !strchr("_-.", *s))
			return false;
	return true;
}

static struct debian_account *account(struct debian_script *s, const char *name, bool user)
{
	for (size_t i = 0; i < s->account_count; i++)
		if (s->accounts[i].user == user && !strcmp(s->accounts[i].name, name))
			return &s->accounts[i];
	s->accounts = xrealloc(s->accounts, (s->account_count + 1) * sizeof(*s->accounts));
	s->accounts[s->account_count] = (struct debian_account){.name = xstrdup(name), .user = user, .id = -1};
	return &s->accounts[s->account_count++];
}

static void set(char **to, const char *value)
{
	if (value) {
		free(*to);
		*to = xstrdup(value);
	}
}

static void add_member(struct debian_account *a, const char *groups)
{
	char *both = a->member_of ? xasprintf("%s,%s", a->member_of, groups) : xstrdup(groups);

	free(a->member_of);
	a->member_of = both;
}

struct options {
	const char *unused, *home, *shell, *gecos, *group, *groups, *id;
	const char *name[2];
	int names;
	bool known, own_group, vague;
};

// Of adduser, addgroup, useradd and groupadd alike; their letters differ from their long names in nothing that counts.
static void read_options(const struct words *w, int from, struct options *o)
{
	static const struct {
		const char *name;
		size_t place;
	} with_value[] = {
#define PLACE(field) offsetof(struct options, field)
		{"--home", PLACE(home)}, {"--home-dir", PLACE(home)}, {"-d", PLACE(home)}, {"-h", PLACE(home)}, {"--shell", PLACE(shell)}, {"-s", PLACE(shell)},
		{"--gecos", PLACE(gecos)}, {"--comment", PLACE(gecos)}, {"-c", PLACE(gecos)}, {"--ingroup", PLACE(group)}, {"--gid", PLACE(group)},
		{"-g", PLACE(group)}, {"--groups", PLACE(groups)}, {"-G", PLACE(groups)}, {"--uid", PLACE(id)}, {"-u", PLACE(id)},
		{"--firstuid", PLACE(unused)}, {"--lastuid", PLACE(unused)}, {"--firstgid", PLACE(unused)}, {"--lastgid", PLACE(unused)},
		{"--conf", PLACE(unused)}, {"-K", PLACE(unused)}, {"--key", PLACE(unused)}, {"--password", PLACE(unused)}, {"-p", PLACE(unused)},
		{"--root", PLACE(unused)}, {"-R", PLACE(unused)},
#undef PLACE
	};

	*o = (struct options){.known = true};
	for (int i = from; i < w->count; i++) {
		char *word = w->word[i], *equals = strchr(word, '=');
		const char **to = NULL;

		if (!word[0] && !w->known[i]) { // "$quiet": an option, or a name
			o->vague = true;
			continue;
		}
		if (word[0] == '<' || word[0] == '>' || (isdigit((unsigned char)word[0]) && word[1] == '>'))
			break;
		if (word[0] != '-') {
			o->known = o->known && w->known[i];
			if (o->names < 2)
				o->name[o->names++] = word;
			continue;
		}
		o->own_group = o->own_group || !strcmp(word, "--group") || !strcmp(word, "--user-group") || !strcmp(word, "-U");
		for (size_t k = 0; k < sizeof(with_value) / sizeof(*with_value) && !to; k++)
			if (equals && starts_with(word, "--") ? !strncmp(word, with_value[k].name, (size_t)(equals - word)) &&
								!with_value[k].name[equals - word]
							      : !strcmp(word, with_value[k].name))
				to = (const char **)(void *)((char *)o + with_value[k].place);
		if (!to)
			continue;
		*to = equals && starts_with(word, "--") ? equals + 1 : i + 1 < w->count ? w->word[++i] : NULL;
	}
}

static void make_account(struct reader *r, const struct words *w, int at, const char *line, size_t len)
{
	bool group = !strcmp(w->word[at], "addgroup") || !strcmp(w->word[at], "groupadd");
	struct debian_account *a;
	struct options o;

	read_options(w, at + 1, &o);
	if (!o.names && !o.vague)
		return;
	if (!o.names || !o.known || !is_account_name(o.name[0]) || (o.names > 1 && !is_account_name(o.name[1]))) {
		char *text = xstrndup(line, len > 120 ? 120 : len);

		string_list_add(&r->s->unclear, text);
		free(text);
		return;
	}
	if (o.names == 2) { // "adduser USER GROUP"
		add_member(account(r->s, o.name[0], true), o.name[1]);
		return;
	}
	a = account(r->s, o.name[0], !group);
	if (group) {
		if (o.group || o.id)
			a->id = strtol(o.group ? o.group : o.id, NULL, 10);
		return;
	}
	set(&a->home, o.home);
	set(&a->shell, o.shell);
	set(&a->gecos, o.gecos);
	// adduser's system users are of nogroup unless told otherwise; useradd's have a group of their name.
	set(&a->group, o.own_group ? a->name : o.group ? o.group : !strcmp(w->word[at], "useradd") ? a->name : "nogroup");
	if (o.id)
		a->id = strtol(o.id, NULL, 10);
	if (o.groups)
		add_member(a, o.groups);
}

static void read_alternatives(struct reader *r, const struct words *w, int at)
{
	for (int i = at + 1; i + 3 < w->count; i++) {
		if (strcmp(w->word[i], "--install") && strcmp(w->word[i], "--slave"))
			continue;
		if (w->known[i + 1] && w->known[i + 2] && w->known[i + 3]) {
			char *line = xasprintf("%s %s %s", w->word[i + 1], w->word[i + 2], w->word[i + 3]);

			string_list_add(&r->s->alternatives, line);
			free(line);
		}
		i += 3;
	}
}

static void add_once(struct string_list *l, const char *s)
{
	if (!string_list_has(l, s))
		string_list_add(l, s);
}

// The length of the name when the word is NAME=value, or 0.
static size_t variable(const char *word)
{
	size_t n = 0;

	while (isalpha((unsigned char)word[n]) || word[n] == '_' || (n && isdigit((unsigned char)word[n])))
		n++;
	return word[n] == '=' ? n : 0;
}

static void look_at_command(struct reader *r, const struct words *w, const char *line, size_t len)
{
	static const char *const before[] = {
		"if", "then", "else", "elif", "!", "while", "until", "do", "{", "&&", "||", "exec", "command", "env", NULL,
	};
	int at = 0;

	while (at < w->count && in(before, w->word[at]))
		at++;
	// NAME=value alone sets a variable; before a command it is that command's.
	for (size_t n; at < w->count && (n = variable(w->word[at])); at++) {
		char *name = xstrndup(w->word[at], n);

		if (w->known[at])
			string_set_add(&r->variables, name, w->word[at] + n + 1);
		free(name);
	}
	if (at == w->count)
		return;
	if (!strcmp(w->word[at], "adduser") || !strcmp(w->word[at], "useradd") || !strcmp(w->word[at], "addgroup") || !strcmp(w->word[at], "groupadd"))
		make_account(r, w, at, line, len);
	else if (!strcmp(w->word[at], "update-alternatives"))
		read_alternatives(r, w, at);
	else if (in(interesting, w->word[at]))
		add_once(&r->s->commands, w->word[at]);
	for (int i = at; i < w->count; i++) {
		bool makes = !strcmp(w->word[at], "mkdir") || (!strcmp(w->word[at], "install") && w->count > at + 1 && starts_with(w->word[at + 1], "-d"));

		if (w->known[i] && w->word[i][0] == '/' && w->word[i][1] && !strpbrk(w->word[i], "*?[]{}<>\n\""))
			add_once(makes ? &r->s->folders : &r->s->paths, w->word[i]);
	}
}

void debian_script_read(struct debian_script *s, const char *text, size_t len)
{
	struct reader r = {.s = s};
	struct text joined = {0};

	// A backslash at the end of a line continues it.
	for (size_t i = 0; i < len && text[i]; i++) {
		if (text[i] == '\\' && i + 1 < len && text[i + 1] == '\n')
			text_puts(&joined, " "), i++;
		else
			text_add(&joined, text + i, 1);
	}
	text_puts(&joined, "");
	for (const char *line = joined.data; *line;) {
		const char *end = strchrnul(line, '\n'), *at = line;

		while (at < end) {
			struct words w;
			const char *from = at;

			at = split(&r, at, end, &w);
			if (w.count)
				look_at_command(&r, &w, from, (size_t)(end - from));
			free_words(&w);
		}
		line = end + (*end == '\n');
	}
	text_free(&joined);
	string_set_free(&r.variables);
}

// sysusers.d(5): "u NAME ID GECOS HOME SHELL", "g NAME ID", "m USER GROUP"; "-" is nothing.
void debian_sysusers_read(struct debian_script *s, const char *text, size_t len)
{
	struct reader r = {.s = s};
	char *copy = xstrndup(text, len);

	for (const char *line = copy; *line;) {
		const char *end = strchrnul(line, '\n');
		struct debian_account *a;
		struct words w;

		split(&r, line, end, &w);
		for (int i = 0; i < w.count; i++)
			if (!strcmp(w.word[i], "-"))
				w.word[i][0] = '\0';
		if (w.count > 1 && is_account_name(w.word[1]) && w.word[0][0] && !strpbrk(w.word[0] + 1, "abcdefghijklmnopqrstuvwxyz")) {
			const char *id = w.count > 2 && isdigit((unsigned char)w.word[2][0]) ? w.word[2] : NULL;

			if (w.word[0][0] == 'u' || w.word[0][0] == 'g') {
				a = account(s, w.word[1], w.word[0][0] == 'u');
				a->id = id ? strtol(id, NULL, 10) : a->id;
				if (a->user) {
					set(&a->group, a->name);
					set(&a->gecos, w.count > 3 ? w.word[3] : "");
					set(&a->home, w.count > 4 && w.word[4][0] ? w.word[4] : "/");
					set(&a->shell, w.count > 5 && w.word[5][0] ? w.word[5] : "/usr/sbin/nologin");
				}
			} else if (w.word[0][0] == 'm' && w.count > 2 && is_account_name(w.word[2])) {
				add_member(account(s, w.word[1], true), w.word[2]);
			}
		}
		free_words(&w);
		line = end + (*end == '\n');
	}
	free(copy);
	string_set_free(&r.variables);
}

void debian_script_free(struct debian_script *s)
{
	for (size_t i = 0; i < s->account_count; i++) {
		free(s->accounts[i].name);
		free(s->accounts[i].group);
		free(s->accounts[i].home);
		free(s->accounts[i].shell);
		free(s->accounts[i].gecos);
		free(s->accounts[i].member_of);
	}
	free(s->accounts);
	string_list_free(&s->folders);
	string_list_free(&s->paths);
	string_list_free(&s->alternatives);
	string_list_free(&s->commands);
	string_list_free(&s->unclear);
	*s = (struct debian_script){0};
}
