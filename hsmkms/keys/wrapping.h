#pragma once

/*
 * RSA pairs of the token under whose public halves clients wrap the material that they import. One
 * pair per wrapping key spec, made when it is first asked for and given out for a day; it stays as
 * long as an import token may still name it, then the worker destroys it. Pairs outlive a restart:
 * a row each.
 *
 * Threads: any. Making a pair may take seconds (RSA-4096), in which only those wait who want a new
 * one as well.
 *
 * Source: AWS KMS API Reference, GetParametersForImport.
 */

#include <pthread.h>

#include "hsmkms/keys/keyspec.h"
#include "pkcs11/token_asym.h"

struct keyring;

#define WRAPPING_PAIRS_MAX 16

/* A copy of what is known of a pair. */
struct wrapping_pair {
    struct uuid id;
    const struct keyspec *spec;
    struct token_public public_key;
    int64_t created_ms;
};

/* How the token layer is told of it. Borrows pair. */
static inline struct token_key wrapping_token_key(const struct wrapping_pair *pair)
{
    return (struct token_key){ pair->id, token_public_span(&pair->public_key) };
}

/* Part of struct keyring. */
struct wrappings {
    pthread_mutex_t making; /* one pair is made or destroyed at a time; held over token calls */
    pthread_mutex_t mutex;  /* guards what follows; taken after making */
    struct wrapping_pair pairs[WRAPPING_PAIRS_MAX];
    size_t count;
};

/*
 * Reads the rows; what a crash left unfinished, or the token has lost, is destroyed. Before threads
 * exist.
 */
CHECKED int wrappings_open(struct keyring *keyring, struct kms_error *err);
void wrappings_close(struct keyring *keyring);

/*
 * The pair that clients get now; made when there is none younger than a day.
 *
 * spec     "RSA_2048", "RSA_3072" or "RSA_4096"
 * Errors:  UNSUPPORTED (not in this token); KEY_UNAVAILABLE; INTERNAL
 */
CHECKED int wrapping_current(struct keyring *keyring, const char *spec, struct wrapping_pair *ret,
                             struct kms_error *err);

/* False when there is no such pair, or not any more. */
CHECKED bool wrapping_find(struct keyring *keyring, const struct uuid *id,
                           struct wrapping_pair *ret);

/* True when a pair has outlived every import token that names it. */
bool wrapping_overdue(struct keyring *keyring);

/* Destroys those. */
CHECKED int wrapping_expire(struct keyring *keyring, struct kms_error *err);
