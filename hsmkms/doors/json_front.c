#include "hsmkms/doors/json_front.h"

#include <string.h>

#include "hsmkms/base/json_memory.h"

/* Times are doubles with milliseconds: 13 digits; 17 would print 0.123 as 0.12299999999999999. */
#define TEXT_FLAGS (JSON_COMPACT | JSON_REAL_PRECISION(15))

#define TEXT_FIRST_CAP 1024 /* bytes; most answers fit */

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

/* A text that grows into wiped memory. */
struct growing {
    char *text;
    size_t len, cap;
};

static int grow(const char *piece, size_t len, void *arg)
{
    struct growing *const to = arg;
    size_t need;

    if (!size_add(to->len, len, &need))
        return -1;
    if (need > to->cap) {
        const size_t cap = need > 2 * to->cap ? need : 2 * to->cap;
        char *const moved = wiping_malloc(cap);
        if (moved == NULL)
            return -1;
        memcpy(moved, to->text, to->len);
        wiping_free(to->text);
        to->text = moved;
        to->cap = cap;
    }
    memcpy(to->text + to->len, piece, len);
    to->len = need;
    return 0;
}

int json_text(const json_t *tree, char **ret, size_t *ret_len, struct kms_error *err)
{
    struct growing made = { .text = wiping_malloc(TEXT_FIRST_CAP), .cap = TEXT_FIRST_CAP };

    if (made.text == NULL || json_dump_callback(tree, grow, &made, TEXT_FLAGS) != 0) {
        wiping_free(made.text);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for an answer");
    }
    *ret = made.text;
    *ret_len = made.len;
    return 0;
}

void json_memory_install(void)
{
    json_set_alloc_funcs(wiping_malloc, wiping_free);
}
