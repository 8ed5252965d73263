# SPDX-License-Identifier: Apache-2.0
# CPython's own test-suite, natively against inside: `make cpython` runs all its modules (about an hour), and the quick ones once more as an ordinary user; ./test takes the quick ones.

.PHONY: cpython soak
cpython: bins
	$(Q)tests/cpython/run -a
	$(Q)tests/cpython/run -u 65534

soak: cpython
