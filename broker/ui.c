// SPDX-License-Identifier: Apache-2.0
// The web page at /ui/: files of broker/ui, in the program as bytes. It is public: what it shows it asks for with the key or token that
// its reader gives. The policy lets it load nothing from elsewhere, run no inline script, be framed by nobody, and make no HTML of text.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "broker/api.h"
#include "broker/ui.h"

#define FILE_IN(symbol, path) \
	__asm__(".pushsection .rodata\n" #symbol ": .incbin \"" path "\"\n" #symbol "_end:\n.popsection\n"); \
	extern const char symbol[], symbol##_end[]

FILE_IN(ui_index, "broker/ui/index.html");
FILE_IN(ui_app, "broker/ui/app.js");
FILE_IN(ui_ask, "broker/ui/ask.js");
FILE_IN(ui_log, "broker/ui/log.js");
FILE_IN(ui_style, "broker/ui/style.css");
FILE_IN(ui_icon, "broker/ui/icon.svg");

static const char script[] = "text/javascript; charset=utf-8";
static const struct {
	const char *name, *type, *from, *end;
} files[] = {
	{"", "text/html; charset=utf-8", ui_index, ui_index_end},
	{"app.js", script, ui_app, ui_app_end},
	{"ask.js", script, ui_ask, ui_ask_end},
	{"log.js", script, ui_log, ui_log_end},
	{"style.css", "text/css; charset=utf-8", ui_style, ui_style_end},
	{"icon.svg", "image/svg+xml", ui_icon, ui_icon_end},
};

static const char headers[] =
	"Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
	"form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'\r\n"
	"X-Content-Type-Options: nosniff\r\n"
	"X-Frame-Options: DENY\r\n"
	"Referrer-Policy: no-referrer\r\n"
	"Cross-Origin-Opener-Policy: same-origin\r\n"
	"Cross-Origin-Resource-Policy: same-origin\r\n"
	"Cache-Control: no-cache\r\n";

void ui_handle(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)b;
	(void)q;
	for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
		size_t n = (size_t)(files[i].end - files[i].from);
		if (strcmp(rest, files[i].name))
			continue;
		r->body = malloc(n);
		r->headers = strdup(headers);
		if (!r->body || !r->headers)
			break;
		memcpy(r->body, files[i].from, n);
		r->body_len = n;
		r->status = 200;
		r->content_type = files[i].type;
		return;
	}
	free(r->body);
	r->body = NULL;
	broker_problem(r, 404, "NotFound", "there is nothing here", NULL);
}

void ui_redirect(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r)
{
	(void)b;
	(void)rest;
	(void)q;
	broker_problem(r, 308, "Moved", "the page is at /ui/", NULL);
	free(r->headers);
	r->headers = strdup("Location: /ui/\r\n");
}
