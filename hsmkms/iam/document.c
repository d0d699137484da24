#include "hsmkms/iam/document.h"

#include <stdlib.h>

#include <jansson.h>

#include "hsmkms/base/json_text.h"

struct document *document_ref(struct document *document)
{
    if (document)
        atomic_fetch_add_explicit(&document->references, 1, memory_order_relaxed);
    return document;
}

void document_unref(struct document *document)
{
    if (document == NULL ||
        atomic_fetch_sub_explicit(&document->references, 1, memory_order_acq_rel) > 1)
        return;
    policy_unref(document->policy);
    free(document->text);
    free(document->pins);
    free(document);
}

size_t document_weight(const char *text)
{
    size_t weight = 0;

    for (; *text; text++) {
        const bool inner = ((uint8_t)*text & 0xc0) == 0x80; /* not the first byte of a character */
        weight += !inner && strchr(" \t\r\n", *text) == NULL;
    }
    return weight;
}

/* --- pins ------------------------------------------------------------------------------------- */

static void add_pin(void *arg, const char *arn, const char *id)
{
    json_t **const pins = arg;

    if (*pins && json_object_set_new(*pins, arn, json_string(id)) < 0) {
        json_decref(*pins);
        *pins = NULL; /* out of memory: said once, at the end */
    }
}

/* ret: with a NUL. */
static int write_pins(const struct policy *policy, struct buf *ret, struct kms_error *err)
{
    json_t *pins = json_object();

    policy_pins(policy, add_pin, &pins);
    if (pins == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a trust policy");
    json_text_append(ret, pins);
    json_decref(pins);
    buf_u8(ret, '\0');
    return buf_check(ret, err);
}

static enum principal_found find_pinned(void *ctx, struct span arn, char ret_id[UNIQUE_ID_LEN + 1])
{
    const json_t *const id = json_object_getn(ctx, (const char *)arn.ptr, arn.len);

    if (!json_is_string(id) || json_string_length(id) != UNIQUE_ID_LEN)
        return PRINCIPAL_ACCEPTED;
    memcpy(ret_id, json_string_value(id), UNIQUE_ID_LEN + 1);
    return PRINCIPAL_PINNED;
}

/* --- making one ------------------------------------------------------------------------------- */

/* Takes the policy over, even when it fails. */
static int document_new(const char *text, const char *pins, struct policy *policy,
                        struct document **ret, struct kms_error *err)
{
    struct document *const made = calloc(1, sizeof(*made));

    if (made == NULL) {
        policy_unref(policy);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a policy");
    }
    *made = (struct document){ .references = 1,
                               .text = strdup(text),
                               .pins = pins ? strdup(pins) : NULL,
                               .weight = document_weight(text),
                               .policy = policy };
    if (made->text == NULL || (pins && made->pins == NULL)) {
        document_unref(made);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a policy");
    }
    *ret = made;
    return 0;
}

int document_compile(const char *text, enum policy_kind kind, const struct principal_book *book,
                     struct document **ret, struct kms_error *err)
{
    struct policy *policy = NULL;
    AUTO(buf) pins = { 0 };

    if (policy_compile(span_text(text), kind, book, &policy, err) < 0)
        return -1;
    if (kind == POLICY_TRUST && write_pins(policy, &pins, err) < 0) {
        policy_unref(policy);
        return -1;
    }
    return document_new(text, (const char *)pins.ptr, policy, ret, err);
}

int document_load(const char *text, enum policy_kind kind, const char *pins, struct document **ret,
                  struct kms_error *err)
{
    json_auto_t *pinned = json_loads(pins ? pins : "{}", JSON_REJECT_DUPLICATES, NULL);
    const struct principal_book book = { find_pinned, pinned };
    struct kms_error failed = { 0 };
    struct policy *policy = NULL;

    if (!json_is_object(pinned))
        return kms_fail(err, KMS_ERR_INTEGRITY, "the pins of a stored policy are not well-formed");
    if (policy_compile(span_text(text), kind, kind == POLICY_TRUST ? &book : NULL, &policy,
                       &failed) < 0)
        return kms_fail(err, failed.code == KMS_ERR_INTERNAL ? KMS_ERR_INTERNAL : KMS_ERR_INTEGRITY,
                        "a stored policy does not compile: %s", failed.detail);
    return document_new(text, pins, policy, ret, err);
}
