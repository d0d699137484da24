#pragma once

/* What rates.h is told to keep to: kinds of requests, and how many of each an account may make. */

#include <stdint.h>

enum rate_kind {
    RATE_SYMMETRIC, /* by symmetric and HMAC keys, GenerateRandom; together */
    RATE_RSA,       /* by RSA keys; together */
    RATE_ECC,       /* by keys on curves; together */
    RATE_PAIRS,     /* GenerateDataKeyPair with and without plaintext; each spec */
    RATE_DESCRIBE,  /* each of those that follow */
    RATE_STATUS,
    RATE_LIST,
    RATE_LIST_GRANTS,
    RATE_CREATE_GRANT,
    RATE_END_GRANT,
    RATE_MANAGE,
    RATE_TAG,
    RATE_CHANGE,
    RATE_KINDS
};

/* Requests in a second; 0: any number. */
struct rate_limits {
    int64_t per_second[RATE_KINDS];
};
