#pragma once

/* Who a request acts for: plain data, filled by a door's authentication. */

#include "hsmkms/base/uuid.h"

enum principal_kind { PRINCIPAL_ROOT, PRINCIPAL_USER, PRINCIPAL_SERVICE };

struct principal {
    enum principal_kind kind;
    char account[13];
    char arn[256];       /* arn:aws:iam::ACCOUNT:root or :user/NAME */
    char id[64];         /* principalId of audit records */
    char user_name[65];  /* users only, else "" */
    char access_key_id[129];
};
