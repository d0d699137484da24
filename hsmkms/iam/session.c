#include "hsmkms/iam/session_parts.h"

#include <stdlib.h>

#include <jansson.h>

#include "hsmkms/base/lock.h"

/* --- a session -------------------------------------------------------------------------------- */

struct session *session_ref(struct session *session)
{
    atomic_fetch_add(&session->references, 1);
    return session;
}

void session_unref(struct session *session)
{
    if (session == NULL || atomic_fetch_sub(&session->references, 1) > 1)
        return;
    for (size_t i = 0; i < session->policy_count; i++)
        policy_unref((struct policy *)(uintptr_t)session->policies[i].policy); /* ours */
    free((void *)(uintptr_t)session->policies);
    free((void *)(uintptr_t)session->tags);
    free((void *)(uintptr_t)session->transitive);
    secret_done(&session->secret);
    json_decref(session->arena); /* the claims: names and texts point there */
    free(session);
}

void session_credentials_done(struct session_credentials *credentials)
{
    secret_done(&credentials->secret);
    buf_done(&credentials->token);
}

/* --- start, end, upkeep ----------------------------------------------------------------------- */

int sessions_open(struct iam *iam, struct sessions **ret, struct kms_error *err)
{
    struct sessions *const made = calloc(1, sizeof(*made));

    if (made == NULL || pthread_mutex_init(&made->lock, NULL) != 0 ||
        pthread_mutex_init(&made->renewing, NULL) != 0 ||
        !lock_init_fair(&made->sealing)) {
        free(made);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for sessions");
    }
    if (sealing_keys_load(&iam->config, &made->keys, err) < 0) {
        sessions_close(made);
        return -1;
    }
    *ret = made;
    return 0;
}

void sessions_close(struct sessions *sessions)
{
    if (sessions == NULL)
        return;
    session_cache_clear(sessions);
    sealing_keys_done(&sessions->keys);
    (void)pthread_rwlock_destroy(&sessions->sealing);
    (void)pthread_mutex_destroy(&sessions->renewing);
    (void)pthread_mutex_destroy(&sessions->lock);
    free(sessions);
}

static bool is_stale(struct iam *iam)
{
    struct sessions *const sessions = iam->sessions;

    (void)pthread_rwlock_rdlock(&sessions->sealing);
    const bool stale = sealing_keys_stale(&sessions->keys, clock_wall_ms(iam->config.clock));
    (void)pthread_rwlock_unlock(&sessions->sealing);
    return stale;
}

int sessions_tick(struct iam *iam, struct kms_error *err)
{
    struct sessions *const sessions = iam->sessions;
    int result = 0;

    if (!is_stale(iam))
        return 0;
    (void)pthread_mutex_lock(&sessions->renewing);
    if (is_stale(iam)) {
        /* readers wait for the token and the disk once a day, so that none sees a key half made */
        (void)pthread_rwlock_wrlock(&sessions->sealing);
        result = sealing_keys_renew(&iam->config, &sessions->keys, err);
        (void)pthread_rwlock_unlock(&sessions->sealing);
    }
    (void)pthread_mutex_unlock(&sessions->renewing);
    return result;
}

/* --- using one ------------------------------------------------------------------------------- */

int session_unrecognized(struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_UNRECOGNIZED_CLIENT,
                    "The security token included in the request is invalid.");
}

int session_expired(struct kms_error *err)
{
    return kms_fail(err, KMS_ERR_EXPIRED_TOKEN,
                    "The security token included in the request is expired");
}

/* The user, role or root behind a session, as they are now. ret stays NULL for a root. */
static int find_owner(struct iam *iam, const struct session *session, struct identity **ret,
                      struct kms_error *err)
{
    if (session->unique_id[0] == '\0')
        return directory_root_session(iam->directory, session->account, session->issued_ms)
                   ? 0
                   : session_unrecognized(err);

    struct identity *const owner = directory_get(iam->directory, session->unique_id);
    if (owner == NULL || !owner->enabled) {
        identity_unref(owner);
        return session_unrecognized(err);
    }
    if (session->issued_ms < owner->revoked_ms) {
        identity_unref(owner);
        return session_expired(err);
    }
    *ret = owner;
    return 0;
}

/* Takes the references over. */
static void fill_principal(struct identity *owner, struct session *session, struct principal *ret)
{
    const char *const id = session->access_key_id;

    if (owner == NULL) {
        principal_of_root(session->account, id, ret);
        ret->session = session;
    } else if (owner->kind == IDENTITY_ROLE) {
        principal_of_session(owner, session, session->name, id, ret);
    } else {
        principal_of_user(owner, session, id, ret);
    }
}

int session_signing_key(struct iam *iam, const struct credential_claim *claim,
                        struct secret *ret_key, struct principal *ret_principal,
                        struct kms_error *err)
{
    AUTO(secret) key = { 0 };
    AUTO_SESSION session = NULL;
    struct identity *owner = NULL;

    if (session_cache_get(iam, claim, &session, &key, err) < 0)
        return -1;
    if (claim->now_ms >= session->expires_ms)
        return session_expired(err);
    if (find_owner(iam, session, &owner, err) < 0)
        return -1;
    fill_principal(owner, session, ret_principal);
    session = NULL; /* now owned by the principal, like owner */
    *ret_key = secret_take(&key);
    return 0;
}
