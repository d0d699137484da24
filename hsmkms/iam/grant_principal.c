#include "hsmkms/iam/grant_principal.h"

#include <stdio.h>

#include "hsmkms/iam/arn.h"
#include "hsmkms/iam/grant.h"

static int no_principal(struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_INVALID_ARN, "ARN does not refer to a valid principal");
}

int grant_principal_text(const char *text, char *ret, struct kms_error *err)
{
    const struct span span = span_text(text);
    struct arn arn;

    if (span.len >= IDENTITY_ARN_MAX)
        return no_principal(err);
    if (account_id_valid(span))
        (void)snprintf(ret, IDENTITY_ARN_MAX, "arn:aws:iam::%s:root", text);
    else if (arn_split(span, &arn) || unique_id_valid(span, "AIDA") ||
             unique_id_valid(span, "AROA"))
        memcpy(ret, text, span.len + 1);
    else
        return no_principal(err);
    return 0;
}

static bool field_is(const struct arn *arn, enum arn_field field, const char *text)
{
    return span_equal(arn->fields[field], span_text(text));
}

static bool begins_with(struct span text, const char *prefix)
{
    const size_t len = strlen(prefix);

    return text.len > len && memcmp(text.ptr, prefix, len) == 0;
}

/* "user/..." or "role/..." of iam, "assumed-role/NAME/SESSION" of sts. */
static bool names_identity(const struct arn *arn)
{
    const struct span resource = arn->fields[ARN_RESOURCE];

    if (field_is(arn, ARN_SERVICE, "iam"))
        return begins_with(resource, "user/") || begins_with(resource, "role/");
    return begins_with(resource, "assumed-role/");
}

/* Users behind federation have no record here: any valid name of a known account will do. */
static bool names_federated_user(const struct arn *arn)
{
    const struct span resource = arn->fields[ARN_RESOURCE];
    const size_t prefix = strlen("federated-user/");

    return field_is(arn, ARN_SERVICE, "sts") && begins_with(resource, "federated-user/") &&
           identity_name_valid((const char *)resource.ptr + prefix); /* it ends the text */
}

int grant_principal_find(struct directory *directory, const char *text, struct grant_principal *ret,
                         struct kms_error *err)
{
    struct grant_principal found = { .unique_id = "" };
    struct arn arn;

    if (grant_principal_text(text, found.arn, err) < 0)
        return -1;
    if (!arn_split(span_text(found.arn), &arn) || !field_is(&arn, ARN_PARTITION, "aws") ||
        !field_is(&arn, ARN_REGION, "") ||
        !(field_is(&arn, ARN_SERVICE, "iam") || field_is(&arn, ARN_SERVICE, "sts")) ||
        directory_account(directory, arn.fields[ARN_ACCOUNT]) == ACCOUNT_UNKNOWN)
        return no_principal(err);
    if (names_identity(&arn)) {
        struct identity *const identity = directory_find_arn(directory, span_text(found.arn));
        if (identity == NULL)
            return no_principal(err);
        memcpy(found.unique_id, identity->unique_id, sizeof(found.unique_id));
        identity_unref(identity);
    } else if (!(field_is(&arn, ARN_SERVICE, "iam") && field_is(&arn, ARN_RESOURCE, "root")) &&
               !names_federated_user(&arn)) {
        return no_principal(err);
    }
    *ret = found;
    return 0;
}
