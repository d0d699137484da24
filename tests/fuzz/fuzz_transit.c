/* transit_path_parse, transit_ciphertext_parse, transit_context_add: what is taken is taken whole,
 * and what it is made of leads back to it. The first byte chooses. */

#include <stdlib.h>

#include "hsmkms/base/encode.h"
#include "hsmkms/doors/transit_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool condition)
{
    if (!condition)
        abort();
}

static void demand_refusal(const struct kms_error *err)
{
    demand(err->code == KMS_ERR_VALIDATION && err->message[0]);
}

/* A name and its alias stand for each other. */
static void demand_name(struct span segment)
{
    char name[TRANSIT_NAME_MAX + 1];

    if (!transit_name_valid(segment))
        return;
    const struct transit_key_id id = transit_key_id(segment);
    if (id.is_alias) {
        demand(transit_name_of_alias(id.text, name));
        demand(span_equal(span_text(name), segment));
    } else {
        demand(span_equal(span_text(id.text), segment));
    }
}

/* Put together again, the parts are the target. */
static void try_path(struct span target)
{
    struct kms_error err = { 0 };
    struct transit_path path;
    AUTO(buf) again = { 0 };

    if (transit_path_parse(target, &path, &err) < 0) {
        demand_refusal(&err);
        return;
    }
    buf_text(&again, "/v1");
    demand(path.count >= 1 && path.count <= TRANSIT_SEGMENTS_MAX);
    for (size_t i = 0; i < path.count; i++) {
        buf_text(&again, "/");
        buf_append(&again, path.segments[i]);
        demand(memchr(path.segments[i].ptr, '%', path.segments[i].len) == NULL);
        demand_name(path.segments[i]);
    }
    if (again.len < target.len) {
        buf_text(&again, "?");
        buf_append(&again, path.query);
    }
    demand(span_equal(buf_span(&again), target));
}

static void try_ciphertext(struct span text)
{
    struct transit_ciphertext parsed;
    struct kms_error err = { 0 };

    if (transit_ciphertext_parse(text, &parsed, &err) < 0) {
        demand_refusal(&err);
        return;
    }
    demand(parsed.version >= 1 && parsed.blob.len >= 1);
    demand(parsed.blob.ptr + parsed.blob.len == text.ptr + text.len);
    demand(memchr(parsed.blob.ptr, ':', parsed.blob.len) == NULL);
}

/* Every context makes at least one pair, all of them strings. */
static void try_context(struct span bytes)
{
    struct kms_error err = { 0 };
    json_auto_t *pairs = json_object();
    AUTO(buf) text = { 0 };
    const char *name;
    json_t *value;

    if (bytes.len == 0)
        return;
    base64_append(&text, bytes);
    demand(transit_context_add(buf_span(&text), pairs, &err) == 0);
    demand(json_object_size(pairs) >= 1);
    json_object_foreach(pairs, name, value)
    {
        demand(name[0] && json_is_string(value));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static void (*const parsers[])(struct span) = { try_path, try_ciphertext, try_context };

    if (size < 1)
        return 0;
    parsers[data[0] % ARRAY_LEN(parsers)](span_of(data + 1, size - 1));
    return 0;
}
