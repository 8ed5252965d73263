// SPDX-License-Identifier: Apache-2.0
// The scanner for Python imports.
#include <string.h>

#include "image/pyimports.h"
#include "tests/image/unit.h"

static void finds(const char *name, const char *source, bool whole, const char *expected)
{
	struct string_list modules = {0};
	struct text found = {0};

	python_imports(source, strlen(source), whole, &modules);
	text_puts(&found, "");
	for (size_t i = 0; i < modules.count; i++)
		text_printf(&found, "%s%s", i ? " " : "", modules.items[i]);
	unit_check(!strcmp(found.data, expected), name, found.data);
	text_free(&found);
	string_list_free(&modules);
}

int main(void)
{
	finds("py_simple", "import os\nimport a.b.c as d, e\nfrom f.g import h\n", true, "os a e f");
	finds("py_relative", "from . import x\nfrom .y import z\nfrom ..q import r\n", true, "");
	finds("py_strings", "'''\nimport no\n'''\nx = \"import no2\"\nr'\\'\nimport yes\n", true, "yes");
	finds("py_comment", "# import no\nimport yes # import no\n", true, "yes");
	finds("py_brackets", "f(\nimport_x,\n)\nimport yes\nfrom a import (b,\n c)\nimport d\n", true, "yes a d");
	finds("py_indented", "def f():\n    import in1\nif x: import in2\ntry:\n\timport in3\nexcept E:\n  pass\n", true, "in1 in2 in3");
	finds("py_unindented_only", "import top\ndef f():\n    import inner\n", false, "top");
	finds("py_semicolon", "import a; import b\n", true, "a b");
	finds("py_continued", "import a, \\\n  b\nfrom \\\n c import d\n", true, "a b c");
	finds("py_import_module", "importlib.import_module('a.b')\n__import__(\"c\")\nimport_module(name)\n", true, "a c");
	finds("py_words", "x.important = 1\nfrom_x = 2\nimporter()\n", true, "");
	finds("py_cut", "import a\n'''", true, "a");
	finds("py_crlf", "import a\r\nimport b\r\n", true, "a b");
	return unit_failed;
}
