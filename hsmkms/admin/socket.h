#pragma once

/*
 * The administration socket: a Unix stream socket, mode 0600, for root and the daemon's own user.
 * A client sends one JSON object on a line and reads one line back; then the connection is closed.
 * One thread of its own serves everybody, so a command waits for the one before, but never for a
 * slow client.
 */

#include "hsmkms/base/log.h"
#include "hsmkms/admin/commands.h"

#define ADMIN_LINE_MAX    ((size_t)10 << 20) /* bytes, without the newline: an import */
#define ADMIN_CONNECTIONS 8     /* served at a time; more wait to be accepted */
#define ADMIN_DEADLINE_MS 5000  /* for a whole line to arrive, and for the answer to be taken */

struct admin_config {
    const char *path; /* at most 107 characters; a socket that nobody listens on is replaced */
    struct admin_services services;
    const struct log *log;
};

struct admin;

/* Errors: CONFIG (path; somebody listens there already); INTERNAL. */
CHECKED int admin_start(const struct admin_config *config, struct admin **ret,
                        struct kms_error *err);

/* Ends the command that is running, drops everybody, removes the socket. Accepts NULL. */
void admin_stop(struct admin *admin);
