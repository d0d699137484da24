#pragma once

/* The administration socket in front of a real token, database and audit trail, and clients. */

#include "hsmkms/admin/client.h"
#include "hsmkms/admin/socket.h"
#include "tests/support/iam_rig.h"

struct admin_rig {
    struct iam_rig iam;
    struct audit *trail;
    struct keyring keyring; /* a catalog and nothing else */
    struct admin *admin;
    char socket[300], audit_dir[300]; /* paths */
};

/* Token and trail: once, before any thread exists. Fails the test when it cannot. */
int admin_rig_up(void **state);
int admin_rig_down(void **state);

/* A new database and the socket in front of it. */
int admin_rig_begin(void **state);
int admin_rig_end(void **state);

/* What admin_start takes for a socket at another path. */
struct admin_config admin_rig_config(struct admin_rig *rig, const char *path);

/* One command through the real client; field and value may be NULL. */
CHECKED int admin_rig_call(const struct admin_rig *rig, const char *command, const char *field,
                           const char *value, json_t **ret, struct kms_error *err);

/* A text member that must be there. */
const char *text_of(const json_t *object, const char *name);

/* A client that does as it likes. admin_connect: -1 and errno; admin_receive: everything up to the
 * end, with a NUL behind. */
int admin_connect(const char *path);
void admin_send(int fd, struct span bytes);
void admin_receive(int fd, struct buf *ret);
