#pragma once

/*
 * What an operator may ask of a running daemon: one row per command, from a line of JSON to an
 * answer. Every change is audited before it begins and after it ended. Knows no sockets; whoever
 * calls has made sure who asks.
 *
 * A request is {"Command": name, <fields>} as table.h has them. An answer is
 * {"Result": {...}} or {"Error": {"Code": name of errors.def, "Message": text}}.
 */

#include <sys/types.h>

#include <jansson.h>

#include "hsmkms/audit/audit.h"
#include "hsmkms/http/server.h"
#include "hsmkms/api/api.h"
#include "hsmkms/iam/access_key.h"

/* What commands work with; lives as long as whoever runs them. */
struct admin_services {
    struct iam *iam;
    struct api *api;
    struct keyring *keyring;
    struct audit *audit;
    struct token *token;
    struct store *store;
    struct http_server *http; /* NULL: status says nothing of it */
    const struct clock *clock;
    const char *account, *region;
    int64_t started_us; /* clock_mono_us() at the start of the daemon */
};

/* What came of a line. */
struct admin_outcome {
    json_t *answer;      /* owned by the caller; may carry a secret; NULL: out of memory */
    const char *command; /* constant; "-" when none was recognised */
    enum kms_err code;   /* NONE: done */
};

/*
 * Runs one line (without its newline) in the calling thread: token, disk and audit are waited for.
 *
 * uid      of the peer, for the audit trail
 * Threads: any
 */
struct admin_outcome admin_run(const struct admin_services *services, uid_t uid, struct span line);

/* The answer for an error, or NULL when out of memory. */
json_t *admin_error_answer(const struct kms_error *err);
