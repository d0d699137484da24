#include "hsmkms/api/usage.h"

int usage_check(const struct op_call *c, const struct key *key, const char *arn,
                enum spec_usage usage, struct kms_error *err)
{
    const enum spec_usage has = key ? key->usage : USAGE_ENCRYPT_DECRYPT;

    if (has == usage)
        return 0;
    return kms_fail(err, KMS_ERR_INVALID_KEY_USAGE,
                    "%s key usage is %s which is not valid for %s.", arn, spec_usage_text(has),
                    c->op->name);
}

int usage_algorithm(const struct key *key, enum spec_usage usage, const char *name,
                    const struct algorithm **ret, struct kms_error *err)
{
    const struct keyspec *const spec = key ? key->spec : &keyspecs[0];
    const struct algorithm *const algorithm = keyspec_algorithm(spec, usage, name);

    if (algorithm == NULL)
        return kms_fail(err, KMS_ERR_INVALID_KEY_USAGE,
                        "Algorithm %s is incompatible with key spec %s.", name, spec->name);
    if (algorithm->unoffered)
        return kms_fail(err, KMS_ERR_UNSUPPORTED, "Algorithm %s is not supported by this service.",
                        name);
    *ret = algorithm;
    return 0;
}
