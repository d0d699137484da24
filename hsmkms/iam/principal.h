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
    char region[64]; /* that the request was signed for; "" where nothing is signed */
    struct identity *identity; /* the user or role as it was when the request came; NULL: root */
    struct session *session;   /* temporary credentials; NULL: long-term ones */
};

/* Gives the references back and zeroes it. */
void principal_done(struct principal *principal);

/* "AKIA", "AIDA" and the like with 80 bits behind. Source: AWS IAM User Guide, IAM identifiers. */
void unique_id_format(char ret[UNIQUE_ID_LEN + 1], const char *prefix,
                      const uint8_t bits[UNIQUE_ID_BITS]);

/* True for 20 letters that begin with the prefix and go on as unique_id_format() writes them. */
CHECKED bool unique_id_valid(struct span text, const char *prefix);

/* 1..64 of [A-Za-z0-9+=,.@_-]. Source: AWS IAM User Guide, IAM and AWS STS quotas. */
CHECKED bool identity_name_valid(const char *name);

/* The root of an account. access_key_id: at most 128 characters. */
void principal_of_root(const char *account, const char *access_key_id, struct principal *ret);

/* A user, long-term or by temporary credentials; takes over both references (session: or NULL). */
void principal_of_user(struct identity *user, struct session *session, const char *access_key_id,
                       struct principal *ret);

/* A session of a role; takes over both references. */
void principal_of_session(struct identity *role, struct session *session, const char *session_name,
                          const char *access_key_id, struct principal *ret);
