#include "hsmkms/keys/key_store_parts.h"

#include <errno.h>
#include <time.h>

/* Which token a key has, and whether there is room in it. */

#define PLACE_WAIT_NS 250000000L /* longer than a good token keeps anybody waiting */

/* False: too many wait for the token already. */
static bool take_place(struct token_hold *hold)
{
    struct token_link *const link = hold->link;
    struct timespec until;

    if (token_busy_us(link->token) > link->call_time_us)
        return false;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += PLACE_WAIT_NS;
    if (until.tv_nsec >= 1000000000L) {
        until.tv_nsec -= 1000000000L;
        until.tv_sec++;
    }
    while (sem_clockwait(&link->places, CLOCK_MONOTONIC, &until) < 0)
        if (errno != EINTR)
            return false;
    hold->placed = true;
    return true;
}

static int need_place(struct token_hold *hold, const char *id, struct kms_error *err)
{
    if (take_place(hold))
        return 0;
    token_hold_done(hold);
    return kms_fail_detail(err, KMS_ERR_KEY_UNAVAILABLE,
                           "the token of custom key store %.64s does not answer", id);
}

int key_store_hold(const struct keyring *keyring, const struct key *key, struct token_hold *ret,
                   struct kms_error *err)
{
    if (key->record.key_store == NULL) {
        *ret = (struct token_hold){ .token = keyring->token };
        return 0;
    }
    if (!key_stores_hold(keyring->stores, key->record.key_store, ret))
        return kms_fail(err, KMS_ERR_INVALID_STATE, "%s is unavailable.",
                        keyring_key_arn(keyring, &key->record.id).text);
    return need_place(ret, key->record.key_store, err);
}

int key_store_hold_place(const struct keyring *keyring, const char *id, struct token_hold *ret,
                         struct kms_error *err)
{
    if (key_store_hold_id(keyring, id, ret, err) < 0)
        return -1;
    return need_place(ret, id, err);
}

bool key_store_is_open(const struct keyring *keyring, const struct key *key)
{
    AUTO(token_hold) held = { 0 };

    return key->record.key_store == NULL ||
           key_stores_hold(keyring->stores, key->record.key_store, &held);
}
