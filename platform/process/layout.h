// SPDX-License-Identifier: Apache-2.0
// Where things lie in every host process of an enclave. One memfd backs all of it: the kernel's text and tables first, then
// (through the linear map) its variables and objects, the boot block, thread windows and all allocatable pages. Image and linear
// map share one GiB, so that a process needs few page-table pages for the kernel.
#pragma once

#define K_BASE 0x680000000000	// kernel image (kernel.lds); above what AddressSanitizer's allocator takes (4 TiB from 0x600000000000 on)
#define K_IMAGE_MAX 0x10000000	// 256 MiB of addresses for it
#define K_LIN (K_BASE + K_IMAGE_MAX) // linear map of the memfd
#define K_PUB (K_BASE + 0x8000000) // below it, with protection keys only (pku.c): a slot for each window that programs can reach
#define PUB_SHIFT 13
#define PUB_STRIDE 0x2000
#define PUB_REGS 128		// bytes at the end of a slot for registers; the host's signal frames below
#define K_LIN_MAX 0x4000000000	// 256 GiB
#define K_END (K_LIN + K_LIN_MAX)

#define USER_MIN 0x10000
#define USER_MAX 0x7ffffffff000

// offsets in the memfd = offsets in the linear map
#define OFF_IMAGE 0x0		// kernel text and tables, page for page; the linear map does not show them
#define OFF_HOT 0x800000	// variables (kernel.lds), behind them kmalloc's arena
#define HUGE_SIZE 0x200000	// what every process touches: one huge page (hugepages.c)
#define OFF_ARENA_END 0x2800000
#define OFF_LARGE OFF_ARENA_END	// large tables (kernel.lds)
#define OFF_CTL 0x4000000	// 64 MiB: control block shared with the launcher (struct control)
#define OFF_WINDOWS 0x8000000	// 128 MiB: thread windows
#define WIN_STRIDE 0x40000	// 256 KiB a window: kernel stack, hthread page, signal stack, vector state
#define OFF_WIN (OFF_WINDOWS + 0xd000) // hthread page of the first: right above its stack, so that one page fault maps both
#define WIN_MAX 16384
#define OFF_POOLS (OFF_WINDOWS + (unsigned long)WIN_STRIDE * WIN_MAX) // buffers of requests to the host, apart: a fork copies the
#define POOL_STRIDE 0x48000	// page tables of windows (hugepages.c), and these would be most of them
#define OFF_META (OFF_POOLS + (unsigned long)POOL_STRIDE * WIN_MAX) // page metadata, 16 bytes a page
#define OFF_META_LEN (K_LIN_MAX / 4096 * 16)
#define OFF_PAGES (OFF_META + OFF_META_LEN)	// allocatable pages

// in a window, from its hthread page
#define WIN_GUARD (-0xd000l)	// no access in the process whose thread stands on the stack above (harden.c)
#define WIN_PUB 80		// of struct hthread: pub
#define WIN_KSTACK (-0xc000l)	// 48 KiB, grows down from WIN_KSTACK_TOP
#define WIN_KSTACK_TOP 0l
#define WIN_ALTSTACK 0x1000	// 28 KiB
#define WIN_ALTSTACK_LEN 0x7000
#define WIN_FPU 0x8000		// 44 KiB: vector state while the kernel computes with it
#define WIN_END 0x13000		// behind it free space, and GS base in its middle
#define WIN_GS_ROOM 0xc000	// at least so much on either side of GS base

#define KICK_SIGNAL 63

#define PKU_KEY 1
#define PKRU_USER 0x55555554	// all but key 0 denied: what Linux begins a program with
#define PKRU_KERNEL 0x55555550
