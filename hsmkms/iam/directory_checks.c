/* What a name, path, tag or document may be. Source: AWS IAM API Reference. */

#include "hsmkms/iam/directory_parts.h"

#define TAG_KEY_MAX   128 /* characters */
#define TAG_VALUE_MAX 256

#define NAME_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"

int check_path(const char *path, struct kms_error *err)
{
    const size_t len = strnlen(path, IDENTITY_PATH_MAX + 1);
    bool good = len >= 1 && len <= IDENTITY_PATH_MAX && path[0] == '/' && path[len - 1] == '/';

    for (size_t i = 0; good && i < len; i++)
        good = path[i] >= 0x21 && path[i] <= 0x7e;
    if (!good)
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "The specified value for path is invalid. It must begin and end with / and "
                        "contain only printable ASCII characters; at most %d.",
                        IDENTITY_PATH_MAX);
    return 0;
}

int check_policy_name(const char *name, struct kms_error *err)
{
    const size_t len = strnlen(name, POLICY_NAME_MAX + 1);

    if (len < 1 || len > POLICY_NAME_MAX || strspn(name, NAME_LETTERS "+=,.@_-") != len)
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "The specified value for policyName is invalid. It must contain 1 to %d "
                        "alphanumeric characters and/or the following: +=,.@_-",
                        POLICY_NAME_MAX);
    return 0;
}

int check_policy_text(const char *text, struct kms_error *err)
{
    if (strnlen(text, POLICY_TEXT_MAX + 1) > POLICY_TEXT_MAX)
        return kms_fail(err, KMS_ERR_LIMIT_EXCEEDED,
                        "Policy documents must not be larger than %d bytes.", POLICY_TEXT_MAX);
    return 0;
}

/* Letters, digits and white space of any script, and some signs: what is beyond ASCII is taken. */
static bool tag_letters(const char *text)
{
    for (; *text; text++)
        if ((uint8_t)*text < 0x80 && strchr(NAME_LETTERS " _.:/=+-@", *text) == NULL)
            return false;
    return true;
}

static bool is_utf8(const char *text)
{
    for (const uint8_t *at = (const uint8_t *)text; *at;) {
        const size_t more = *at < 0x80 ? 0 : *at >= 0xf0 ? 3 : *at >= 0xe0 ? 2 : 1;
        if (*at > 0xf4 || (*at >= 0x80 && *at < 0xc2))
            return false;
        at++;
        for (size_t i = 0; i < more; i++, at++)
            if ((*at & 0xc0) != 0x80)
                return false;
    }
    return true;
}

static size_t characters(const char *text)
{
    size_t count = 0;

    for (; *text; text++)
        count += ((uint8_t)*text & 0xc0) != 0x80;
    return count;
}

int check_tag(const char *key, const char *value, struct kms_error *err)
{
    const size_t key_len = characters(key);

    if (key_len < 1 || key_len > TAG_KEY_MAX || !is_utf8(key) || !tag_letters(key))
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "The tag key is invalid. It must contain 1 to %d letters, digits, white "
                        "space and/or the following: _.:/=+-@",
                        TAG_KEY_MAX);
    if (strncasecmp(key, "aws:", 4) == 0)
        return kms_fail(err, KMS_ERR_VALIDATION, "Tag keys must not begin with aws:");
    if (characters(value) > TAG_VALUE_MAX || !is_utf8(value) || !tag_letters(value))
        return kms_fail(err, KMS_ERR_VALIDATION,
                        "The tag value is invalid. It must contain 0 to %d letters, digits, white "
                        "space and/or the following: _.:/=+-@",
                        TAG_VALUE_MAX);
    return 0;
}
