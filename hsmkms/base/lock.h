#pragma once

/* Locks as this project wants them. */

#include <pthread.h>

#include "hsmkms/base/attrs.h"

/*
 * A reader-writer lock at which writers do not wait for readers without end: requests look things
 * up all the time, and a change must get its turn between them. A reader must not take it again
 * while it holds it. False: no memory.
 */
CHECKED static inline bool lock_init_fair(pthread_rwlock_t *lock)
{
    pthread_rwlockattr_t writers_first;

    if (pthread_rwlockattr_init(&writers_first) != 0)
        return false;
    (void)pthread_rwlockattr_setkind_np(&writers_first,
                                        PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    const bool made = pthread_rwlock_init(lock, &writers_first) == 0;
    (void)pthread_rwlockattr_destroy(&writers_first);
    return made;
}
