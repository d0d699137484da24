#pragma once

/* What the files of the door tokens share. For door_token*.c alone. */

#include "hsmkms/base/lock.h"
#include "hsmkms/crypto/digest.h"
#include "hsmkms/iam/door_token.h"

/* What an entry is found by. */
struct door_token_key {
    uint8_t kind; /* enum door_token_kind */
    uint8_t hash[SHA256_LEN];
};

struct door_token {
    struct door_token_key key;
    struct door_token_key secret;    /* of a login: what it came from */
    struct door_token_record record; /* of a login: id and owner of its secret; never stored */
};

struct door_tokens {
    struct iam *iam;
    pthread_rwlock_t lock;      /* guards what follows; never held over a token or disk call */
    struct door_token **tokens; /* in order of key; room for all there may be */
    size_t count;
    size_t stored; /* without logins */
    pthread_mutex_t
        change; /* one change of stored ones at a time; held over disk calls on purpose */
};

extern const char *const door_token_kind_names[DOOR_TOKEN_KINDS]; /* as in the rows */

void door_token_free(struct door_token *token); /* accepts NULL */

/* An entry with a copy of a record. Errors: INTERNAL. */
CHECKED int door_token_new(enum door_token_kind kind, const struct door_token_record *record,
                           struct door_token **ret, struct kms_error *err);

/* With the lock. NULL: there is none. */
struct door_token *door_token_find(const struct door_tokens *tokens,
                                   const struct door_token_key *key);
struct door_token *door_token_of_id(const struct door_tokens *tokens, const struct uuid *id);

/* With the lock for writing; cannot fail. */
void door_token_insert(struct door_tokens *tokens, struct door_token *token);
void door_token_remove(struct door_tokens *tokens, struct door_token *token); /* and frees it */

/* 256 random bits as text behind a prefix. Errors: KEY_UNAVAILABLE, INTERNAL. */
CHECKED int door_token_text(const struct iam *iam, const char *prefix, struct secret *ret,
                            struct kms_error *err);
