// SPDX-License-Identifier: Apache-2.0
// The gate for CPUs with protection keys (gate.h), the way into the handler of host signals there, and tries of what a program's rights let
// it reach (pku.c).
#include "platform/process/layout.h"
#define PKU
	.section .text.entry.pku, "ax"
#include "platform/process/gate.h"

.macro rights value
	mov $\value, %eax
	xor %ecx, %ecx
	xor %edx, %edx
	wrpkru
.endm

// The host calls it with a program's rights (whatever was interrupted), on the slot of K_PUB. The handler itself runs on the signal stack in
// the window. Before a thread has a slot, host signals meet it on its kernel stack: there it stays.
	.globl on_signal_pku
on_signal_pku:
	mov %rdx, %r8
	rights PKRU_KERNEL
	mov %r8, %rdx
	mov %rsp, %rbx
	mov $K_PUB, %rax
	mov %rsp, %rcx
	sub %rax, %rcx
	cmp $(K_LIN - K_PUB), %rcx
	jae 1f
	shr $PUB_SHIFT, %rcx
	imul $WIN_STRIDE, %rcx, %rcx
	mov $(K_LIN + OFF_WIN + WIN_ALTSTACK + WIN_ALTSTACK_LEN), %rax
	lea (%rax,%rcx), %rsp
1:	and $-16, %rsp
	xor %ebp, %ebp
	call on_signal
	mov %rbx, %rsp
	ret

// bool pku_gate_works(void): WRPKRU leaves the upper halves of its registers out of account (an AMD manual may be read otherwise)
	.globl pku_gate_works
pku_gate_works:
	mov $0xffffffff00000000, %rcx
	mov %rcx, %rdx
	lea PKRU_KERNEL(%rcx), %rax
gate_try:
	wrpkru
	mov $1, %eax
	ret
gate_failed:
	xor %eax, %eax
	ret

// bool pku_denies_read(const void *p), pku_denies_write(void *p): with a program's rights. The write leaves what is there.
	.globl pku_denies_read
pku_denies_read:
	mov $1, %r8d
	rights PKRU_USER
read_try:
	movzbl (%rdi), %eax
	xor %r8d, %r8d
tried:
	rights PKRU_KERNEL
	mov %r8d, %eax
	ret

	.globl pku_denies_write
pku_denies_write:
	mov $1, %r8d
	rights PKRU_USER
write_try:
	lock orb $0, (%rdi)
	xor %r8d, %r8d
	jmp tried

	.section .extable, "a"
	.quad gate_try, gate_failed
	.quad read_try, tried
	.quad write_try, tried
	.section .note.GNU-stack, "", @progbits
