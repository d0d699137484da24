#pragma once

/*
 * AWS Signature Version 4, verified: a pure function over a parsed request. The only thing it asks
 * of the outside is the signing key of a scope. Checks run in the order in which AWS's own servers
 * run them, because the order decides which error a client sees.
 *
 * Source: AWS General Reference, Signing AWS API requests; AWS IAM User Guide, Create a signed
 * AWS API request.
 */

#include "hsmkms/crypto/digest.h"
#include "hsmkms/http/server.h"
#include "hsmkms/iam/iam.h"

struct sigv4_policy {
    const char *service; /* "kms" */
    const char *regions; /* blank-separated names that a scope may carry */
    int64_t skew_s;
    bool target_must_be_signed; /* x-amz-target */
    bool token_must_be_signed;  /* x-amz-security-token, when present */
    bool normalize_path;        /* every service but S3 */

    /* iam_signing_key, or a test's */
    int (*signing_key)(void *ctx, const struct credential_claim *claim, struct secret *ret_key,
                       struct principal *ret_principal, struct kms_error *err);
    void *ctx;
};

/*
 * Who signed this request, and for which region. A signature in the query string is not accepted.
 *
 * now_ms   one reading of the clock for the whole request
 * ret      owned by the caller: principal_done()
 * Errors:  MISSING_TOKEN, INCOMPLETE_SIGNATURE, INVALID_SIGNATURE, UNRECOGNIZED_CLIENT,
 *          EXPIRED_TOKEN with AWS's texts; VALIDATION without a text (target malformed)
 */
CHECKED int sigv4_verify(const struct sigv4_policy *policy, const struct http_request *request,
                         int64_t now_ms, struct principal *ret, struct kms_error *err);

/* The canonical request that was hashed, for vector tests and the debug log. */
CHECKED int sigv4_canonical_request(const struct sigv4_policy *policy,
                                    const struct http_request *request, struct buf *ret,
                                    struct kms_error *err);
