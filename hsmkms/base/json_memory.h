#pragma once

/*
 * Memory for JSON trees and texts, which may hold plaintexts: malloc and free that wipe. The size
 * of a block is kept in front of it, so that free knows how much. For json_set_alloc_funcs();
 * knows nothing of JSON itself.
 *
 * Threads: any.
 */

#include "hsmkms/base/attrs.h"

/* size bytes, aligned for any type, or NULL. Released by wiping_free alone. */
void *wiping_malloc(size_t size);

/* Wipes and frees. Accepts NULL. */
void wiping_free(void *ptr);
