#pragma once

/* Who a request acts for: filled by a door's authentication, read by everybody above. */

#include "hsmkms/base/span.h"
#include "hsmkms/base/uuid.h"

enum principal_kind {
    PRINCIPAL_ROOT,
    PRINCIPAL_USER,
    PRINCIPAL_ROLE_SESSION,
    PRINCIPAL_SERVICE, /* the service itself */
};

#define UNIQUE_ID_LEN     20  /* four letters that tell the kind, then 16 of A-Z2-7 */
#define UNIQUE_ID_BITS    10  /* bytes that the 16 stand for */
#define IDENTITY_NAME_MAX 64  /* letters of a user's, role's or session's name */
#define IDENTITY_PATH_MAX 512 /* with both slashes */
#define IDENTITY_ARN_MAX  704 /* with the NUL */

struct identity;
struct session;

/* May be moved but not copied: it holds references. principal_done(). */
struct principal {
    enum principal_kind kind;
    char account[13];
    char arn[IDENTITY_ARN_MAX];           /* user, account root, or session */
    char principal_arn[IDENTITY_ARN_MAX]; /* aws:PrincipalArn: the role of a session, else arn */
    char id[128];                         /* aws:userid: AIDA…, AROA…:SESSION, account of root */
    char unique_id[UNIQUE_ID_LEN + 1];    /* AIDA… or AROA…; "" for root */
    char user_name[IDENTITY_NAME_MAX + 1];    /* users only, else "" */
    char session_name[IDENTITY_NAME_MAX + 1]; /* role sessions only, else "" */
    char access_key_id[129];
    struct identity *identity; /* the user or role as it was when the request came; NULL: root */
    struct session *session;   /* temporary credentials; NULL: long-term ones */
};

/* "AKIA", "AIDA" and the like with 80 bits behind. Source: AWS IAM User Guide, IAM identifiers. */
void unique_id_format(char ret[UNIQUE_ID_LEN + 1], const char *prefix,
                      const uint8_t bits[UNIQUE_ID_BITS]);

/* 1..64 of [A-Za-z0-9+=,.@_-]. Source: AWS IAM User Guide, IAM and AWS STS quotas. */
CHECKED bool principal_user_name_valid(const char *user_name);

/*
 * The principal that an access key stands for.
 *
 * account        12 digits
 * user_name      valid, or "" for the account root
 * access_key_id  at most 128 characters
 * ret            id is the same for the same account and user, for ever
 * Errors:        INTERNAL
 */
CHECKED int principal_of_user(const char *account, const char *user_name, const char *access_key_id,
                              struct principal *ret, struct kms_error *err);
