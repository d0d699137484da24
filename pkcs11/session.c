#include "pkcs11/session.h"

#include <assert.h>
#include <stdlib.h>

#define SESSION_FLAGS (CKF_SERIAL_SESSION | CKF_RW_SESSION)

CK_RV session_heard(struct session *session, const char *function, CK_RV rv)
{
    session->function = function;
    session->rv = rv;
    /* one writer: a plain load and store is enough, and cheaper than an atomic addition */
    atomic_store_explicit(&session->calls,
                          atomic_load_explicit(&session->calls, memory_order_relaxed) + 1,
                          memory_order_relaxed);
    return rv;
}

CK_RV session_saw(struct session *session, const char *function, CK_RV rv)
{
    const enum ck_class class = rv == CKR_OK ? RV_OK : ck_class(rv);

    /* doubtful answers are counted by who judges them */
    if (class != RV_OK && class != RV_CIPHERTEXT && class != RV_DOUBT)
        atomic_fetch_add_explicit(&session->errors, 1, memory_order_relaxed);
    return session_heard(session, function, rv);
}

int session_fail(const struct session *session, struct kms_error *err)
{
    return ck_fail(err, session->function, session->rv);
}

static CK_RV open_handle(const struct module *module, CK_SESSION_HANDLE *ret)
{
    return module->list->C_OpenSession(module->slot, SESSION_FLAGS, NULL, NULL, ret);
}

int session_open(struct session *session, const struct module *module, struct kms_error *err)
{
    session->module = module;
    if (session_saw(session, "C_OpenSession", open_handle(module, &session->handle)) != CKR_OK) {
        session->handle = CK_INVALID_HANDLE;
        session->broken = true;
        return session_fail(session, err);
    }
    session->broken = false;
    return 0;
}

void session_close(struct session *session)
{
    if (session->handle != CK_INVALID_HANDLE)
        (void)session->module->list->C_CloseSession(session->handle); /* gone either way */
    session->handle = CK_INVALID_HANDLE;
}

int pool_open(struct pool *ret, const struct module *module, unsigned count, struct kms_error *err)
{
    assert(count > 0);
    struct session *const all = calloc(count, sizeof(*all));
    if (all == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "no memory for %u sessions", count);

    ret->module = module;
    ret->all = all;
    (void)pthread_mutex_init(&ret->mutex, NULL);
    (void)pthread_cond_init(&ret->returned, NULL);
    while (ret->count < count) {
        struct session *const session = &all[ret->count];

        if (session_open(session, module, err) < 0) {
            if (ret->count == 0 || session->rv != CKR_SESSION_COUNT)
                return -1;
            kms_error_clear(err); /* a smaller pool serves too */
            break;
        }
        session->next_idle = ret->idle;
        ret->idle = session;
        ret->count++;
    }
    return 0;
}

void pool_close(struct pool *pool)
{
    if (pool->all == NULL)
        return;
    pool_close_retired(pool);
    for (unsigned i = 0; i < pool->count; i++)
        session_close(&pool->all[i]);
    (void)pthread_cond_destroy(&pool->returned);
    (void)pthread_mutex_destroy(&pool->mutex);
    free(pool->all);
    pool->all = NULL;
}

struct session *pool_take(struct pool *pool)
{
    (void)pthread_mutex_lock(&pool->mutex);
    while (pool->idle == NULL)
        (void)pthread_cond_wait(&pool->returned, &pool->mutex);
    struct session *const session = pool->idle;
    pool->idle = session->next_idle;
    (void)pthread_mutex_unlock(&pool->mutex);
    return session;
}

void pool_give(struct pool *pool, struct session *session)
{
    (void)pthread_mutex_lock(&pool->mutex);
    session->next_idle = pool->idle;
    pool->idle = session;
    (void)pthread_cond_signal(&pool->returned);
    (void)pthread_mutex_unlock(&pool->mutex);
}

/* False when no room is left until somebody closes what is retired. */
static bool retire(struct pool *pool, CK_SESSION_HANDLE handle)
{
    bool room = true;

    if (handle == CK_INVALID_HANDLE)
        return true;
    (void)pthread_mutex_lock(&pool->mutex);
    room = pool->retired_count < POOL_RETIRED_MAX;
    if (room)
        pool->retired[pool->retired_count++] = handle;
    (void)pthread_mutex_unlock(&pool->mutex);
    return room;
}

bool session_replace(struct pool *pool, struct session *session)
{
    CK_SESSION_HANDLE fresh = CK_INVALID_HANDLE;

    session->broken = true;
    if (!retire(pool, session->handle)) {
        (void)session_saw(session, "C_CloseSession (too many to close)", CKR_SESSION_COUNT);
        return false;
    }
    session->handle = CK_INVALID_HANDLE;
    if (session_saw(session, "C_OpenSession", open_handle(pool->module, &fresh)) != CKR_OK)
        return false;
    session->handle = fresh;
    session->broken = false;
    atomic_fetch_add_explicit(&pool->replaced, 1, memory_order_relaxed);
    return true;
}

void pool_close_retired(struct pool *pool)
{
    (void)pthread_mutex_lock(&pool->mutex);
    for (unsigned i = 0; i < pool->retired_count; i++)
        (void)pool->module->list->C_CloseSession(pool->retired[i]); /* gone either way */
    pool->retired_count = 0;
    (void)pthread_mutex_unlock(&pool->mutex);
}

void pool_shut(struct pool *pool)
{
    pool_close_retired(pool);
    for (unsigned i = 0; i < pool->count; i++)
        session_close(&pool->all[i]);
}

int pool_reopen(struct pool *pool, struct kms_error *err)
{
    pool_close_retired(pool);
    for (unsigned i = 0; i < pool->count; i++) {
        session_close(&pool->all[i]);
        if (session_open(&pool->all[i], pool->module, err) < 0)
            return -1;
        atomic_fetch_add_explicit(&pool->replaced, 1, memory_order_relaxed);
    }
    return 0;
}
