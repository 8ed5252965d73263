// SPDX-License-Identifier: Apache-2.0
// Fuzzes owners and attributes on their way into an image: the list's text, and, behind its first NUL, an image into which they go. What is read of
// the list is within its bounds; no image, however broken, makes anything outside it be touched.
#include "image/erofs_attributes.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *nul = memchr(data, 0, size);
	size_t text = nul ? (size_t)(nul - data) : size, rest = nul ? size - text - 1 : 0, moves = 0;
	struct image m = {.move_room = 16, .end = rest};
	struct attributes_list l;
	struct fault f;

	if (attributes_parse(&l, (const char *)data, text, &f))
		return 0;
	for (size_t i = 0; i < l.count; i++)
		if (l.rows[i].path[0] != '/' || strstr(l.rows[i].path, "/../") || l.rows[i].a.mode > 07777 || l.rows[i].a.uid == UINT32_MAX ||
		    (i && strcmp(l.rows[i - 1].path, l.rows[i].path) >= 0))
			abort();
	m.list = &l;
	m.size = rest + room_for(&l, &moves);
	while (m.move_room < 2 * moves + 2)
		m.move_room *= 2;
	if (rest >= BLOCK) {
		m.moves = xmalloc(m.move_room * sizeof(*m.moves));
		memset(m.moves, 0, m.move_room * sizeof(*m.moves));
		m.map = xmalloc(m.size);
		memset(m.map, 0, m.size);
		memcpy(m.map, nul + 1, rest);
		set_all(&m);
		free(m.map);
		free(m.moves);
	}
	attributes_list_free(&l);
	return 0;
}
