#pragma once

/*
 * One error, filled once where it happens and passed upwards untouched.
 *
 * A function that can fail returns 0 or -1 and takes the error last. The caller begins with
 * struct kms_error err = { 0 }. What is written for the caller of the service (message) is kept
 * apart from what is written for the operator (detail).
 */

#include <stdarg.h>

#include "hsmkms/base/attrs.h"

enum kms_err {
#define ERR(code, name, status) KMS_ERR_##code,
#include "hsmkms/base/errors.def"
#undef ERR
    KMS_ERR_COUNT
};

struct kms_error {
    enum kms_err code;
    char message[1536]; /* for the client: no key bytes, PINs, SQL or paths */
    char detail[256];   /* for the log: CK_RV name, SQL state, errno text */
    const char *where;  /* file:line of the failure */
};

/* The row of an error. */
const char *kms_err_name(enum kms_err code);
int kms_err_status(enum kms_err code);

/*
 * Fills a clear error and returns -1. message may be "" where the API sends none. A failure whose
 * code came out as NONE, from a table or a token that contradicts itself, is INTERNAL.
 */
#define kms_fail(err, code, ...) kms_fail_at(err, code, KMS_WHERE, __VA_ARGS__)

/* The same with words for the operator and a fixed, harmless text for the client. */
#define kms_fail_detail(err, code, ...) kms_fail_detail_at(err, code, KMS_WHERE, __VA_ARGS__)

/* Empties an error that was dealt with. */
static inline void kms_error_clear(struct kms_error *err)
{
    err->code = KMS_ERR_NONE;
    err->message[0] = err->detail[0] = '\0';
    err->where = NULL;
}

#define KMS_WHERE             __FILE__ ":" KMS_TEXT_OF(__LINE__)
#define KMS_TEXT_OF(line)     KMS_TEXT_OF_ARG(line)
#define KMS_TEXT_OF_ARG(line) #line

int kms_fail_at(struct kms_error *err, enum kms_err code, const char *where, const char *format,
                ...) PRINTF_LIKE(4, 5);
int kms_fail_detail_at(struct kms_error *err, enum kms_err code, const char *where,
                       const char *format, ...) PRINTF_LIKE(4, 5);
