# SPDX-License-Identifier: Apache-2.0
COFFER_OBJS += $(B)/obj/host/launch.o $(B)/obj/host/evidence.o $(B)/obj/host/trim.o $(B)/obj/host/usage.o $(B)/obj/host/tpm_relay.o $(B)/obj/hostcall/serve.o \
	$(addprefix $(B)/obj/host/,instances.o instance_write.o logs_write.o logs_read.o supervise.o cpus.o console.o enclaves.o)
