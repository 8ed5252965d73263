// SPDX-License-Identifier: Apache-2.0
// Inside broker/: every request that the broker answers, and the permission that each needs. Constant.
#ifndef COFFER_BROKER_ROUTES_H
#define COFFER_BROKER_ROUTES_H

#include "broker/identity.h"

struct route {
	const char *method;	// "GET"
	const char *path;	// all of it; or, ending with '/', what it begins with: the handler gets what follows
	enum permission permission;	// asked for before the handler runs; of the resource, where the path names one
	bool resource;		// what follows is a resource (repository/type/tag); another is refused before anything is asked
	void (*handle)(struct broker *b, const char *rest, const struct http_request *q, struct http_response *r);
};

// Ends with a NULL path. The first row that fits counts.
extern const struct route routes[];

// NULL: none; then *other says whether the path is one of another method.
const struct route *route_find(const char *method, const char *path, bool *other);

#endif
