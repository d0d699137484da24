#pragma once

/* Small files that must survive a power cut: read whole, replaced whole. */

#include <sys/types.h>

#include "hsmkms/base/error.h"
#include "hsmkms/base/span.h"

/* Reads a whole file. -1 and errno when it cannot be read or is larger than size. */
ssize_t file_read(const char *path, uint8_t *room, size_t size);

/* The same of an open file, which stays open. */
ssize_t file_read_open(int fd, uint8_t *room, size_t size);

/*
 * Writes a temporary file in dir, syncs it, renames it to name, syncs dir. Mode 0600.
 * Errors: CONFIG (the directory cannot be written to).
 */
CHECKED int file_replace(const char *dir, const char *name, struct span bytes,
                         struct kms_error *err);

/* Removes a file, if it is there, and syncs dir. Errors: CONFIG. */
CHECKED int file_remove(const char *dir, const char *name, struct kms_error *err);

/* Syncs one file or directory. -1 and errno. */
CHECKED int file_sync(int dir, const char *name);
