#include "hsmkms/iam/authorize.h"

/* AWS's words when whoever asks may not even learn whether the resource exists. */
static int deny_other_account(const struct authorization *request, struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_ACCESS_DENIED,
                    "User: %s is not authorized to perform: kms:%s on this resource because the "
                    "resource does not exist in this Region, no resource-based policies allow "
                    "access, or a resource-based policy explicitly denies access",
                    request->principal->arn, request->action);
}

static int deny_not_allowed(const struct authorization *request, struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_ACCESS_DENIED,
                    "User: %s is not authorized to perform: kms:%s on resource: %s because no "
                    "resource-based policy allows the kms:%s action",
                    request->principal->arn, request->action, request->resource, request->action);
}

int authorize(const struct authorization *request, struct kms_error *err)
{
    if (strcmp(request->principal->account, request->account) != 0)
        return deny_other_account(request, err);
    if (request->managed_by_service && request->changes_key)
        return deny_not_allowed(request, err);
    return 0;
}
