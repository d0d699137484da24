#pragma once

/*
 * May this principal do this? Today every principal of the key's account administers it, and keys
 * managed by the service can be used and read but not changed. Policies and grants will be decided
 * here.
 */

#include "hsmkms/iam/principal.h"

struct authorization {
    const struct principal *principal;
    const char *action;      /* "Decrypt", without "kms:" */
    const char *resource;    /* ARN the decision is about, or "*" */
    const char *account;     /* account that owns the resource */
    bool managed_by_service; /* the resource is a key behind alias/aws/ */
    bool changes_key;        /* the action changes the key rather than use or read it */
};

/* Errors: ACCESS_DENIED with AWS's text. */
CHECKED int authorize(const struct authorization *request, struct kms_error *err);
