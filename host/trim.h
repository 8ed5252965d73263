// SPDX-License-Identifier: Apache-2.0
#pragma once

// Gives the host back the launcher's pages of code and constants; what goes on being used is read again from the files. Never fails.
void trim_clean_pages(void);
