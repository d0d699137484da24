#pragma once

/* The client's end of the administration socket: one request, one result. Links no daemon code. */

#include <jansson.h>

#include "hsmkms/base/error.h"

#define ADMIN_ANSWER_MAX ((size_t)16 << 20) /* bytes; more than any answer has */
#define ADMIN_WAIT_S     60                 /* longest wait for a part of the answer */

/*
 * Asks the daemon.
 *
 * path     of the socket
 * request  {"Command": name, ...}
 * ret      the result object; a new reference
 * Errors:  CONFIG (nobody listens there, no right to connect); INTERNAL (an answer that is none);
 *          any that the daemon answered, with its message
 */
CHECKED int admin_client_call(const char *path, const json_t *request, json_t **ret,
                              struct kms_error *err);
