// SPDX-License-Identifier: Apache-2.0
// Entry into the kernel from a program's call site (by a trampoline's jump) and the way back (gate.h); and what else C cannot say.
	.section .text.entry, "ax"
#include "platform/process/gate.h"

// void kresume(struct regs *regs): the program goes on there, by the gate in use
	.globl kresume
kresume:
	mov %rdi, %rsp
	mov gate(%rip), %rax
	jmp *(%rax)		// struct gate: kexit

// long host_sleep(nr, a, b, c, d, e, f): a call of the host that sleeps. What the sleeper needs to go on lies on its kernel
// stack, so that another host thread can go on in its place when the host has killed it (death.c).
	.globl host_sleep
host_sleep:
	.cfi_startproc
	push %rbp
	.cfi_def_cfa_offset 16
	.cfi_offset %rbp, -16
	mov %rsp, %rbp
	.cfi_def_cfa_register %rbp
	push %rbx
	push %r12
	push %r13
	push %r14
	push %r15
	.cfi_offset %rbx, -24
	.cfi_offset %r12, -32
	.cfi_offset %r13, -40
	.cfi_offset %r14, -48
	.cfi_offset %r15, -56
	mov %rdi, %rax
	mov %rsi, %rdi
	mov %rdx, %rsi
	mov %rcx, %rdx
	mov %r8, %r10
	mov %r9, %r8
	mov 16(%rbp), %r9
	mov %rbp, THREAD(WAIT_FRAME)
	syscall
host_slept:
	movq $0, THREAD(WAIT_FRAME)
	pop %r15
	pop %r14
	pop %r13
	pop %r12
	pop %rbx
	pop %rbp
	.cfi_def_cfa %rsp, 8
	ret
	.cfi_endproc

// On a new host thread of that window: the sleep ends with -EINTR
	.globl host_resume_sleep
host_resume_sleep:
	mov THREAD(WAIT_FRAME), %rbp
	lea -40(%rbp), %rsp
	mov $-4, %rax
	jmp host_slept

// First instruction of the enclave, in a fresh host process: rdi = address of the first window
	.globl kernel_entry
kernel_entry:
	cld
	lea GS_BIAS(%rdi), %rax
	wrgsbase %rax
	lea -0x200(%rdi), %rsp	// the window begins above its stack
	xor %ebp, %ebp
	call kernel_start
	ud2

// long host_clone(flags, stack, tid, window, fn)
	.globl host_clone
host_clone:
	mov $56, %eax
	mov %rcx, %r9
	xor %r10d, %r10d
	syscall
	test %rax, %rax
	jz 1f
	ret
1:	add $GS_BIAS, %r9
	wrgsbase %r9
	mov -8(%rsp), %rax	// a read: the host maps the pages around it too
	xor %ebp, %ebp
	call *%r8
	ud2

// void win_park(u64 *threads, struct park *p): see park.c. Returns when no other thread is left.
#define PARK_NEXT 4
#define PARK_SELF 8
#define PARK_USED 16
#define PARK_STACK 24
	.globl win_park
win_park:
	mov $0xffff0000ffffffff, %r8
	mov (%rdi), %rax
1:	cmp $1, %eax
	je 5f
	mov %rax, %rdx
	shr $32, %rdx
	movzwl %dx, %edx
	mov %edx, PARK_NEXT(%rsi)
	lea -1(%rax), %rcx
	and %r8, %rcx
	or PARK_SELF(%rsi), %rcx
	lock cmpxchg %rcx, (%rdi)
	jne 1b
	mov %rsi, %rbx			// whoever takes it from the list may use its stack from here on
2:	mov (%rbx), %eax
	test %eax, %eax
	jnz 3f
	mov %rbx, %rdi
	mov $128, %esi			// FUTEX_WAIT_PRIVATE
	xor %edx, %edx
	xor %r10d, %r10d
	mov $202, %eax
	syscall
	jmp 2b
3:	cmp $1, %eax			// PARK_GO
	jne 4f
	mov PARK_STACK(%rbx), %rsp
	xor %ebp, %ebp
	call park_again
	ud2
4:	mov $2, %edi			// no signal comes to a stack that is another's
	lea all_signals(%rip), %rsi
	xor %edx, %edx
	mov $8, %r10d
	mov $14, %eax			// rt_sigprocmask
	syscall
	mov PARK_USED(%rbx), %rdi
	xor %esi, %esi
	jmp win_exit_thread
5:	ret

// void win_exit_thread(u8 *used_flag, u32 *hproc_used): frees both, then the host's exit(0)
	.globl win_exit_thread
win_exit_thread:
	test %rsi, %rsi
	jz 1f
	movl $0, (%rsi)
1:	movb $0, (%rdi)
	mov $60, %eax
	xor %edi, %edi
	syscall
	ud2

// size_t raw_copy(dst, src, n): bytes left when a fault stopped it (usercopy.c)
	.globl raw_copy
raw_copy:
	mov %rdx, %rcx
	cmp $8, %rdx
	je 4f
copy_insn:
	rep movsb
copy_out:
	mov %rcx, %rax
	ret
4:	mov (%rsi), %rax
5:	mov %rax, (%rdi)
	xor %eax, %eax
	ret
6:	mov $8, %eax
	ret

// size_t raw_clear(dst, n)
	.globl raw_clear
raw_clear:
	mov %rsi, %rcx
	xor %eax, %eax
7:	rep stosb
8:	mov %rcx, %rax
	ret

// long raw_load8(src): byte or -1
	.globl raw_load8
raw_load8:
9:	movzbl (%rdi), %eax
	ret
10:	mov $-1, %rax
	ret

// int raw_cmpxchg32(p, expect, val, u32 *old): 0, or 1 on a fault
	.globl raw_cmpxchg32
raw_cmpxchg32:
	mov %esi, %eax
11:	lock cmpxchg %edx, (%rdi)
	mov %eax, (%rcx)
	xor %eax, %eax
	ret
12:	mov $1, %eax
	ret

// int raw_load32(p, u32 *val)
	.globl raw_load32
raw_load32:
13:	mov (%rdi), %eax
	mov %eax, (%rsi)
	xor %eax, %eax
	ret
14:	mov $1, %eax
	ret

	.section .rodata
all_signals:
	.quad -1

	.section .extable, "a"
	.quad copy_insn, copy_out
	.quad 4b, 6b
	.quad 5b, 6b
	.quad 7b, 8b
	.quad 9b, 10b
	.quad 11b, 12b
	.quad 13b, 14b
	.section .note.GNU-stack, "", @progbits
