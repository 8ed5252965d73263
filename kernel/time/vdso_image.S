// SPDX-License-Identifier: Apache-2.0
// The vDSO's image, built from vdso/ (see build.mk), as bytes.
	.section .rodata
	.balign 16
	.globl vdso_image_start, vdso_image_end
	.hidden vdso_image_start, vdso_image_end
vdso_image_start:
	.incbin VDSO_SO
vdso_image_end:
	.section .note.GNU-stack, "", @progbits
