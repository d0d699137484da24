/* json_front, json_text: what is accepted is an object, not deeper than allowed, and the same again
 * after it was written and read. */

#include <stdlib.h>

#include "hsmkms/base/json_memory.h"
#include "hsmkms/doors/json_front.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool condition)
{
    if (!condition)
        abort();
}

static size_t depth_of(json_t *tree)
{
    size_t deepest = 0, index;
    const char *name;
    json_t *member;

    if (!json_is_object(tree) && !json_is_array(tree))
        return 0;
    json_object_foreach(tree, name, member)
    {
        const size_t depth = depth_of(member);
        deepest = depth > deepest ? depth : deepest;
    }
    json_array_foreach(tree, index, member)
    {
        const size_t depth = depth_of(member);
        deepest = depth > deepest ? depth : deepest;
    }
    return deepest + 1;
}

static void demand_same_again(const json_t *tree)
{
    struct kms_error err = { 0 };
    json_t *again = NULL;
    char *text = NULL;
    size_t len = 0;

    demand(json_text(tree, &text, &len, &err) == 0);
    demand(json_front(span_of(text, len), &again, &err) == 0);
    /* numbers with more than 15 digits come back rounded, so sizes are compared, not values */
    demand(json_object_size(again) == json_object_size(tree));
    wiping_free(text);
    json_decref(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool installed;
    struct kms_error err = { 0 };
    json_t *tree = NULL;

    if (!installed)
        json_set_alloc_funcs(wiping_malloc, wiping_free);
    installed = true;

    if (json_front(span_of(data, size), &tree, &err) < 0) {
        demand(err.code == KMS_ERR_SERIALIZATION && tree == NULL);
        return 0;
    }
    demand(json_is_object(tree) && depth_of(tree) <= JSON_FRONT_DEPTH);
    demand_same_again(tree);
    json_decref(tree);
    return 0;
}
