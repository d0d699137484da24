#include "pkcs11/work.h"

#include <assert.h>
#include <unistd.h>

#include "hsmkms/base/clock.h"

/* How one attempt ended. */
struct attempt {
    enum ck_class class;
    CK_RV rv;
    const char *function;
    bool unbound; /* there is no handle to try with */
    bool crowded; /* no new session before the retired ones are closed */
    bool copy_due;
    const char *why; /* for classes that are no answer of the token */
};

#define MORE_FAILURES 2 /* condemn a ciphertext; only bad ones pay for them */

/* Is the key behind this handle the one that the canary means? */
static CK_RV prove(struct session *session, CK_OBJECT_HANDLE key, const struct work *work)
{
    return work->prove ? work->prove(session, key, work)
                       : canary_open(session, key, work->id, work->canary.ptr);
}

/*
 * Was it the ciphertext or the token? On the same session the canary has to open, and the work
 * has to fail again and again: a fault that passes must not make good data look corrupt, and bad
 * data must not cost a session.
 */
static enum ck_class judge(const struct token *token, struct session *session, CK_OBJECT_HANDLE key,
                           const struct work *work)
{
    const struct probe *const probe = &token->probe;
    CK_RV canary = work->canary.len ? prove(session, key, work) : CKR_OK;

    if (work->prove && ck_class(canary) == RV_CIPHERTEXT)
        return RV_HANDLE; /* not the key that was meant, or not for this */
    /* a proof by attributes says nothing of the token's health */
    if (canary == CKR_OK && (work->prove || work->canary.len == 0))
        canary = canary_open(session, probe->health, &probe->health_id, probe->health_canary);
    if (canary != CKR_OK) /* that it is no good ciphertext is no verdict on ours */
        return ck_class(canary) == RV_CIPHERTEXT ? RV_DOUBT : ck_class(canary);
    enum ck_class again = RV_DOUBT;
    for (unsigned i = 0; again == RV_DOUBT && i < MORE_FAILURES; i++)
        again = ck_class(work->run(session, key, work));
    return again == RV_DOUBT ? RV_CIPHERTEXT : again;
}

static enum ck_class run_keyed(const struct token *token, struct session *session,
                               struct object *object, const struct work *work, struct attempt *ret)
{
    if (work->canary.len && !atomic_load_explicit(&object->checked, memory_order_acquire)) {
        const enum ck_class class = ck_class(prove(session, object->handle, work));

        if (class == RV_CIPHERTEXT || class == RV_DOUBT) {
            ret->why = "the canary does not open under the key with this id";
            return RV_HANDLE;
        }
        if (class != RV_OK)
            return class;
        atomic_store_explicit(&object->checked, true, memory_order_release);
    }

    const CK_OBJECT_HANDLE key = object_use(object);
    const enum ck_class class = ck_class(work->run(session, key, work));
    ret->copy_due = work->canary.len && !work->prove && object_wants_copy(&token->cache, object);
    return class == RV_DOUBT && work->opens ? judge(token, session, key, work) : class;
}

/* Shared lock held. */
static enum ck_class run_locked(struct token *token, struct session *session,
                                const struct work *work, struct attempt *ret)
{
    if (session->broken && !session_replace(&token->pool, session))
        return ck_class(session->rv);
    if (work->id == NULL)
        return ck_class(work->run(session, CK_INVALID_HANDLE, work));

    struct object *const object = object_lookup(&token->cache, work->id);
    ret->unbound = object == NULL || object->handle == CK_INVALID_HANDLE;
    if (object && object->fault != OBJECT_GOOD)
        ret->why = object_fault_text(object->fault);
    if (ret->unbound || object->fault != OBJECT_GOOD)
        return RV_HANDLE;
    return run_keyed(token, session, object, work, ret);
}

#define TURN_WAIT_MS 20 /* a call in memory takes microseconds; one that hangs is not waited for   \
                         */

void token_turn_take(struct token *token, struct token_turn *ret)
{
    struct timespec until;

    if (!token->module.profile->serial)
        return;
    if (pthread_mutex_trylock(&token->turn) != 0) {
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_nsec += TURN_WAIT_MS * 1000000L;
        if (until.tv_nsec >= 1000000000L) {
            until.tv_sec++;
            until.tv_nsec -= 1000000000L;
        }
        if (pthread_mutex_timedlock(&token->turn, &until) != 0)
            return;
    }
    ret->token = token;
}

void token_turn_done(struct token_turn *turn)
{
    if (turn->token)
        (void)pthread_mutex_unlock(&turn->token->turn);
    turn->token = NULL;
}

static struct attempt run_once(struct token *token, const struct work *work)
{
    struct attempt made = { 0 };
    AUTO(token_turn) turn = { 0 };
    struct session *const session = pool_take(&token->pool);

    atomic_store_explicit(&session->since_us, clock_mono_us(), memory_order_relaxed);
    token_turn_take(token, &turn); /* before the lock: nobody waits for a turn holding it */
    (void)pthread_rwlock_rdlock(&token->lock);
    made.class = run_locked(token, session, work, &made);
    made.rv = session->rv;
    made.function = session->function;
    if (made.class == RV_DOUBT)
        atomic_fetch_add_explicit(&session->errors, 1, memory_order_relaxed);
    /* where the token said something unexpected, the session may carry on with it */
    if (made.class != RV_OK && made.class != RV_CIPHERTEXT && !made.unbound && !session->broken)
        (void)session_replace(&token->pool, session); /* else the next use tries again */
    made.crowded = session->broken && session->rv == CKR_SESSION_COUNT;
    (void)pthread_rwlock_unlock(&token->lock);
    token_turn_done(&turn);
    atomic_store_explicit(&session->since_us, 0, memory_order_relaxed);
    pool_give(&token->pool, session);
    return made;
}

static int fail_attempt(const struct attempt *made, struct kms_error *err)
{
    if (made->why)
        return kms_fail_detail(err, KMS_ERR_KEY_UNAVAILABLE, "%s", made->why);
    return kms_fail_detail(err, ck_rule(made->class)->code, "%s: %s (0x%lx)",
                           made->function ? made->function : "-", ck_name(made->rv),
                           (unsigned long)made->rv);
}

static int rebind(struct token *token, const struct uuid *id, struct kms_error *err)
{
    struct object *object = NULL;

    if (token_alone(token, WAIT_LONG, err) < 0)
        return -1;
    const int found = token_rebind(token, id, &object, err);
    token_alone_done(token, found < 0);
    return found;
}

static int close_retired(struct token *token, struct kms_error *err)
{
    if (token_alone(token, WAIT_LONG, err) < 0)
        return -1;
    token_alone_done(token, false); /* taking the lock has closed them */
    return 0;
}

static void make_copy(struct token *token, const struct work *work)
{
    struct kms_error err = { 0 };

    if (token_alone(token, WAIT_BRIEFLY, &err) < 0)
        return; /* the key works without */
    struct object *const object = object_lookup(&token->cache, work->id);
    if (object && object_wants_copy(&token->cache, object))
        copy_make(&token->cache, &token->manage, &token->owner, object, work->canary.ptr);
    token_alone_done(token, token->manage.rv != CKR_OK);
}

/*
 * How many failures are too few to give up: none of this work has a side effect. What the token
 * holds is looked at twice; where sessions are scarce, other threads may be faster than we.
 */
static unsigned retries_after(const struct attempt *made)
{
    if (made->crowded)
        return ck_rule(RV_SESSION)->retries;
    return made->why ? 1 : ck_rule(made->class)->retries;
}

/*
 * Attempts until it works or is clear that it does not. A search for a key that has no handle is
 * no failure, and made once.
 */
int token_run(struct token *token, const struct work *work, struct kms_error *err)
{
    bool searched = false;
    unsigned failures = 0;

    for (;;) {
        if (token_pass(token, err) < 0)
            return -1;
        const struct attempt made = run_once(token, work);
        if (made.class == RV_OK) {
            if (made.copy_due)
                make_copy(token, work);
            return 0;
        }
        if (made.class == RV_CIPHERTEXT)
            return fail_attempt(&made, err);

        const bool again = made.unbound ? !searched : failures < retries_after(&made);
        if (!again) {
            if (ck_rule(made.class)->trips)
                token_trip(token);
            return fail_attempt(&made, err);
        }
        searched = searched || made.unbound;
        failures += !made.unbound;
        if (made.crowded && close_retired(token, err) < 0)
            return -1;
        if ((made.class == RV_HANDLE || made.class == RV_LOGIN) && work->id &&
            rebind(token, work->id, err) < 0)
            return -1;
    }
}

/* Random bytes */

#define RANDOM_CHUNK 256

/* The generator's first bytes of every call are not used: they must differ from the last ones. */
static bool random_repeats(struct session *session, const uint8_t check[RANDOM_CHECK_LEN])
{
    const bool same =
        session->random_any && memcmp(session->random_seen, check, RANDOM_CHECK_LEN) == 0;

    memcpy(session->random_seen, check, RANDOM_CHECK_LEN);
    session->random_any = true;
    return same;
}

static CK_RV run_random(struct session *session, CK_OBJECT_HANDLE key, const struct work *work)
{
    uint8_t drawn[RANDOM_CHECK_LEN + RANDOM_CHUNK];
    const size_t len = work->input.len; /* bytes to be mixed into output */
    CK_RV rv = P11(session, C_GenerateRandom, drawn, RANDOM_CHECK_LEN + len);

    (void)key;
    if (rv == CKR_OK && random_repeats(session, drawn)) {
        *work->repeats = true;
        rv = session_saw(session, "C_GenerateRandom (repeats)", CKR_RANDOM_NO_RNG);
    }
    for (size_t i = 0; rv == CKR_OK && i < len; i++)
        work->output[i] ^= drawn[RANDOM_CHECK_LEN + i];
    secret_wipe(drawn, sizeof(drawn));
    return rv;
}

static int random_chunk(struct token *token, uint8_t *ret, size_t len, struct kms_error *err)
{
    bool repeats = false;
    const struct work work = {
        .run = run_random, .input = { NULL, len }, .output = ret, .repeats = &repeats
    };

    if (getentropy(ret, len) != 0)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "the kernel gives no random bytes");
    const int drawn = token_run(token, &work, err);
    if (repeats)
        atomic_store(&token->random_stuck, true); /* for good: an operator has to look */
    return drawn;
}

int token_random(struct token *token, uint8_t *ret, size_t len, struct kms_error *err)
{
    for (size_t done = 0; done < len; done += RANDOM_CHUNK) {
        const size_t left = len - done;

        if (atomic_load_explicit(&token->random_stuck, memory_order_relaxed))
            return kms_fail_detail(err, KMS_ERR_KEY_UNAVAILABLE,
                                   "the token's random generator repeats itself");
        if (random_chunk(token, ret + done, left < RANDOM_CHUNK ? left : RANDOM_CHUNK, err) < 0)
            return -1;
    }
    return 0;
}

/* AES-GCM */

static CK_RV run_encrypt(struct session *session, CK_OBJECT_HANDLE key, const struct work *work)
{
    return gcm_seal(session, key, work->iv, work->aad, work->input, work->output);
}

int token_encrypt(struct token *token, const struct token_key *key, const uint8_t iv[TOKEN_IV_LEN],
                  struct span aad, struct span plain, uint8_t *ret, struct kms_error *err)
{
    assert(plain.len > 0 && plain.len <= TOKEN_GCM_MAX);
    const struct work work = { .id = &key->id,
                               .canary = key->canary,
                               .run = run_encrypt,
                               .iv = iv,
                               .aad = aad,
                               .input = plain,
                               .output = ret };

    if (atomic_load_explicit(&token->random_stuck, memory_order_relaxed))
        return kms_fail_detail(err, KMS_ERR_KEY_UNAVAILABLE,
                               "the token's random generator repeats itself");
    return token_run(token, &work, err);
}

static CK_RV run_decrypt(struct session *session, CK_OBJECT_HANDLE key, const struct work *work)
{
    return gcm_open(session, key, work->iv, work->aad, work->input, work->output);
}

int token_decrypt(struct token *token, const struct token_key *key, const uint8_t iv[TOKEN_IV_LEN],
                  struct span aad, struct span sealed, struct secret *ret, struct kms_error *err)
{
    AUTO(secret) plain = { 0 };

    assert(sealed.len > TOKEN_TAG_LEN && sealed.len <= TOKEN_GCM_MAX + TOKEN_TAG_LEN);
    if (secret_new(&plain, sealed.len, err) < 0)
        return -1;
    const struct work work = { .id = &key->id,
                               .canary = key->canary,
                               .opens = true,
                               .run = run_decrypt,
                               .iv = iv,
                               .aad = aad,
                               .input = sealed,
                               .output = plain.ptr };
    if (token_run(token, &work, err) < 0)
        return -1;
    secret_shorten(&plain, sealed.len - TOKEN_TAG_LEN);
    *ret = secret_take(&plain);
    return 0;
}

/* HMAC */

static CK_RV run_hmac(struct session *session, CK_OBJECT_HANDLE key, const struct work *work)
{
    CK_MECHANISM mechanism = { CKM_SHA256_HMAC, NULL, 0 };
    CK_ULONG len = TOKEN_HMAC_LEN;
    CK_RV rv = P11(session, C_SignInit, &mechanism, key);

    if (rv != CKR_OK)
        return rv;
    rv = P11(session, C_Sign, (CK_BYTE_PTR)work->input.ptr, work->input.len, work->output, &len);
    if (rv == CKR_OK && len != TOKEN_HMAC_LEN)
        return session_saw(session, "C_Sign (length)", CKR_DEVICE_ERROR);
    return rv;
}

int token_hmac(struct token *token, const struct uuid *id, struct span data,
               uint8_t ret[TOKEN_HMAC_LEN], struct kms_error *err)
{
    static const uint8_t nothing[1]; /* some modules refuse a NULL pointer, even to no bytes */
    const struct work work = { .id = id,
                               .run = run_hmac,
                               .input = span_of(data.len ? data.ptr : nothing, data.len),
                               .output = ret };

    return token_run(token, &work, err);
}

/* Health */

static CK_RV run_probe(struct session *session, CK_OBJECT_HANDLE key, const struct work *work)
{
    struct kms_error sick = { 0 };

    (void)key;
    if (probe_health(work->probe, session, &sick) == 0)
        return CKR_OK;
    if (ck_class(session->rv) == RV_CIPHERTEXT) /* of its own making: the token is to blame */
        return session_saw(session, "health key", CKR_DEVICE_ERROR);
    return session->rv;
}

int token_probe(struct token *token, struct kms_error *err)
{
    const struct work work = { .run = run_probe, .probe = &token->probe };

    if (atomic_load(&token->random_stuck))
        return kms_fail_detail(err, KMS_ERR_KEY_UNAVAILABLE,
                               "the token's random generator repeats itself");
    if (token_run(token, &work, err) < 0) {
        token_trip(token); /* where nothing else does: recovery makes the health key anew */
        return -1;
    }
    return 0;
}
