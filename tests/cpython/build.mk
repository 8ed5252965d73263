# SPDX-License-Identifier: Apache-2.0
# CPython's own test-suite, natively against inside: `make cpython` runs all its modules (about half an hour); ./test takes the quick ones.

.PHONY: cpython soak
cpython: bins
	$(Q)tests/cpython/run -a

soak: cpython
