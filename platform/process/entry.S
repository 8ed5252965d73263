// SPDX-License-Identifier: Apache-2.0
// Entry into the kernel from a program's call site (by a trampoline's jump) and the way back.
// struct regs (task.h) lies at THREAD(24), on top of the kernel stack. RCX carries the return address, so the
// user stack is never touched. The way back between kexit and kexit_end only reads struct regs, so a
// host signal that lands in it restarts it at kexit (trap.c): no wake-up is lost.

#define R_R15 0
#define R_R14 8
#define R_R13 16
#define R_R12 24
#define R_RBP 32
#define R_RBX 40
#define R_R11 48
#define R_R10 56
#define R_R9 64
#define R_R8 72
#define R_RAX 80
#define R_RCX 88
#define R_RDX 96
#define R_RSI 104
#define R_RDI 112
#define R_ORIG 120
#define R_RIP 128
#define R_CS 136
#define R_FLAGS 144
#define R_RSP 152
#define R_SS 160

// struct hthread (platform.h)
#define THREAD(at) %gs:(at) - GS_BIAS
#define RSEQ_WORD 8
#define IN_KERNEL 60
#define WAIT_FRAME 64

#define NR_MAX 512

	.section .text.entry, "ax"

// rax = call number, rcx = where to return, other registers = the program's; r11 is dead after a system call.
// The program's rseq_cs is 0 before the kernel begins (kernel/task/rseq.c).
	.globl kentry
kentry:
	mov THREAD(RSEQ_WORD), %r11
rseq_read:
	cmpq $0, (%r11)
	jne rseq_clear
kentry_clean:
	mov %eax, %eax			// the number is 32 bits wide; what is above does not count
	mov %rsp, %r11
	mov THREAD(24), %rsp
	movl $1, THREAD(IN_KERNEL)
	mov %r11, R_RSP(%rsp)
	mov %rax, R_ORIG(%rsp)
	movq $0, R_SS(%rsp)		// marks the short form of struct regs: flags are in the r11 slot
	mov %rcx, R_RIP(%rsp)
	mov %rcx, R_RCX(%rsp)
	lahf
	seto %al
	mov %rax, R_R11(%rsp)
	mov R_ORIG(%rsp), %rax
	cld
	mov %rdi, R_RDI(%rsp)
	mov %rsi, R_RSI(%rsp)
	mov %rdx, R_RDX(%rsp)
	mov %r10, R_R10(%rsp)
	mov %r8, R_R8(%rsp)
	mov %r9, R_R9(%rsp)
	mov %rbx, R_RBX(%rsp)
	mov %rbp, R_RBP(%rsp)
	mov %r12, R_R12(%rsp)
	mov %r13, R_R13(%rsp)
	mov %r14, R_R14(%rsp)
	mov %r15, R_R15(%rsp)
	mov %rax, R_RAX(%rsp)
	cmp $NR_MAX, %rax
	jae 1f
	mov THREAD(16), %r11		// the plain table, or the one of tasks that are watched (syscall/divert.c)
	mov %r10, %rcx
	xor %ebp, %ebp
	call *(%r11,%rax,8)
2:	mov %rax, R_RAX(%rsp)
	// an ERESTART code never reaches the program
	add $516, %rax
	cmp $4, %rax
	jbe 3f
	.globl kexit
kexit:
	mov THREAD(32), %rax
	cmpl $0, (%rax)
	jne kexit_work
	cmpq $0, R_SS(%rsp)
	jne kexit_full
	mov R_R11(%rsp), %rax
	add $127, %al
	sahf
	mov R_RAX(%rsp), %rax
	mov R_RIP(%rsp), %rcx
	mov R_RDI(%rsp), %rdi
	mov R_RSI(%rsp), %rsi
	mov R_RDX(%rsp), %rdx
	mov R_R10(%rsp), %r10
	mov R_R8(%rsp), %r8
	mov R_R9(%rsp), %r9
	mov R_RBX(%rsp), %rbx
	mov R_RBP(%rsp), %rbp
	mov R_R12(%rsp), %r12
	mov R_R13(%rsp), %r13
	mov R_R14(%rsp), %r14
	mov R_R15(%rsp), %r15
	mov R_R11(%rsp), %r11
	movl $0, THREAD(IN_KERNEL)
	mov R_RSP(%rsp), %rsp
	.globl kexit_jmp
kexit_jmp:
	jmp *%rcx

// every register from struct regs, by iretq (it works within ring 3 and touches no user stack)
kexit_full:
	mov R_R15(%rsp), %r15
	mov R_R14(%rsp), %r14
	mov R_R13(%rsp), %r13
	mov R_R12(%rsp), %r12
	mov R_RBP(%rsp), %rbp
	mov R_RBX(%rsp), %rbx
	mov R_R11(%rsp), %r11
	mov R_R10(%rsp), %r10
	mov R_R9(%rsp), %r9
	mov R_R8(%rsp), %r8
	mov R_RAX(%rsp), %rax
	mov R_RCX(%rsp), %rcx
	mov R_RDX(%rsp), %rdx
	mov R_RSI(%rsp), %rsi
	mov R_RDI(%rsp), %rdi
	movl $0, THREAD(IN_KERNEL)
	lea R_RIP(%rsp), %rsp
	.globl kexit_iret
kexit_iret:
	iretq
	.globl kexit_end
kexit_end:

rseq_clear:
	movq $0, (%r11)
	jmp kentry_clean

1:	mov %rsp, %rdi
	call sys_out_of_range
	jmp 2b
3:	mov %rsp, %rdi
	call exit_restart
	jmp kexit

kexit_work:
	movl $1, THREAD(IN_KERNEL)
	mov %rsp, %rdi
	call exit_work
	jmp kexit

// trap.c points an interrupted program here: rsp = rdi = struct regs, already filled
	.globl ktrap
ktrap:
	cld
	movl $1, THREAD(IN_KERNEL)
	xor %ebp, %ebp
	call kernel_trap
	jmp kexit

	.globl kresume
kresume:
	mov %rdi, %rsp
	jmp kexit

// long host_sleep(nr, a, b, c, d, e, f): a call of the host that sleeps. What the sleeper needs to go on lies on its kernel
// stack, so that another host thread can go on in its place when the host has killed it (death.c).
	.globl host_sleep
host_sleep:
	push %rbp
	mov %rsp, %rbp
	push %rbx
	push %r12
	push %r13
	push %r14
	push %r15
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
	ret

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
	.quad rseq_read, kentry_clean
	.quad rseq_clear, kentry_clean
	.quad copy_insn, copy_out
	.quad 4b, 6b
	.quad 5b, 6b
	.quad 7b, 8b
	.quad 9b, 10b
	.quad 11b, 12b
	.quad 13b, 14b
	.section .note.GNU-stack, "", @progbits
