# SPDX-License-Identifier: Apache-2.0
# Runs tests of one module of CPython's own suite, natively or inside an enclave, and tells the verdict of each as a line
# `@@ VERDICT SECONDS ID<tab>WHY` on the first standard output. Started by ./run in both worlds with the same arguments:
#
#	judge.py [-a] [-t SECONDS] [-p PATTERN] [-w PATTERN]... [-s ID] [-u UID] MODULE
#
# -a: the tests that take much processor time too; -t: limit of one test; -p: only ids that match; -w: without those that
# match; -s: start after this one; -u: as this user. A test that passes its limit ends the run with the stack of every thread on standard error.
import argparse
import faulthandler
import fnmatch
import importlib
import os
import sys
import tempfile
import time
import types
import unittest


class Verdicts(unittest.TestResult):
    def __init__(self, fd, limit):
        super().__init__()
        self.fd, self.limit, self.pid = fd, limit, os.getpid()
        self.began, self.worst = time.monotonic(), None
        self.errors_of_stderr = os.fdopen(os.dup(2), "w")

    def say(self, verdict, test, why=""):
        if os.getpid() != self.pid:  # a forked child fell out of its test: it must not go on with ours
            os._exit(70)
        why = why.strip().replace("\\", "/").splitlines()
        line = "\n@@ %s %.2f %s\t%s\n" % (verdict, time.monotonic() - self.began, test.id(), " | ".join(why[-3:])[:400])
        os.write(self.fd, line.encode("utf-8", "backslashreplace"))

    def startTest(self, test):
        super().startTest(test)
        self.began, self.worst = time.monotonic(), None
        faulthandler.dump_traceback_later(self.limit, exit=True, file=self.errors_of_stderr)
        self.say("start", test)

    def stopTest(self, test):
        super().stopTest(test)
        faulthandler.cancel_dump_traceback_later()
        if self.worst:
            self.say(*self.worst)

    def settle(self, verdict, test, why=""):
        # Subtests and cleanups may speak after one another: the worst word counts, once.
        rank = ("ok", "skip", "fail")
        if not isinstance(test, unittest.TestCase):  # setUpClass, setUpModule
            self.say(verdict, test, why)
        elif not self.worst or rank.index(verdict) > rank.index(self.worst[0]):
            self.worst = (verdict, getattr(test, "test_case", test), why)

    def addSuccess(self, test):
        self.settle("ok", test)

    def addSkip(self, test, why):
        self.settle("skip", getattr(test, "test_case", test), why)

    def addExpectedFailure(self, test, err):
        self.settle("ok", test)

    def addUnexpectedSuccess(self, test):
        self.settle("fail", test, "unexpected success")

    def addFailure(self, test, err):
        why = self._exc_info_to_string(err, test)
        sys.stderr.write("%s\n%s\n" % (test.id(), why))
        self.settle("fail", test, why)

    addError = addFailure

    def addSubTest(self, test, subtest, err):
        if err:
            self.addFailure(subtest, err)


def flat(suite):
    for t in suite:
        if isinstance(t, unittest.TestSuite):
            yield from flat(t)
        else:
            yield t


SQLITE = "/usr/lib/pypy3.9/sqlite3/test"


def load(name):
    if name != "test_sqlite3":
        return list(flat(unittest.defaultTestLoader.loadTestsFromName("test." + name)))
    # Debian's package of CPython's suite leaves out those of sqlite3. Those of CPython 3.9 are in the package of PyPy's suite.
    from test import support
    from test.support import os_helper
    support.TESTFN, support.unlink = os_helper.TESTFN, os_helper.unlink  # where 3.9 had them
    package = sys.modules["sqlite_test"] = types.ModuleType("sqlite_test")
    package.__path__ = [SQLITE]
    tests = []
    for file in sorted(os.listdir(SQLITE)):
        if not file.endswith(".py"):
            continue
        for kind in vars(importlib.import_module("sqlite_test." + file[:-3])).values():
            if isinstance(kind, type) and issubclass(kind, unittest.TestCase):
                tests += [kind(n) for n in dir(kind) if n.startswith(("Check", "test"))]
    return tests


def main():
    p = argparse.ArgumentParser()
    p.add_argument("-a", action="store_true")
    p.add_argument("-t", type=float, default=120)
    p.add_argument("-p", default="*")
    p.add_argument("-w", action="append", default=[])
    p.add_argument("-s")
    p.add_argument("-u", type=int)
    p.add_argument("module")
    a = p.parse_args()
    if a.u is not None:
        os.setgroups([])
        os.setgid(a.u)
        os.setuid(a.u)

    from test import support
    from test.libregrtest.setup import setup_tests
    from test.support import os_helper

    os.chdir(tempfile.gettempdir())
    fd = os.dup(1)
    os.set_inheritable(fd, False)
    resources = ["subprocess", "walltime", "tzdata"] + (["cpu"] if a.a else [])
    setup_tests(types.SimpleNamespace(testdir=None, huntrleaks=False, memlimit=None, threshold=None, verbose=0,
                                      use_resources=resources, timeout=None, xmlpath=None))
    support.verbose = 0
    with os_helper.temp_cwd("cpython_suite_%d" % os.getpid()):
        tests = load(a.module)
        if a.s:
            ids = [t.id() for t in tests]
            tests = tests[ids.index(a.s) + 1:]
        tests = [t for t in tests if fnmatch.fnmatchcase(t.id(), a.p) and not any(fnmatch.fnmatchcase(t.id(), w) for w in a.w)]
        result = Verdicts(fd, a.t)
        unittest.TestSuite(tests).run(result)
        os.write(fd, b"\n@@ end\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
