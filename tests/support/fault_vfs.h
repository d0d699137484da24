#pragma once

/*
 * A file system for SQLite whose nth write, sync or truncation fails: the system's own, with a
 * count in front. One per process, used by every connection opened after it was installed.
 */

#include "hsmkms/base/attrs.h"

struct fault {
    int at;          /* the how manyth call fails, from 1; 0: none */
    bool for_ever;   /* and all after it */
    int result;      /* SQLite result code of the failed call */
    bool after_work; /* the call does its work first, then reports failure */
    int calls;       /* counted so far */
};

/* Makes it the default. False when SQLite refuses. */
CHECKED bool fault_vfs_install(void);

/* The fault in force; set it to zero to stop failing. */
struct fault *fault_vfs_fault(void);
