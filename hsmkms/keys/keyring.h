#pragma once

/*
 * Everything keys/ works with, in one place: token, store, catalog, clock and limits. Built once
 * at start, read-only afterwards; what is inside locks for itself.
 *
 * There is one for each region that is served, with a catalog of its own; they share the rest.
 * regions.h finds among them.
 */

#include <pthread.h>

#include "hsmkms/base/clock.h"
#include "hsmkms/keys/catalog.h"
#include "hsmkms/keys/wrapping.h"
#include "pkcs11/token.h"

struct keyring_limits {
    int64_t keys_most, gcm_block, gcm_rotate, gcm_refuse, on_demand_rotations;
    int64_t aliases_most;    /* per key; 0: 50 */
    int64_t deletion_hold_s; /* for the worker: no deletion begins on a clock watched for less */
};

#define KEYRING_REGIONS_MAX 16

struct key_stores; /* key_store.h */

struct keyring {
    struct token *token; /* the service's own; a key's is asked for by key_store_hold() */
    struct key_stores *stores;
    struct store *store;
    struct catalog *catalog;
    const struct clock *clock;
    struct keyring_limits limits;
    struct uuid installation;
    struct uuid mac_key; /* HMAC key of the token that authenticates import tokens */
    struct wrappings wrappings;
    char account[13];
    char region[64];
    struct keyring *home;   /* the first region's, which owns the others */
    struct keyring *next;   /* the next region's; NULL: the last */
    pthread_mutex_t change; /* home's, for all regions: one management change at a time; held over
                               token calls on purpose: a rotation must not meet a deletion of the
                               same key half-way */
};

/*
 * Reads all records into the catalog, then reconciles them with the token: finishes or aborts what
 * was interrupted, marks keys whose object is missing as Unavailable, resumes deletions. An object
 * that no record knows is left alone and reported. Keys of custom key stores are Unavailable until
 * key_stores_start().
 *
 * ret            the first region's; stays where it is until keyring_close()
 * regions        blank-separated names; the first is where keys are that name none
 * ret_strangers  number of unknown objects whose label says they are ours
 * Errors:        INTEGRITY (records that contradict each other); CONFIG (no region, a name that is
 *                too long or there twice, more than KEYRING_REGIONS_MAX; keys of a region that is
 *                not among them)
 */
CHECKED int keyring_open(struct keyring *ret, struct token *token, struct store *store,
                         const struct clock *clock, struct keyring_limits limits,
                         const struct installation_record *installation, const char *regions,
                         unsigned *ret_strangers, struct kms_error *err);
void keyring_close(struct keyring *keyring);

/*
 * "arn:aws:kms:REGION:ACCOUNT:key/ID" and ":alias/NAME". A key is found by the id of its record, in
 * whatever region; what is no key's id stands there as it is, in the region of the keyring.
 */
struct arn_text {
    char text[400];
};
struct arn_text keyring_key_arn(const struct keyring *keyring, const struct uuid *key_id);
struct arn_text keyring_arn_of(const struct keyring *keyring, const struct key *key);
struct arn_text keyring_alias_arn(const struct keyring *keyring, const char *alias);

/* GCM invocations that are durable before a new version encrypts: a block, or all it may ever. */
static inline int64_t keyring_first_block(const struct keyring *keyring)
{
    const struct keyring_limits *const limits = &keyring->limits;

    return limits->gcm_block < limits->gcm_refuse ? limits->gcm_block : limits->gcm_refuse;
}

/*
 * Finds the key that a request names.
 *
 * keyring      of the region that is asked
 * identifier   key id, key ARN, and where aliases is true also alias name and alias ARN
 * aliases      whether the operation accepts them
 * ret          a reference, key_unref() it; a visible key
 * Errors:      NOT_FOUND, INVALID_ARN with AWS's texts; ACCESS_DENIED for an ARN of another account
 */
CHECKED int keyring_resolve(const struct keyring *keyring, const char *identifier, bool aliases,
                            struct key **ret, struct kms_error *err);

/* True for alias/aws/SERVICE of a service that has a managed key of its own. */
bool keyring_alias_is_predefined(const char *name);
