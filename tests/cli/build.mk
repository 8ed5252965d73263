# SPDX-License-Identifier: Apache-2.0
UNIT_TESTS += tests/cli/run
