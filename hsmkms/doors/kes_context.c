#include "hsmkms/doors/kes_context.h"

#include <string.h>

#include "hsmkms/base/encode.h"
#include "hsmkms/base/json_text.h"
#include "hsmkms/crypto/digest.h"
#include "hsmkms/doors/json_front.h"
#include "hsmkms/keys/context.h"

/* What a context must be to be taken as pairs. */
static bool is_of_texts(json_t *object)
{
    const char *name;
    json_t *value;

    json_object_foreach(object, name, value)
    {
        if (name[0] == '\0' || !json_is_string(value) ||
            strncmp(name, KES_CONTEXT_PREFIX, strlen(KES_CONTEXT_PREFIX)) == 0)
            return false;
    }
    return json_object_size(object) <= CONTEXT_PAIRS_MAX;
}

/* Members in ascending order; jansson keeps them as they came. */
static bool is_sorted(json_t *object)
{
    const char *name, *before = "";
    json_t *unused;

    json_object_foreach(object, name, unused)
    {
        if (strcmp(before, name) >= 0)
            return false;
        before = name;
    }
    return true;
}

/* Whether these bytes are the one text that these pairs have. An empty object has none: it would
 * be the same as no context. */
static bool is_canonical(struct span context, json_t *pairs)
{
    AUTO(buf) text = { 0 };

    if (json_object_size(pairs) == 0 || !is_sorted(pairs))
        return false;
    json_text_append(&text, pairs);
    return !text.failed && span_equal(buf_span(&text), context);
}

static int add_digest(struct span context, json_t *pairs, struct kms_error *err)
{
    uint8_t hash[SHA256_LEN];
    char hex[2 * SHA256_LEN + 1];

    if (sha256_of(context, hash, err) < 0)
        return -1;
    hex_format(hex, SPAN_ARRAY(hash));
    if (json_object_set_new(pairs, KES_CONTEXT_DIGEST, json_string(hex)) < 0)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a context");
    return 0;
}

static int make_opaque(struct span context, json_t **ret, struct kms_error *err)
{
    AUTO(buf) text = { 0 };

    base64_append(&text, context);
    if (buf_check(&text, err) < 0)
        return -1;
    *ret = json_pack("{s:s%}", KES_CONTEXT_BYTES, (const char *)text.ptr, text.len);
    return *ret ? 0 : kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a context");
}

int kes_context_pairs(struct span context, json_t **ret, struct kms_error *err)
{
    struct kms_error unused = { 0 };
    json_auto_t *pairs = NULL;

    if (context.len > CONTEXT_BYTES_MAX)
        return kms_fail(err, KMS_ERR_VALIDATION, "the context has more than %d bytes",
                        CONTEXT_BYTES_MAX);
    if (context.len == 0) {
        *ret = NULL;
        return 0;
    }
    if (json_front(context, &pairs, &unused) < 0 || !is_of_texts(pairs))
        return make_opaque(context, ret, err);
    if (!is_canonical(context, pairs) && add_digest(context, pairs, err) < 0)
        return -1;
    *ret = json_incref(pairs);
    return 0;
}
