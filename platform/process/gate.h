// SPDX-License-Identifier: Apache-2.0
// The gate between programs and the kernel, assembled twice: by entry.S as it is, and by entry_pku.S with PKU for CPUs with protection
// keys, where it takes and gives away the right to kernel memory as well (pku.c, which picks one of the two at boot). Only for assembly.
// struct regs (task.h) lies at THREAD(24), on top of the kernel stack. RCX carries the return address, so the
// user stack is never touched. The way back between kexit and kexit_end changes nothing that it reads, so a
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

// struct hthread (platform.h) and struct window (window.h)
#define THREAD(at) %gs:(at) - GS_BIAS
#define RSEQ_WORD 8
#define IN_KERNEL 60
#define WAIT_FRAME 64

#define NR_MAX 512

#ifdef PKU
#define G(name) name##_pku
#else
#define G(name) name
#endif

// rax = call number, rcx = where to return, other registers = the program's; r11 is dead after a system call.
// The program's rseq_cs is 0 before the kernel begins (kernel/task/rseq.c), but not before its flags are saved.
	.globl G(kentry)
	// For debuggers, true wherever C is called from here: RSP is struct regs, which has the program's RSP (the CFA), RIP and what C keeps.
	.cfi_sections .debug_frame
	.cfi_startproc simple
	.cfi_escape 0x0f, 4, 0x77, 0x98, 0x01, 0x06	// CFA: what lies at RSP + R_RSP
	.cfi_escape 0x10, 16, 3, 0x77, 0x80, 0x01	// return address: at RSP + R_RIP
	.cfi_escape 0x10, 3, 2, 0x77, R_RBX
	.cfi_escape 0x10, 6, 2, 0x77, R_RBP
	.cfi_escape 0x10, 12, 2, 0x77, R_R12
	.cfi_escape 0x10, 13, 2, 0x77, R_R13
	.cfi_escape 0x10, 14, 2, 0x77, R_R14
	.cfi_escape 0x10, 15, 2, 0x77, R_R15
G(kentry):
#ifdef PKU
	// No memory for registers here yet, and flags stay: RDX goes to R11, the number and the halves of RCX to upper halves, which WRPKRU ignores.
	mov %eax, %eax
	mov %rdx, %r11
	mov %ecx, %edx
	rorx $32, %rax, %rax
	rorx $32, %rdx, %rdx
	rorx $32, %rcx, %rcx
	mov %ecx, %ecx
	rorx $32, %rcx, %rcx
	lea PKRU_KERNEL(%rax), %rax
	wrpkru
	rorx $32, %rax, %rax
	rorx $32, %rdx, %rdx
	lea (%rcx,%rdx), %rcx
	mov %r11, %rdx
#endif
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
	mov THREAD(RSEQ_WORD), %r11
G(rseq_read):
	cmpq $0, (%r11)
	jne G(rseq_clear)
G(kentry_clean):
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
	.globl G(kexit)
G(kexit):
	mov THREAD(32), %rax
	cmpl $0, (%rax)
	jne G(kexit_work)
	cmpq $0, R_SS(%rsp)
	jne G(kexit_full)
	mov R_R11(%rsp), %rax
	add $127, %al
	sahf
#ifdef PKU
	// three registers that WRPKRU takes wait in memory that the program may read (R11 is dead)
	mov THREAD(WIN_PUB), %r11
	mov R_RDX(%rsp), %rdx
	mov R_RIP(%rsp), %rcx
	mov R_RAX(%rsp), %rax
	mov %rdx, (%r11)
	mov %rcx, 8(%r11)
	mov %rax, 16(%r11)
#else
	mov R_RAX(%rsp), %rax
	mov R_RIP(%rsp), %rcx
#endif
	mov R_RDI(%rsp), %rdi
	mov R_RSI(%rsp), %rsi
#ifndef PKU
	mov R_RDX(%rsp), %rdx
#endif
	mov R_R10(%rsp), %r10
	mov R_R8(%rsp), %r8
	mov R_R9(%rsp), %r9
	mov R_RBX(%rsp), %rbx
	mov R_RBP(%rsp), %rbp
	mov R_R12(%rsp), %r12
	mov R_R13(%rsp), %r13
	mov R_R14(%rsp), %r14
	mov R_R15(%rsp), %r15
#ifndef PKU
	mov R_R11(%rsp), %r11
#endif
	movl $0, THREAD(IN_KERNEL)
	mov R_RSP(%rsp), %rsp
#ifdef PKU
	mov $PKRU_USER, %eax		// no xor: flags are the program's
	mov $0, %ecx
	mov $0, %edx
	wrpkru
	mov (%r11), %rdx
	mov 8(%r11), %rcx
	mov 16(%r11), %rax
#endif
	.globl G(kexit_jmp)
G(kexit_jmp):
	jmp *%rcx

// every register from struct regs, by iretq (it works within ring 3 and touches no user stack)
G(kexit_full):
#ifdef PKU
	mov THREAD(WIN_PUB), %rdi
	.irp slot, R_RDX, R_RCX, R_RAX, R_RIP, R_CS, R_FLAGS, R_RSP, R_SS
	mov \slot(%rsp), %rax
	mov %rax, (%rdi)
	add $8, %rdi
	.endr
#endif
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
#ifndef PKU
	mov R_RAX(%rsp), %rax
	mov R_RCX(%rsp), %rcx
	mov R_RDX(%rsp), %rdx
#endif
	mov R_RSI(%rsp), %rsi
	mov R_RDI(%rsp), %rdi
	movl $0, THREAD(IN_KERNEL)
#ifdef PKU
	mov THREAD(WIN_PUB), %rsp
	mov $PKRU_USER, %eax
	xor %ecx, %ecx
	xor %edx, %edx
	wrpkru
	pop %rdx
	pop %rcx
	pop %rax
#else
	lea R_RIP(%rsp), %rsp
#endif
	.globl G(kexit_iret)
G(kexit_iret):
	iretq
	.globl G(kexit_end)
G(kexit_end):

G(rseq_clear):
	movq $0, (%r11)
	jmp G(kentry_clean)

1:	mov %rsp, %rdi
	call sys_out_of_range
	jmp 2b
3:	mov %rsp, %rdi
	call exit_restart
	jmp G(kexit)

G(kexit_work):
	movl $1, THREAD(IN_KERNEL)
	mov %rsp, %rdi
	call exit_work
	jmp G(kexit)

// trap.c points an interrupted program here: rsp = rdi = struct regs, already filled
	.globl G(ktrap)
G(ktrap):
#ifdef PKU
	mov $PKRU_KERNEL, %eax
	xor %ecx, %ecx
	xor %edx, %edx
	wrpkru
#endif
	cld
	movl $1, THREAD(IN_KERNEL)
	xor %ebp, %ebp
	call kernel_trap
	jmp G(kexit)
	.cfi_endproc

#ifdef PKU
// trap.c begins the way back anew here: rsp = struct regs
	.globl kexit_again_pku
kexit_again_pku:
	mov $PKRU_KERNEL, %eax
	xor %ecx, %ecx
	xor %edx, %edx
	wrpkru
	jmp kexit_pku
#endif

	.pushsection .extable, "a"
	.quad G(rseq_read), G(kentry_clean)
	.quad G(rseq_clear), G(kentry_clean)
	.popsection
