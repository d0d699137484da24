#include "hsmkms/iam/session_parts.h"

#include <stdio.h>
#include <stdlib.h>

#include <uthash.h>

#define CACHED_MOST 1024

/* A token that was opened, and the signing key that was derived last. */
struct session_entry {
    uint8_t digest[SHA256_LEN]; /* of token and access key id */
    struct session *session;    /* a reference */
    uint64_t generation;        /* of the directory when its policies were compiled */
    char scope[2 * SIGNING_NAME_MAX + SIGNING_DATE_LEN + 3];
    struct secret signing_key;
    UT_hash_handle hh; /* in order of last use */
};

static void entry_free(struct session_entry *entry)
{
    session_unref(entry->session);
    secret_done(&entry->signing_key);
    free(entry);
}

void session_cache_clear(struct sessions *sessions)
{
    struct session_entry *entry, *next;

    HASH_ITER(hh, sessions->entries, entry, next)
    {
        HASH_DEL(sessions->entries, entry);
        entry_free(entry);
    }
}

static int digest_of(const struct credential_claim *claim, uint8_t ret[SHA256_LEN],
                     struct kms_error *err)
{
    AUTO(sha256) sha = { 0 };

    if (sha256_init(&sha, err) < 0)
        return -1;
    sha256_update(&sha, claim->scope.access_key_id);
    sha256_update(&sha, SPAN_LITERAL("/"));
    sha256_update(&sha, claim->session_token);
    return sha256_final(&sha, ret, err);
}

/* "20261120/eu-central-1/kms"; false when it has no room. */
static bool scope_text(const struct signing_scope *scope, char *ret, size_t size)
{
    const int len = snprintf(ret, size, "%.*s/%.*s/%.*s", (int)scope->date.len,
                             (const char *)scope->date.ptr, (int)scope->region.len,
                             (const char *)scope->region.ptr, (int)scope->service.len,
                             (const char *)scope->service.ptr);

    return len > 0 && (size_t)len < size;
}

/* With the lock: a session of this digest, and its signing key when it is of this scope. */
static struct session *find_cached(struct iam *iam, const uint8_t digest[SHA256_LEN],
                                   const char *scope, struct secret *ret_key)
{
    struct sessions *const sessions = iam->sessions;
    struct kms_error ignored = { 0 };
    struct session_entry *entry;

    HASH_FIND(hh, sessions->entries, digest, SHA256_LEN, entry);
    if (entry == NULL)
        return NULL;
    HASH_DELETE(hh, sessions->entries, entry);
    if (entry->generation != directory_generation(iam->directory)) {
        entry_free(entry);
        return NULL;
    }
    HASH_ADD(hh, sessions->entries, digest, SHA256_LEN, entry); /* used last */
    if (entry->signing_key.ptr && strcmp(entry->scope, scope) == 0)
        (void)!secret_copy(ret_key, secret_span(&entry->signing_key), &ignored);
    return session_ref(entry->session);
}

/* Keeps what was found out; where memory is short the next request finds out again. */
static void keep(struct iam *iam, const uint8_t digest[SHA256_LEN], struct session *session,
                 uint64_t generation, const char *scope, const struct secret *key)
{
    struct sessions *const sessions = iam->sessions;
    struct kms_error ignored = { 0 };
    struct session_entry *const made = calloc(1, sizeof(*made));
    struct session_entry *old;

    if (made == NULL)
        return;
    memcpy(made->digest, digest, SHA256_LEN);
    made->session = session_ref(session);
    made->generation = generation;
    (void)snprintf(made->scope, sizeof(made->scope), "%s", scope);
    (void)!secret_copy(&made->signing_key, secret_span(key), &ignored);

    (void)pthread_mutex_lock(&sessions->lock);
    HASH_FIND(hh, sessions->entries, digest, SHA256_LEN, old);
    if (old == NULL && HASH_COUNT(sessions->entries) >= CACHED_MOST)
        old = sessions->entries; /* the one not used for longest */
    if (old)
        HASH_DELETE(hh, sessions->entries, old);
    HASH_ADD(hh, sessions->entries, digest, SHA256_LEN, made);
    (void)pthread_mutex_unlock(&sessions->lock);
    if (old)
        entry_free(old);
}

int session_cache_get(struct iam *iam, const struct credential_claim *claim, struct session **ret,
                      struct secret *ret_key, struct kms_error *err)
{
    const uint64_t generation = directory_generation(iam->directory);
    uint8_t digest[SHA256_LEN];
    char scope[sizeof((struct session_entry){ 0 }.scope)];
    AUTO(secret) key = { 0 };
    AUTO_SESSION session = NULL;

    if (digest_of(claim, digest, err) < 0)
        return -1;
    if (!scope_text(&claim->scope, scope, sizeof(scope)))
        return session_unrecognized(err);
    (void)pthread_mutex_lock(&iam->sessions->lock);
    session = find_cached(iam, digest, scope, &key);
    (void)pthread_mutex_unlock(&iam->sessions->lock);
    if (session == NULL && session_token_open(iam, claim, &session, err) < 0)
        return -1;
    if (key.ptr == NULL) {
        if (signing_key_derive(secret_span(&session->secret), &claim->scope, &key, err) < 0)
            return -1;
        keep(iam, digest, session, generation, scope, &key);
    }
    *ret_key = secret_take(&key);
    *ret = session;
    session = NULL; /* now owned by the caller */
    return 0;
}
