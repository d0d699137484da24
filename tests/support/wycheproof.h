#pragma once

/*
 * Wycheproof's vectors: a file is walked from its first vector to its last,
 * each is judged or skipped with a reason, and what became of them is printed.
 *
 * Reads the folder named by HSMKMS_WYCHEPROOF, which tests/vectors/fetch_wycheproof.sh fills.
 * Without that folder a test is skipped; a folder without the file, and a file of which nothing
 * was run, fail it.
 */

#include <jansson.h>

#include "hsmkms/base/buf.h"
#include "tests/support/check.h"

#define WYCHEPROOF_REASONS 6

/* What became of one file's vectors. */
struct wycheproof {
    const char *suite;
    unsigned taken, refused;
    unsigned acceptable; /* of both: those that might as well be the other */
    struct {
        const char *text;
        unsigned count;
    } skipped[WYCHEPROOF_REASONS];
};

/* For one vector: has to end in wycheproof_judge(), wycheproof_made() or wycheproof_skip(). */
typedef void wycheproof_fn(struct wycheproof *run, void *arg, const json_t *group,
                           const json_t *test);

/* suite: a file's name without ".json", kept by the result. */
struct wycheproof wycheproof_walk(const char *suite, wycheproof_fn *each, void *arg);

/* Fails the test unless the vector agrees; nothing else decides. */
void wycheproof_judge(struct wycheproof *run, const json_t *test, bool taken);

/* The vector lent its key and message alone; what was made of them is right. */
void wycheproof_made(struct wycheproof *run);

/* reason: a literal, "empty plaintext"; at most WYCHEPROOF_REASONS of them in a file. */
void wycheproof_skip(struct wycheproof *run, const char *reason);

/* Whether the vector's word for itself is "valid". */
bool wycheproof_is_valid(const json_t *test);

/* Appends the bytes that a member says in hexadecimal digits. */
void wycheproof_hex(struct buf *ret, const json_t *object, const char *name);

/* A member that is a number, of bits; 0: there is none. */
size_t wycheproof_bits(const json_t *object, const char *name);

/* Fails the test with the file's name and the vector's number. */
void wycheproof_fail(const struct wycheproof *run, const json_t *test, const char *what);
