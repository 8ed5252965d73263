// SPDX-License-Identifier: Apache-2.0
#pragma once

// Gives the host back what the launcher's libraries only needed for the start: pages of files that this process has mapped
// privately and never changed. They are read again if they are needed again. Never fails; does nothing where /proc is missing.
void trim_clean_pages(void);
