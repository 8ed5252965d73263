// SPDX-License-Identifier: Apache-2.0
// The terminal that an enclave was started on.
#pragma once

// A process that outlives this one puts the terminal of the standard streams back if the enclave left it raw: who is killed with SIGKILL cannot.
// Does nothing without a terminal. To be called before there are threads or children.
void console_guard(void);
