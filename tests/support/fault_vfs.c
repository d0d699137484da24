#include "tests/support/fault_vfs.h"

#include <sqlite3.h>

struct fault_file {
    sqlite3_file base;
    sqlite3_file real[]; /* as large as the system's */
};

static struct fault fault;
static sqlite3_vfs vfs;
static sqlite3_vfs *system_vfs;

struct fault *fault_vfs_fault(void)
{
    return &fault;
}

static bool fails_now(void)
{
    fault.calls++;
    return fault.at != 0 && (fault.calls == fault.at || (fault.for_ever && fault.calls > fault.at));
}

static sqlite3_file *real_of(sqlite3_file *file)
{
    return ((struct fault_file *)(void *)file)->real;
}

/* What fails, if its turn has come, before or after it is done. */
#define FAULTY(call)                                                                               \
    do {                                                                                           \
        const bool fails = fails_now();                                                            \
        if (fails && !fault.after_work)                                                            \
            return fault.result;                                                                   \
        const int done = (call);                                                                   \
        return fails ? fault.result : done;                                                        \
    } while (0)

#define REAL(file, method) real_of(file)->pMethods->method

static int file_write(sqlite3_file *file, const void *bytes, int len, sqlite3_int64 at)
{
    FAULTY(REAL(file, xWrite)(real_of(file), bytes, len, at));
}

static int file_sync(sqlite3_file *file, int flags)
{
    FAULTY(REAL(file, xSync)(real_of(file), flags));
}

static int file_truncate(sqlite3_file *file, sqlite3_int64 size)
{
    FAULTY(REAL(file, xTruncate)(real_of(file), size));
}

static int file_close(sqlite3_file *file)
{
    return REAL(file, xClose)(real_of(file));
}

static int file_read(sqlite3_file *file, void *bytes, int len, sqlite3_int64 at)
{
    return REAL(file, xRead)(real_of(file), bytes, len, at);
}

static int file_size(sqlite3_file *file, sqlite3_int64 *ret)
{
    return REAL(file, xFileSize)(real_of(file), ret);
}

static int file_lock(sqlite3_file *file, int level)
{
    return REAL(file, xLock)(real_of(file), level);
}

static int file_unlock(sqlite3_file *file, int level)
{
    return REAL(file, xUnlock)(real_of(file), level);
}

static int file_reserved(sqlite3_file *file, int *ret)
{
    return REAL(file, xCheckReservedLock)(real_of(file), ret);
}

static int file_control(sqlite3_file *file, int what, void *arg)
{
    return REAL(file, xFileControl)(real_of(file), what, arg);
}

static int file_sector(sqlite3_file *file)
{
    return REAL(file, xSectorSize)(real_of(file));
}

static int file_traits(sqlite3_file *file)
{
    return REAL(file, xDeviceCharacteristics)(real_of(file));
}

static int file_shm_map(sqlite3_file *file, int page, int size, int extend, void volatile **ret)
{
    return REAL(file, xShmMap)(real_of(file), page, size, extend, ret);
}

static int file_shm_lock(sqlite3_file *file, int at, int count, int flags)
{
    return REAL(file, xShmLock)(real_of(file), at, count, flags);
}

static void file_shm_barrier(sqlite3_file *file)
{
    REAL(file, xShmBarrier)(real_of(file));
}

static int file_shm_unmap(sqlite3_file *file, int remove)
{
    return REAL(file, xShmUnmap)(real_of(file), remove);
}

static const sqlite3_io_methods methods = {
    .iVersion = 2, /* shared memory for the WAL, no memory-mapped reading */
    .xClose = file_close,
    .xRead = file_read,
    .xWrite = file_write,
    .xTruncate = file_truncate,
    .xSync = file_sync,
    .xFileSize = file_size,
    .xLock = file_lock,
    .xUnlock = file_unlock,
    .xCheckReservedLock = file_reserved,
    .xFileControl = file_control,
    .xSectorSize = file_sector,
    .xDeviceCharacteristics = file_traits,
    .xShmMap = file_shm_map,
    .xShmLock = file_shm_lock,
    .xShmBarrier = file_shm_barrier,
    .xShmUnmap = file_shm_unmap,
};

static int vfs_open(sqlite3_vfs *self, const char *name, sqlite3_file *file, int flags,
                    int *ret_flags)
{
    (void)self;
    const int result = system_vfs->xOpen(system_vfs, name, real_of(file), flags, ret_flags);
    file->pMethods = real_of(file)->pMethods ? &methods : NULL;
    return result;
}

bool fault_vfs_install(void)
{
    if (system_vfs)
        return true;
    system_vfs = sqlite3_vfs_find(NULL);
    if (system_vfs == NULL)
        return false;
    vfs = *system_vfs; /* the other methods do not look at their vfs but for its pAppData */
    vfs.zName = "fault";
    vfs.szOsFile = (int)sizeof(struct fault_file) + system_vfs->szOsFile;
    vfs.pNext = NULL;
    vfs.xOpen = vfs_open;
    return sqlite3_vfs_register(&vfs, 1) == SQLITE_OK;
}
