#pragma once

/* Who a request acts for: plain data, filled by a door's authentication. */

#include "hsmkms/base/uuid.h"

enum principal_kind { PRINCIPAL_ROOT, PRINCIPAL_USER, PRINCIPAL_SERVICE };

struct principal {
    enum principal_kind kind;
    char account[13];
    char arn[256];      /* arn:aws:iam::ACCOUNT:root or :user/NAME */
    char id[64];        /* principalId of audit records */
    char user_name[65]; /* users only, else "" */
    char access_key_id[129];
};

#define UNIQUE_ID_LEN  20 /* four letters that tell the kind, then 16 of A-Z2-7 */
#define UNIQUE_ID_BITS 10 /* bytes that the 16 stand for */

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
