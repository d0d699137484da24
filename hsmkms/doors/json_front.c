#include "hsmkms/doors/json_front.h"

#include "hsmkms/base/json_memory.h"
#include "hsmkms/base/json_text.h"

/*
 * Whether no bracket opens below JSON_FRONT_DEPTH. Exact for every prefix that is still JSON, so a
 * parser that stops at the first error goes no deeper either.
 */
static bool is_shallow(struct span body)
{
    size_t depth = 0;
    bool in_string = false;

    for (size_t i = 0; i < body.len; i++) {
        const uint8_t c = body.ptr[i];
        if (in_string && c == '\\')
            i++; /* what follows ends no string */
        else if (c == '"')
            in_string = !in_string;
        else if (!in_string && (c == '{' || c == '[') && ++depth > JSON_FRONT_DEPTH)
            return false;
        else if (!in_string && (c == '}' || c == ']') && depth > 0)
            depth--;
    }
    return true;
}

int json_front(struct span body, json_t **ret, struct kms_error *err)
{
    json_error_t unused; /* its text quotes the body */

    if (!is_shallow(body))
        return kms_fail(err, KMS_ERR_SERIALIZATION, "The request body is nested too deeply.");

    json_auto_t *tree =
        body.len ? json_loadb((const char *)body.ptr, body.len, JSON_REJECT_DUPLICATES, &unused)
                 : json_object();
    if (!json_is_object(tree))
        return kms_fail(err, KMS_ERR_SERIALIZATION, "The request body is not a JSON object.");
    *ret = json_incref(tree);
    return 0;
}

int json_text(const json_t *tree, char **ret, size_t *ret_len, struct kms_error *err)
{
    const size_t len = json_text_len(tree);
    char *const text = wiping_malloc(len);

    if (text == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for an answer");
    json_text_write(tree, text);
    *ret = text;
    *ret_len = len;
    return 0;
}
