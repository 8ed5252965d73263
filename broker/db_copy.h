// SPDX-License-Identifier: Apache-2.0
// Inside broker/: all that a broker's database holds, out of one backend's into another's: backups of a server's, and the way from SQLite to
// PostgreSQL and back. Rows are copied as they are: what they say, and what guards them, holds in either.
#ifndef COFFER_BROKER_DB_COPY_H
#define COFFER_BROKER_DB_COPY_H

#include "broker/db.h"

// *to has no tables, or empty ones: -EEXIST. All rows as they are at one moment, while brokers work on *from; one transaction in *to. Sessions,
// which live for minutes, are left out. -EPROTO: *from was made by another version of Coffer.
int db_copy(struct db *from, struct db *to, struct fault *f);
// Takes all rows out again: for who copied them a moment ago into what was empty, and cannot use them.
int db_copy_undo(struct db *to, struct fault *f);

#endif
