// SPDX-License-Identifier: Apache-2.0
// Tells systemd how the service is (sd_notify(3)): one datagram to $NOTIFY_SOCKET, nothing where there is none. No locks.
#ifndef COFFER_BROKER_NOTIFY_H
#define COFFER_BROKER_NOTIFY_H

void notify_ready(const char *status);
// To be said more often than the unit's WatchdogSec; without one it means nothing.
void notify_alive(void);
void notify_reloading(void); // notify_ready follows
void notify_stopping(void);

#endif
