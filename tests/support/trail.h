#pragma once

/* An audit trail in a temp folder of its own, for tests. */

#include <stdatomic.h>

#include "hsmkms/audit/audit.h"
#include "hsmkms/base/buf.h"

struct trail {
    char dir[128];
    struct audit *audit; /* NULL: closed */
    struct audit_tail tail;
    struct audit_config config;
};

/* Makes the folder; opens nothing. segment_bytes decides how soon segments roll. */
void trail_init(struct trail *trail, int64_t segment_bytes);

/* Opens and closes the trail; opening must succeed. */
void trail_open(struct trail *trail);
void trail_close(struct trail *trail);

/* Closes, removes the folder and everything in it. */
void trail_done(struct trail *trail);

/* The text of a small record that carries number. */
struct buf trail_record(unsigned number);

/* Writes count records, which must succeed. */
void trail_write(struct trail *trail, unsigned count);

/* Path of a segment. */
struct trail_path {
    char text[192];
};
struct trail_path trail_segment(const struct trail *trail, uint64_t first);

/* Whole content of a file, and the other way round. */
struct buf trail_read_file(const char *path);
void trail_write_file(const char *path, struct span bytes);

/* The verifier's opinion; 0 or -1 with the error. */
int trail_verify(const struct trail *trail, struct audit_tail *ret, struct kms_error *err);

/* The verifier finds the trail good, with this last number. */
void trail_check(const struct trail *trail, uint64_t seq);

struct audit_status trail_status(const struct trail *trail);

/* Waits, up to half a minute, for the trail to recover by itself. */
bool trail_becomes_healthy(const struct trail *trail);

void trail_pause_ms(long ms);

/* An audit_done_fn that counts; arg is a struct trail_counts. */
struct trail_counts {
    atomic_uint durable, lost;
};
void trail_count_durable(void *arg, bool durable);
