// SPDX-License-Identifier: Apache-2.0
// Inside broker/: the web page (ui.c).
#ifndef COFFER_BROKER_UI_H
#define COFFER_BROKER_UI_H

struct broker;
struct http_request;
struct http_response;

void ui_handle(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r);
void ui_redirect(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r);

#endif
