#include "tests/support/wycheproof.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "hsmkms/base/encode.h"

static const char *folder(void)
{
    const char *const ret = getenv("HSMKMS_WYCHEPROOF");

    if (ret == NULL || access(ret, R_OK | X_OK) != 0) {
        print_message("           SKIPPED: HSMKMS_WYCHEPROOF names no folder of vectors; "
                      "tests/vectors/fetch_wycheproof.sh fetches them\n");
        skip();
    }
    return ret;
}

static json_t *read_suite(const char *suite)
{
    char path[4096];
    json_error_t error;

    (void)snprintf(path, sizeof(path), "%s/%s.json", folder(), suite);
    json_t *const ret = json_load_file(path, 0, &error);
    if (ret == NULL)
        fail_msg("%s: %s", path, error.text);
    return ret;
}

static const char *text_of(const json_t *object, const char *name)
{
    const char *const ret = json_string_value(json_object_get(object, name));

    CHECK(ret != NULL);
    return ret;
}

static unsigned skipped(const struct wycheproof *run)
{
    unsigned ret = 0;

    for (size_t i = 0; i < WYCHEPROOF_REASONS; i++)
        ret += run->skipped[i].count;
    return ret;
}

static void report(const struct wycheproof *run)
{
    print_message("           %s: %u taken, %u refused, %u of both acceptable, %u skipped",
                  run->suite, run->taken, run->refused, run->acceptable, skipped(run));
    for (size_t i = 0; i < WYCHEPROOF_REASONS && run->skipped[i].text; i++)
        print_message("%s %u %s", i ? "," : ":", run->skipped[i].count, run->skipped[i].text);
    print_message("\n");
}

struct wycheproof wycheproof_walk(const char *suite, wycheproof_fn *each, void *arg)
{
    struct wycheproof ret = { .suite = suite };
    json_auto_t *vectors = read_suite(suite);
    unsigned count = 0;
    size_t i, j;
    json_t *group, *test;

    json_array_foreach(json_object_get(vectors, "testGroups"), i, group)
    {
        json_array_foreach(json_object_get(group, "tests"), j, test)
        {
            each(&ret, arg, group, test);
            count++;
        }
    }
    report(&ret);
    CHECK(ret.taken > 0);
    assert_int_equal(ret.taken + ret.refused + skipped(&ret), count); /* none is forgotten */
    return ret;
}

bool wycheproof_is_valid(const json_t *test)
{
    return strcmp(text_of(test, "result"), "valid") == 0;
}

void wycheproof_judge(struct wycheproof *run, const json_t *test, bool taken)
{
    const bool acceptable = strcmp(text_of(test, "result"), "acceptable") == 0;

    run->taken += taken;
    run->refused += !taken;
    run->acceptable += acceptable;
    if (!acceptable && taken != wycheproof_is_valid(test))
        wycheproof_fail(run, test, taken ? "is taken" : "is refused");
}

void wycheproof_made(struct wycheproof *run)
{
    run->taken++;
}

void wycheproof_skip(struct wycheproof *run, const char *reason)
{
    size_t i = 0;

    while (i < WYCHEPROOF_REASONS && run->skipped[i].text &&
           strcmp(run->skipped[i].text, reason) != 0)
        i++;
    CHECK(i < WYCHEPROOF_REASONS);
    run->skipped[i].text = reason;
    run->skipped[i].count++;
}

void wycheproof_hex(struct buf *ret, const json_t *object, const char *name)
{
    const char *const text = text_of(object, name);
    const size_t len = strlen(text) / 2;

    if (len == 0)
        return;
    uint8_t *const room = buf_room(ret, len);
    CHECK(room != NULL && hex_parse(span_of(text, 2 * len), room, len));
}

size_t wycheproof_bits(const json_t *object, const char *name)
{
    return (size_t)json_integer_value(json_object_get(object, name));
}

void wycheproof_fail(const struct wycheproof *run, const json_t *test, const char *what)
{
    fail_msg("%s, tcId %d, %s (%s): %s", run->suite,
             (int)json_integer_value(json_object_get(test, "tcId")), text_of(test, "result"),
             text_of(test, "comment"), what);
}
