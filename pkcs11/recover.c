/* Logging in, finding handles again, and the breaker; declared in state.h. */

#include "pkcs11/state.h"

#include <time.h>

#include "hsmkms/base/clock.h"

#define BREAKER_WAIT_MAX_S 30
#define BRIEFLY_MS         50
#define US_PER_SECOND      1000000

/* The exclusive lock */

/* A call that runs longer than it may hangs for good, as far as anybody can tell. */
static bool some_call_hangs(const struct token *token)
{
    const int64_t now_us = clock_mono_us(), most_us = (int64_t)token->call_time_ms * 1000;

    for (unsigned i = 0; i < token->pool.count; i++) {
        const int64_t since_us =
            atomic_load_explicit(&token->pool.all[i].since_us, memory_order_relaxed);
        if (since_us && now_us - since_us > most_us)
            return true;
    }
    return false;
}

static struct timespec deadline(unsigned ms)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += (long)(ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    return until;
}

/*
 * While a writer waits no reader starts, so it must not wait long for a call that hangs: the
 * sessions that work go on serving.
 */
static int lock_in_time(struct token *token, enum patience patience, struct kms_error *err)
{
    const unsigned ms =
        patience == WAIT_BRIEFLY || some_call_hangs(token) ? BRIEFLY_MS : token->call_time_ms;
    const struct timespec until = deadline(ms);

    /* a pair may be in the making for seconds: what can be done another time does not wait */
    if ((patience == WAIT_BRIEFLY ? pthread_mutex_trylock(&token->maker)
                                  : pthread_mutex_timedlock(&token->maker, &until)) != 0)
        return kms_fail_detail(err, KMS_ERR_KEY_UNAVAILABLE, "the token is busy making a key");
    if (pthread_rwlock_timedwrlock(&token->lock, &until) != 0) {
        (void)pthread_mutex_unlock(&token->maker);
        return kms_fail_detail(err, KMS_ERR_KEY_UNAVAILABLE, "a call to the token does not return");
    }
    atomic_store_explicit(&token->manage.since_us, clock_mono_us(), memory_order_relaxed);
    return 0;
}

static void unlock(struct token *token)
{
    atomic_store_explicit(&token->manage.since_us, 0, memory_order_relaxed);
    if (!token->aside)
        (void)pthread_rwlock_unlock(&token->lock);
    token->aside = false;
    (void)pthread_mutex_unlock(&token->maker);
}

void token_aside(struct token *token)
{
    /* a call that is known to take long is not reported as one that hangs */
    atomic_store_explicit(&token->manage.since_us, 0, memory_order_relaxed);
    token->aside = true;
    (void)pthread_rwlock_unlock(&token->lock);
}

int token_aside_done(struct token *token, struct kms_error *err)
{
    const struct timespec until = deadline(token->call_time_ms);

    if (pthread_rwlock_timedwrlock(&token->lock, &until) != 0)
        return kms_fail_detail(err, KMS_ERR_KEY_UNAVAILABLE, "a call to the token does not return");
    token->aside = false;
    atomic_store_explicit(&token->manage.since_us, clock_mono_us(), memory_order_relaxed);
    return 0;
}

int token_renew_manage(struct token *token, struct kms_error *err)
{
    session_close(&token->manage);
    return session_open(&token->manage, &token->module, err);
}

int token_alone(struct token *token, enum patience patience, struct kms_error *err)
{
    if (lock_in_time(token, patience, err) < 0)
        return -1;
    cache_unlist(&token->cache); /* whoever is alone may change what the token holds */
    pool_close_retired(&token->pool);
    copy_drop_forgotten(&token->cache, &token->owner);
    if (token->manage.broken && token_renew_manage(token, err) < 0) {
        const enum ck_class class = ck_class(token->manage.rv);
        unlock(token);
        if (ck_rule(class)->trips)
            token_trip(token);
        return -1;
    }
    return 0;
}

/* On a new session, and on another one where a lost session may get lost again. */
static bool is_well(struct token *token)
{
    for (unsigned tries = 0;; tries++) {
        struct kms_error sick = { 0 };

        if (token_renew_manage(token, &sick) == 0 &&
            probe_health(&token->probe, &token->manage, &sick) == 0)
            return true;
        if (tries == ck_rule(ck_class(token->manage.rv))->retries)
            return false;
    }
}

void token_alone_done(struct token *token, bool failed)
{
    const bool aside = token->aside; /* did not come back: what the session is like shows later */
    const bool well = !failed || (!aside && is_well(token));

    if (!well)
        token->manage.broken = true;
    unlock(token);
    if (!well && !aside)
        token_trip(token);
}

/* Login and handles */

static int login_guarded(struct token *token, struct kms_error *err)
{
    struct kms_error after = { 0 };

    if (guard_before_login(&token->guard, &token->module, err) < 0)
        return -1;
    const int in = login_user(&token->login, &token->owner, err);
    /* a refused login rewrites SoftHSM's file as well */
    const int whole = guard_after_login(&token->guard, in < 0 ? &after : err);
    guard_leave(&token->guard);
    return in < 0 || whole < 0 ? -1 : 0;
}

int token_connect(struct token *token, struct kms_error *err)
{
    if (session_open(&token->owner, &token->module, err) < 0 || login_guarded(token, err) < 0 ||
        session_open(&token->manage, &token->module, err) < 0 ||
        probe_run(&token->probe, &token->manage, &token->owner, err) < 0)
        return -1;
    if (!token->probe.enforces_extraction && !token->accept_extractable)
        return kms_fail(err, KMS_ERR_TOKEN_UNSUITABLE,
                        "the token gives away keys that are not extractable; serve all the same "
                        "with accept_extractable");
    token->cache.limit = token->probe.copies ? token->copies_max : 0;
    if (token->manage.broken && token_renew_manage(token, err) < 0)
        return -1;
    return cache_load(&token->cache, &token->manage, &token->owner, err);
}

/* After the login was lost: every handle and session key died with it. */
static int login_again(struct token *token, struct kms_error *err)
{
    if (login_guarded(token, err) < 0)
        return -1;
    cache_unbind(&token->cache);
    if (probe_keys(&token->probe, &token->owner, err) < 0)
        return -1;
    return cache_load(&token->cache, &token->manage, &token->owner, err);
}

/* What stands behind it is in detail; to a caller it is a key out of reach. */
static int as_unavailable(struct kms_error *err)
{
    err->code = KMS_ERR_KEY_UNAVAILABLE;
    err->message[0] = '\0';
    return -1;
}

/* Where one handle was lost, those of our session keys may be too. */
static int keep_session_keys(struct token *token, struct kms_error *err)
{
    const struct probe *const probe = &token->probe;
    const CK_RV rv =
        canary_open(&token->manage, probe->health, &probe->health_id, probe->health_canary);

    return ck_class(rv) == RV_HANDLE ? probe_keys(&token->probe, &token->owner, err) : 0;
}

/*
 * A key that was there is not. Somebody may have destroyed it; but a token that shows nothing any
 * more was taken away, and SoftHSM sees it again only after a new start.
 */
static int look_around(struct token *token, struct kms_error *err)
{
    bool any = false;

    if (object_any(&token->manage, &any, err) < 0)
        return -1;
    if (any)
        return 0;
    atomic_store(&token->breaker.restart, true);
    token_trip(token);
    return kms_fail_detail(err, KMS_ERR_KEY_UNAVAILABLE, "the token shows no keys any more");
}

int token_rebind(struct token *token, const struct uuid *id, struct object **ret,
                 struct kms_error *err)
{
    bool in = false;

    if (login_state(&token->owner, &in) != CKR_OK)
        return session_fail(&token->owner, err);
    if ((in ? keep_session_keys(token, err) : login_again(token, err)) < 0)
        return as_unavailable(err);

    struct object *const known = object_lookup(&token->cache, id);
    const bool was_there = known && known->handle != CK_INVALID_HANDLE;
    if (known)
        copy_drop(&token->cache, &token->owner, known);
    if (object_refind(&token->cache, &token->manage, id, ret, err) < 0)
        return -1;
    return was_there && (*ret)->fault == OBJECT_ABSENT ? look_around(token, err) : 0;
}

/* The breaker */

void token_trip(struct token *token)
{
    struct breaker *const breaker = &token->breaker;

    if (atomic_exchange(&breaker->probing, true))
        return; /* somebody is about to find out */
    if (!atomic_load(&breaker->open)) {
        breaker->wait_s = 1;
        breaker->failed = 0;
        atomic_store(&breaker->next_us, clock_mono_us() + US_PER_SECOND);
        atomic_store(&breaker->open, true);
    }
    atomic_store(&breaker->probing, false);
}

static int recover_soft(struct token *token, struct kms_error *err)
{
    bool in = false;

    if (login_state(&token->owner, &in) != CKR_OK)
        return session_fail(&token->owner, err);
    if (pool_reopen(&token->pool, err) < 0 || token_renew_manage(token, err) < 0)
        return -1;
    if ((in ? keep_session_keys(token, err) : login_again(token, err)) < 0)
        return -1;
    return probe_health(&token->probe, &token->manage, err);
}

/* Handles mean nothing once the module was started again, or mean somebody else's sessions. */
static void let_go(struct token *token)
{
    pool_shut(&token->pool);
    session_close(&token->manage);
    session_close(&token->owner);
    module_stop(&token->module);
    cache_unbind(&token->cache);
}

/*
 * Some modules notice that a token is back only when they are started again. One that other tokens
 * use is not, for their sake; when all of them are lost, the last one to let go starts it again.
 */
static int recover_hard(struct token *token, struct kms_error *err)
{
    let_go(token);
    if (module_start(&token->module, err) == 0 && module_find_token(&token->module, err) == 0 &&
        token_connect(token, err) == 0 && pool_reopen(&token->pool, err) == 0)
        return 0;
    let_go(token);
    return -1;
}

int token_recover(struct token *token, bool hard, struct kms_error *err)
{
    if (lock_in_time(token, WAIT_LONG, err) < 0)
        return -1;
    int done = hard ? -1 : recover_soft(token, err);
    if (done < 0 && (hard || ck_class(token->owner.rv) == RV_RESET ||
                     ck_class(token->owner.rv) == RV_SESSION)) {
        kms_error_clear(err);
        done = recover_hard(token, err);
    }
    if (done < 0) {
        token->manage.broken = true;
        (void)as_unavailable(err);
    }
    unlock(token);
    return done;
}

static int probe_due(struct token *token, struct kms_error *err)
{
    struct breaker *const breaker = &token->breaker;
    const bool restart = breaker->failed > 0 || atomic_load(&breaker->restart);
    const int back = token_recover(token, restart, err);

    if (back < 0) {
        breaker->failed++;
        breaker->wait_s =
            breaker->wait_s * 2 < BREAKER_WAIT_MAX_S ? breaker->wait_s * 2 : BREAKER_WAIT_MAX_S;
        atomic_store(&breaker->next_us, clock_mono_us() + (int64_t)breaker->wait_s * US_PER_SECOND);
    } else {
        atomic_store(&breaker->restart, false);
        atomic_store(&breaker->open, false);
    }
    return back;
}

int token_pass(struct token *token, struct kms_error *err)
{
    struct breaker *const breaker = &token->breaker;

    if (!atomic_load_explicit(&breaker->open, memory_order_relaxed))
        return 0;
    if (clock_mono_us() < atomic_load(&breaker->next_us) ||
        atomic_exchange(&breaker->probing, true))
        return kms_fail_detail(err, KMS_ERR_KEY_UNAVAILABLE, "the token does not answer");

    /* another thread may have made the probe since we looked */
    const bool due =
        atomic_load(&breaker->open) && clock_mono_us() >= atomic_load(&breaker->next_us);
    int back = due ? probe_due(token, err) : 0;
    if (!due && atomic_load(&breaker->open))
        back = kms_fail_detail(err, KMS_ERR_KEY_UNAVAILABLE, "the token does not answer");
    atomic_store(&breaker->probing, false);
    return back;
}
