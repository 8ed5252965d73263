# SPDX-License-Identifier: Apache-2.0
# For gdb on this machine, attached to a host process of an enclave (docs/debugging.md): the kernel's symbols, its signals, and three commands.
#
#	gdb -iex 'set exec-file-mismatch off' build/kernel.debug -p PID -x platform/process/gdb.py
#
# kernel.debug is of the same build as the enclave's kernel, which lies at a fixed address. (Without it gdb would take the launcher for the program,
# which is in this process's memory no more.)
import os
import struct

import gdb

K_LIN = 0x680000000000 + 0x10000000  # as in layout.h, like the next ones
WINDOWS = K_LIN + 0x8000000 + 0xD000
WINDOW_STRIDE = 0x40000
DEPTH = 24


def settings():
	for line in (
		"set pagination off",
		"set print thread-events off",
		"handle SIGSYS nostop noprint pass",  # system calls that no trampoline caught
		"handle SIG63 nostop noprint pass",  # kicks
	):
		gdb.execute(line, to_string=True)


def window(index):
	kind = gdb.lookup_type("struct window").pointer()
	return gdb.Value(WINDOWS + index * WINDOW_STRIDE).cast(kind).dereference()


def number(value):
	return int(value.cast(gdb.lookup_type("unsigned long")))


def place(address):
	text = gdb.execute(f"info symbol {address:#x}", to_string=True).split(" in section")[0].strip()
	where = gdb.find_pc_line(address)
	if where.symtab:
		text += f" at {where.symtab.filename}:{where.line}"
	return text


def chain(frame):
	word = gdb.lookup_type("unsigned long").pointer()
	for _ in range(DEPTH):
		try:
			pair = gdb.Value(frame).cast(word)
			back, after = int(pair[1]), int(pair[0])
		except gdb.MemoryError:
			return
		if not back:
			return
		yield back
		if after <= frame:
			return
		frame = after


def in_use():
	used = gdb.parse_and_eval("win_used")
	for i in range(number(gdb.parse_and_eval("win_high"))):
		if number(used[i]):
			yield i


class Tasks(gdb.Command):
	"""coffer-tasks: what each host thread of the enclave carries, and where in the kernel it waits."""

	def __init__(self):
		super().__init__("coffer-tasks", gdb.COMMAND_STATUS)

	def invoke(self, argument, from_tty):
		for i in in_use():
			w = window(i)
			task = w["h"]["cur"]
			host = f"{number(w['h']['host_pid'])}/{number(w['h']['host_tid'])}"
			frame = number(w["h"]["wait_frame"])
			if not number(task):
				print(f"window {i} host {host}: blank")
				continue
			name = task["comm"].string(errors="replace")
			what = "runs" if not frame else "sleeps" if task["sleeping"] else "waits"
			at = [place(a) for a in chain(frame)][:3] if frame else []
			print(f"window {i} host {host}: task {number(task['tid'])} ({name}) {what}" + "".join(f"\n    {p}" for p in at))


class Chain(gdb.Command):
	"""coffer-bt WINDOW: the call chain of a thread that sleeps or waits in the kernel (`bt` shows the current host thread's)."""

	def __init__(self):
		super().__init__("coffer-bt", gdb.COMMAND_STACK)

	def invoke(self, argument, from_tty):
		if not argument.isdigit() or int(argument) not in in_use():
			raise gdb.GdbError("coffer-bt takes the number of a window (coffer-tasks lists them)")
		frame = number(window(int(argument))["h"]["wait_frame"])
		if not frame:
			raise gdb.GdbError("it does not wait in the kernel: attach to its host process and use bt")
		for n, address in enumerate(chain(frame)):
			print(f"#{n:<3}{address:#x} {place(address)}")


def own_task():
	"""The task that the selected host thread carries."""
	thread = gdb.selected_thread()
	for i in in_use():
		w = window(i)
		if thread and number(w["h"]["host_tid"]) == (thread.ptid[1] or thread.ptid[0]) and number(w["h"]["cur"]):
			return w["h"]["cur"].dereference()
	raise gdb.GdbError("this host thread carries no task: coffer-tasks says which one does")


def path_of(dentry):
	parts = []
	while number(dentry["parent"]) != number(dentry.address):
		parts.append(dentry["name"].string(errors="replace"))
		dentry = dentry["parent"].dereference()
	return "/".join(reversed(parts))


def files_of(task):
	"""Path and address of the first byte of each file that is mapped, of each the first mapping."""
	mm, seen = task["proc"]["mm"], {}
	for i in range(number(mm["n"])):
		area = mm["vmas"][i]
		if number(area["file"]) and number(area["file"]["path"]["dentry"]):
			path = path_of(area["file"]["path"]["dentry"].dereference())
			seen.setdefault(path, number(area["start"]) - (number(area["pgoff"]) << 12))
	return seen


def bias(path, address):
	"""What is added to a file's own addresses where its first byte lies at `address`; None: it is no program."""
	with open(path, "rb") as f:
		head = f.read(64)
		if len(head) < 64 or head[:5] != b"\x7fELF\x02":
			return None
		at, size, count = struct.unpack_from("<Q", head, 32)[0], *struct.unpack_from("<HH", head, 54)
		f.seek(at)
		table = f.read(size * count)
	for k in range(count):
		kind, _, offset, start = struct.unpack_from("<IIQQ", table, k * size)
		if kind == 1:  # PT_LOAD
			return address - (start - offset)
	return None


class Symbols(gdb.Command):
	"""coffer-symbols FOLDER: the symbols of the program, and of its libraries, that the selected host thread runs. FOLDER: the project's image/."""

	def __init__(self):
		super().__init__("coffer-symbols", gdb.COMMAND_FILES, gdb.COMPLETE_FILENAME)

	def invoke(self, argument, from_tty):
		for path, address in files_of(own_task()).items():
			file = os.path.join(argument, path)
			add = bias(file, address) if os.path.isfile(file) else None
			if add is not None:
				gdb.execute(f"add-symbol-file {file} -o {add:#x}", to_string=True)
				print(f"{address:#x} /{path}")


settings()
if not gdb.lookup_global_symbol("kernel_main"):
	raise gdb.GdbError("these are not the symbols of an enclave kernel: gdb ... build/kernel.debug -p PID -x platform/process/gdb.py")
Tasks()
Chain()
Symbols()
