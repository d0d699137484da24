/* walk_segment(), chain_check(), lines_next(): the bytes of one audit segment. */

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hsmkms/audit/walk.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool held)
{
    if (!held)
        abort();
}

/* What an accepted segment promises. */
static void check_promises(const struct walk *walk, const struct walked *walked, size_t size)
{
    require(walk->chain.seq == walked->lines);
    require((size_t)walked->size <= size);
    require((walked->end == WALK_EMPTY) == (size == 0));
    require(walked->end == WALK_TORN || (size_t)walked->size == size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct walk walk = { 0 };
    struct walked walked = { 0 };
    struct kms_error err = { 0 };
    const int fd = memfd_create("segment", MFD_CLOEXEC);

    require(fd >= 0 && (size == 0 || write(fd, data, size) == (ssize_t)size));
    if (walk_segment(&walk, fd, 1, 0, &walked, &err) == 0)
        check_promises(&walk, &walked, size);
    else
        require(err.code == KMS_ERR_INTEGRITY);
    (void)close(fd);
    return 0;
}
