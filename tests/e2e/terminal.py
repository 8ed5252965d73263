# SPDX-License-Identifier: Apache-2.0
# Drives an interactive program on a pseudo-terminal as a person would: line editing, Ctrl-C, Ctrl-D, window size.
#
#	terminal.py bash|python|screen|resized native   the program itself
#	terminal.py bash|...|killed COMMAND...  COMMAND in front of it, such as `coffer run --`
#
# Exit code 0 when each step went as expected; else the last line says which did not.
import fcntl
import os
import pty
import re
import select
import struct
import sys
import termios
import time

LIMIT_S = 120


class Terminal:
	def __init__(self, argv):
		self.seen = ""
		self.all = ""
		self.pid, self.fd = pty.fork()
		if self.pid == 0:
			fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 33, 101, 0, 0))
			os.environ["TERM"] = "xterm"
			os.environ["PS1"] = "ready> "
			os.environ["HTOPRC"] = "/dev/null"
			os.execvp(argv[0], argv)

	def comes(self, pattern, step, limit):
		"""Until the pattern is there, or the limit is over: False."""
		end = time.monotonic() + limit
		while True:
			m = re.search(pattern, self.seen)
			if m:
				self.seen = self.seen[m.end():]
				return True
			left = end - time.monotonic()
			if left <= 0 or not select.select([self.fd], [], [], left)[0]:
				return False
			try:
				data = os.read(self.fd, 4096)
			except OSError:
				data = b""
			if not data:
				self.fail(step + " (terminal closed)", pattern)
			self.seen += data.decode(errors="replace")
			self.all += data.decode(errors="replace")

	def expect(self, pattern, step):
		"""Until the pattern is there."""
		if not self.comes(pattern, step, LIMIT_S):
			self.fail(step, pattern)

	def interrupt(self, pattern, step):
		"""Ctrl-C. One that comes between a program's look at signals and its read or sleep is only noticed with the next key: then once more."""
		for _ in range(LIMIT_S // 20):
			time.sleep(0.3)
			self.type("\x03")
			if self.comes(pattern, step, 20):
				return
		self.fail(step, pattern)

	def resize(self, rows, cols, key, pattern, step):
		"""As with Ctrl-C, a program may notice with the next key only, here one that makes it draw anew."""
		self.size(rows, cols)
		for _ in range(LIMIT_S // 20):
			if self.comes(pattern, step, 20):
				return
			self.type(key)
		self.fail(step, pattern)

	def program(self, program):
		"""In bash: a program that has the terminal. It says so itself: bash may still be on the way to it, and take a key that is a signal."""
		self.type(f"sh -c 'echo go''ing; exec {program}'\r")
		self.expect("\ngoing\r\n", "start of " + program)

	def size(self, rows, cols):
		fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

	def wait_raw(self, raw, step):
		"""Until the terminal's modes are the enclave's, or a shell's again."""
		end = time.monotonic() + LIMIT_S
		while bool(termios.tcgetattr(self.fd)[3] & termios.ICANON) == raw:
			if time.monotonic() > end:
				self.fail(step, "raw" if raw else "cooked")
			time.sleep(0.05)

	def type(self, text):
		os.write(self.fd, text.encode())

	def fail(self, step, pattern):
		print(self.all)
		print(f"{step}: no {pattern!r} in {self.seen[-200:]!r}")
		os.kill(self.pid, 9)
		sys.exit(1)

	def end(self, code):
		while True:
			try:
				if not os.read(self.fd, 4096):
					break
			except OSError:
				break
		got = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
		if got != code:
			print(f"exit code {got}, not {code}")
			sys.exit(1)


def bash(prefix):
	t = Terminal(prefix + ["/bin/bash", "--norc", "--noprofile", "-i"])
	t.expect("[$#>] $", "prompt")
	t.type("PS1='ready''> '; bind 'set enable-bracketed-paste off'\r")
	t.expect("ready> $", "own prompt")
	t.type("test -t 0 && test -t 1 && echo terminal-$((6 * 7))\r")
	t.expect("terminal-42\r\n", "isatty")
	t.expect("ready> $", "prompt")
	t.type("echo abxd\x1b[D\x7fc\r")  # left, backspace, c: abcd
	t.expect("\nabcd\r\n", "line editing")
	t.expect("ready> $", "prompt")
	t.type("echo first-$((1 + 1))\r")
	t.expect("first-2\r\n", "history line")
	t.expect("ready> $", "prompt")
	t.type("\x1b[A\r")  # the line again
	t.expect("first-2\r\n", "history")
	t.expect("ready> $", "prompt")
	t.type("stty size\r")
	t.expect("33 101\r\n", "window size")
	t.expect("ready> $", "prompt")
	t.program("sleep 1000")
	t.type("\x03")
	t.expect("ready> $", "Ctrl-C")
	t.type("echo code-$?\r")
	t.expect("code-130\r\n", "status after Ctrl-C")
	t.expect("ready> $", "prompt")
	t.type("half a line")
	t.expect("half a line$", "echo")
	t.interrupt("ready> $", "Ctrl-C at the prompt")
	t.program("sleep 1000")
	t.type("\x1a")
	t.expect("Stopped", "Ctrl-Z")
	t.expect("ready> $", "prompt")
	t.type("bg; jobs; kill %1; wait; echo job-$?\r")
	t.expect("job-[0-9]+\r\n", "job control")
	t.expect("ready> $", "prompt")
	t.program("sleep 1000")
	t.type("\x1c")
	t.expect("Quit", "Ctrl-\\\\")
	t.expect("ready> $", "prompt")
	t.type("echo code-$?\r")
	t.expect("code-131\r\n", "status after Ctrl-\\\\")
	t.expect("ready> $", "prompt")
	t.program("cat >/dev/null")
	t.type("\x1a")
	t.expect("Stopped", "Ctrl-Z in cat")
	t.expect("ready> $", "prompt")
	t.type("fg\r")
	t.expect("cat > ?/dev/null'\r\n", "fg")
	t.type("\x04")
	t.expect("ready> $", "Ctrl-D after fg")
	t.type("bash -c 'sleep 1000 & trap \"echo resized-\\$(stty size); kill $!\" WINCH; echo set-$((2 + 3)); wait'\r")
	t.expect("set-5\r\n", "trap of SIGWINCH")
	t.size(44, 121)
	t.expect("resized-44 121\r\n", "SIGWINCH")
	t.expect("ready> $", "prompt")
	t.type("echo begin; cat\r")
	t.expect("\nbegin\r\n", "cat")
	t.type("one line\r")
	t.expect("one line\r\none line\r\n", "echo and cat")
	t.type("\x04")
	t.expect("ready> $", "Ctrl-D in cat")
	t.type("read -r -s -p 'secret? ' x; echo; echo got-$x\r")
	t.expect("\r\nsecret\\? $", "silent read")
	t.type("hidden\r")
	t.expect("got-hidden\r\n", "after silent read")
	t.expect("ready> $", "prompt")
	t.type("exit 7\r")
	t.end(7)


def python(prefix):
	t = Terminal(prefix + ["/usr/bin/python3", "-q"])
	t.expect(">>> $", "prompt")
	t.type("import sys, os; print('tty', sys.stdin.isatty(), os.get_terminal_size())\r")
	t.expect("tty True os.terminal_size\\(columns=101, lines=33\\)", "isatty")
	t.expect(">>> $", "prompt")
	t.type("print(6 * 8)\x1b[D\x7f7\r")
	t.expect("\n42\r\n", "line editing")
	t.expect(">>> $", "prompt")
	t.type("import time; print('go' + 'ing'); time.sleep(1000)\r")
	t.expect("going\r\n", "sleep")
	t.interrupt("KeyboardInterrupt", "Ctrl-C") # one that comes just before the sleep begins does not end it
	t.expect(">>> $", "prompt")
	t.type("while True: pass\r\r")
	t.expect("\\.\\.\\. \r\n", "loop")
	t.type("\x03")
	t.expect("KeyboardInterrupt", "Ctrl-C in a loop")
	t.expect(">>> $", "prompt")
	t.type("\x1b[A\x1b[A\x1b[A\x01#\r")  # history, start of line
	t.expect(">>> $", "history")
	t.type("x = input('name? '); print('hello', x)\r")
	t.expect("\nname\\? $", "input")
	t.type("coffer\r")
	t.expect("hello coffer", "input answered")
	t.expect(">>> $", "prompt")
	t.type("\x04")
	t.end(0)


def screen(prefix):
	"""Full-screen programs draw anew when the window has another size."""
	t = Terminal(prefix + ["/usr/bin/htop", "-d", "5"])
	t.expect("\x1b\\[33[;d]", "htop's last line")
	t.size(51, 131)
	t.expect("\x1b\\[51[;d]", "htop's last line after the window grew")
	t.size(22, 90)
	t.expect("\x1b\\[22[;d]", "htop's last line after it shrank")
	t.type("q")
	t.wait_raw(False, "modes after htop")
	t.end(0)


def resized(prefix):
	"""vim and less follow the window while they run, and draw what has come into it; so do programs that they start, and the shell afterwards."""
	t = Terminal(prefix + ["/bin/bash", "--norc", "--noprofile", "-i"])
	t.expect("[$#>] $", "prompt")
	t.type("PS1='ready''> '; bind 'set enable-bracketed-paste off'\r")
	t.expect("ready> $", "own prompt")
	t.type("vim -u NONE -i NONE -n -N -c 'call setline(1, map(range(1, 100), \"\\\"line \\\" . v:val\"))'\r")
	t.expect("line 32\\b", "vim's last line of text")
	t.resize(51, 131, "\x0c", "line 50\\b", "more of it in a larger window")
	t.type(":echo 'size' &lines 'by' &columns\r")
	t.expect("size 51 by 131", "size as vim has it")
	t.type(":!stty size\r")
	t.expect("51 131\r\n", "stty in vim")
	t.type("\r")
	t.expect("line 50\\b", "vim again")
	t.resize(22, 90, "\x0c", "line 21\\b", "vim in a smaller window")
	t.type(":echo 'size' &lines 'by' &columns\r")
	t.expect("size 22 by 90", "smaller size")
	t.type(":q!\r")
	t.expect("ready> $", "prompt after vim")
	t.type("stty size; seq -f 'row %g' 100 | less\r")
	t.expect("\n22 90\r\n", "size after vim")
	t.expect("row 21\\b", "less, which has its keys from /dev/tty")
	t.resize(40, 100, "r", "row 39\\b", "less in a larger window")
	t.resize(30, 70, "r", "row 29\\b", "less in a smaller window")
	t.type("G")
	t.expect("row 100\\b", "its end")
	t.type("q")
	t.expect("ready> $", "prompt after less")
	t.type("stty size; echo $LINES by $COLUMNS\r")
	t.expect("\n30 70\r\n30 by 70\r\n", "size as the shell has it")
	t.expect("ready> $", "prompt")
	t.type("exit 5\r")
	t.end(5)


def killed(prefix):
	"""The terminal is as it was after the launcher was killed. The shell around it does not care for modes."""
	t = Terminal(["/bin/sh", "-c", 'echo begin; read -r x; "$@"; echo over-$?; read -r x; echo read-$x', "sh"] + prefix + ["/bin/bash", "--norc", "--noprofile", "-i"])
	t.expect("begin\r\n", "the shell around it")
	before = termios.tcgetattr(t.fd)
	t.type("\r")
	t.expect("[$#>] $", "prompt")
	t.wait_raw(True, "the enclave's modes")
	with open(f"/proc/{t.pid}/task/{t.pid}/children") as f:
		os.kill(int(f.read().split()[0]), 9)
	t.expect("over-137", "end of the launcher")
	t.wait_raw(False, "modes after the kill")
	if termios.tcgetattr(t.fd) != before:
		t.fail("modes after the kill", "the same as before")
	t.type("line\r")
	t.expect("read-line", "a line read with the terminal's own editing")
	t.end(0)


if __name__ == "__main__":
	prefix = [] if sys.argv[2] == "native" else sys.argv[2:]
	{"bash": bash, "python": python, "screen": screen, "resized": resized, "killed": killed}[sys.argv[1]](prefix)
