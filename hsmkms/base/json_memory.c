#include "hsmkms/base/json_memory.h"

#include <stdlib.h>

#include "hsmkms/base/secret.h"

/* In front of every block; as long as the strictest alignment. */
union header {
    size_t size; /* of the block behind */
    max_align_t align;
};

void *wiping_malloc(size_t size)
{
    size_t whole;
    union header *const header =
        size_add(size, sizeof(union header), &whole) ? malloc(whole) : NULL;

    if (header == NULL)
        return NULL;
    header->size = size;
    return header + 1;
}

void wiping_free(void *ptr)
{
    if (ptr == NULL)
        return;
    union header *const header = (union header *)ptr - 1;
    secret_wipe(ptr, header->size);
    free(header);
}
