#include "hsmkms/base/error.h"

#include <assert.h>
#include <stdio.h>

static const struct {
    const char *name;
    int status;
} rows[KMS_ERR_COUNT] = {
#define ERR(code, name, status) [KMS_ERR_##code] = { name, status },
#include "hsmkms/base/errors.def"
#undef ERR
};

const char *kms_err_name(enum kms_err code)
{
    assert(code < KMS_ERR_COUNT);
    return rows[code].name;
}

int kms_err_status(enum kms_err code)
{
    assert(code < KMS_ERR_COUNT);
    return rows[code].status;
}

/* What failed has a code: an answer that no table explains must not pass for a success. */
static void begin(struct kms_error *err, enum kms_err code, const char *where)
{
    assert(err->code == KMS_ERR_NONE);
    err->code = code == KMS_ERR_NONE ? KMS_ERR_INTERNAL : code;
    err->where = where;
}

int kms_fail_at(struct kms_error *err, enum kms_err code, const char *where, const char *format,
                ...)
{
    va_list args;

    begin(err, code, where);
    va_start(args, format);
    (void)vsnprintf(err->message, sizeof(err->message), format,
                    args); /* cut texts are still texts */
    va_end(args);
    return -1;
}

int kms_fail_detail_at(struct kms_error *err, enum kms_err code, const char *where,
                       const char *format, ...)
{
    va_list args;

    begin(err, code, where);
    va_start(args, format);
    (void)vsnprintf(err->detail, sizeof(err->detail), format, args);
    va_end(args);
    return -1;
}
