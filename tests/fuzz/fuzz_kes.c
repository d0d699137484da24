/* kes_path_matches, kes_name_valid, kes_listing_parse, kes_context_pairs: names stay what they are,
 * lists go round, and a context becomes pairs that are within bounds or is refused. */

#include <stdlib.h>
#include <string.h>

#include "hsmkms/doors/kes_context.h"
#include "hsmkms/doors/kes_path.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool condition)
{
    if (!condition)
        abort();
}

static void try_listing(const char *text)
{
    struct kes_listing listing, again;
    char written[KES_SEGMENT_MAX + 1];

    if (!kes_listing_parse(text, &listing))
        return;
    demand(kes_listing_format(&listing, written));
    demand(kes_listing_parse(written, &again));
    demand(strcmp(listing.prefix, again.prefix) == 0 && strcmp(listing.marker, again.marker) == 0);
}

static void try_target(const char *target)
{
    static const enum kes_argument arguments[] = { KES_NOTHING, KES_NAME, KES_PREFIX, KES_ANY };
    char rest[KES_SEGMENT_MAX + 1];

    for (size_t i = 0; i < ARRAY_LEN(arguments); i++) {
        if (!kes_path_matches(target, "/v1/key", arguments[i], rest))
            continue;
        demand(strlen(rest) <= KES_SEGMENT_MAX);
        demand(!kes_name_valid(rest) || strlen(rest) <= KES_NAME_MAX);
        try_listing(rest);
    }
}

static void try_context(struct span context)
{
    struct kms_error err = { 0 };
    json_t *pairs = NULL;

    if (kes_context_pairs(context, &pairs, &err) < 0)
        demand(err.code == KMS_ERR_VALIDATION && pairs == NULL);
    else
        demand((context.len == 0) == (pairs == NULL));
    json_decref(pairs);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *const text = malloc(size + 1);

    if (text == NULL)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    try_target(text);
    try_context(span_of(data, size));
    free(text);
    return 0;
}
