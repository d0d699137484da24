#include "hsmkms/iam/arena.h"

#include <stdlib.h>

#define BLOCK_BYTES 4000 /* with malloc's own header just below a page */

struct arena_block {
    struct arena_block *next;
    size_t used, size;
    max_align_t bytes[];
};

static struct arena_block *add_block(struct arena *arena, size_t least)
{
    const size_t size = least > BLOCK_BYTES ? least : BLOCK_BYTES;
    size_t total;

    if (arena->failed || !size_add(sizeof(struct arena_block), size, &total))
        return NULL;

    struct arena_block *const block = calloc(1, total);
    if (block == NULL)
        return NULL;
    block->size = size;
    block->next = arena->blocks;
    arena->blocks = block;
    return block;
}

void *arena_room(struct arena *arena, size_t size)
{
    const size_t align = _Alignof(max_align_t);
    struct arena_block *block = arena->blocks;
    size_t rounded;

    if (!size_add(size ? size : 1, align - 1, &rounded)) {
        arena->failed = true;
        return NULL;
    }
    rounded -= rounded % align;
    if (block == NULL || block->size - block->used < rounded)
        block = add_block(arena, rounded);
    if (block == NULL || arena->failed) {
        arena->failed = true;
        return NULL;
    }

    void *const room = (char *)block->bytes + block->used;
    block->used += rounded;
    return room;
}

void *arena_array(struct arena *arena, size_t count, size_t size)
{
    size_t total;

    if (__builtin_mul_overflow(count, size, &total)) {
        arena->failed = true;
        return NULL;
    }
    return arena_room(arena, total);
}

struct span arena_copy(struct arena *arena, struct span text)
{
    uint8_t *const room = arena_array(arena, text.len + 1, 1);

    if (room == NULL)
        return span_of(NULL, 0);
    if (text.len)
        memcpy(room, text.ptr, text.len);
    return span_of(room, text.len);
}

void arena_done(struct arena *arena)
{
    while (arena->blocks) {
        struct arena_block *const block = arena->blocks;
        arena->blocks = block->next;
        free(block);
    }
    arena->failed = false;
}
