#pragma once

/*
 * Memory that is given out in pieces and freed as a whole. Pieces are zero and stay where they
 * are. The zero state is an empty arena.
 *
 * Threads: one at a time.
 */

#include "hsmkms/base/span.h"

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first */
    bool failed;                /* some piece could not be given; stays */
};

/* size bytes, aligned for any type; NULL when there is no memory, and from then on. */
void *arena_room(struct arena *arena, size_t size);

/* count elements of a size; at least one byte, so NULL always means no memory. */
void *arena_array(struct arena *arena, size_t count, size_t size);

/* A copy with a NUL behind it; ptr is NULL when there is no memory. */
struct span arena_copy(struct arena *arena, struct span text);

void arena_done(struct arena *arena);
