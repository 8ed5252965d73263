// SPDX-License-Identifier: Apache-2.0
// A service's messages on stderr: one line each, control characters replaced (text from the network cannot forge a
// line or move the cursor), colour only on a terminal without NO_COLOR. Thread-safe: one write per line, no locks.
#ifndef COFFER_LIB_LOG_H
#define COFFER_LIB_LOG_H

enum log_level {
	LOG_LEVEL_INFO,
	LOG_LEVEL_WARNING,	// yellow
	LOG_LEVEL_ALARM,	// red: a guarantee is weakened
};

__attribute__((format(printf, 2, 3))) void log_line(enum log_level level, const char *format, ...);

#define log_info(...) log_line(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warning(...) log_line(LOG_LEVEL_WARNING, __VA_ARGS__)
#define log_alarm(...) log_line(LOG_LEVEL_ALARM, __VA_ARGS__)

#endif
