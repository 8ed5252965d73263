# SPDX-License-Identifier: Apache-2.0
# Hosted helpers that the services share.
COFFER_OBJS += $(patsubst %.c,$(B)/obj/%.o,$(wildcard lib/*.c))
COFFER_LIBS += -lssl -lcrypto -lhogweed -lnettle -lgmp -ljansson -lyaml -lsqlite3 -lpthread
$(B)/obj/lib/pkcs11.o: CFLAGS += -isystem /usr/include/p11-kit-1
