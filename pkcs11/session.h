#pragma once

/*
 * Sessions and the pool of them. A session is used by one thread at a time: two threads on one
 * session crash some modules. Sessions are opened at start and stay; after an answer that leaves
 * doubt a session is replaced, and the old one is closed only while the token's exclusive lock is
 * held, because closing beside running calls crashes some modules too.
 *
 * Threads: pool_take, pool_give, session_replace any; the rest says.
 */

#include <pthread.h>
#include <stdatomic.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#include "pkcs11/ck_error.h"
#include "pkcs11/module.h"

#define RANDOM_CHECK_LEN 32

struct session {
    const struct module *module;
    CK_SESSION_HANDLE handle;
    bool broken;                           /* to be replaced before the next use */
    const char *function;                  /* last C_ function called, for errors */
    CK_RV rv;                              /* and its answer */
    uint8_t random_seen[RANDOM_CHECK_LEN]; /* last check block of the token's generator */
    bool random_any;
    _Atomic int64_t since_us; /* 0: idle */
    _Atomic uint64_t calls, errors;
    struct session *next_idle;
};

/*
 * What a module allocates in a call and never frees is not ours to report: SoftHSM2 2.6.1 loses
 * some 60 bytes for each Ed25519 signature and 240 for each ECDH derivation.
 */
#ifdef __SANITIZE_ADDRESS__
static inline CK_RV leaks_are_ours(CK_RV rv)
{
    __lsan_enable();
    return rv;
}
#define leaks_are_foreign() __lsan_disable()
#else
#define leaks_are_foreign() ((void)0)
#define leaks_are_ours(rv)  (rv)
#endif

#define MODULE_CALL(session, name, ...)                                                            \
    (leaks_are_foreign(),                                                                          \
     leaks_are_ours((session)->module->list->name((session)->handle, __VA_ARGS__)))

/* Calls a function of the module on this session, and remembers what was called. */
#define P11(session, name, ...)                                                                    \
    session_saw(session, #name, MODULE_CALL(session, name, __VA_ARGS__))

/* The same where a refusal is the good answer: not counted as an error. */
#define P11_TRY(session, name, ...)                                                                \
    session_heard(session, #name, MODULE_CALL(session, name, __VA_ARGS__))

CK_RV session_saw(struct session *session, const char *function, CK_RV rv);
CK_RV session_heard(struct session *session, const char *function, CK_RV rv);

/* Fills err from the last call of the session; returns -1. */
int session_fail(const struct session *session, struct kms_error *err);

/* Opens a read-write session. */
CHECKED int session_open(struct session *session, const struct module *module,
                         struct kms_error *err);

/* Exclusive lock held. Closing one that is not open is fine. */
void session_close(struct session *session);

#define POOL_RETIRED_MAX 256

struct pool {
    const struct module *module;
    struct session *all;
    unsigned count;
    pthread_mutex_t mutex; /* guards what follows */
    pthread_cond_t returned;
    struct session *idle;
    unsigned retired_count;
    CK_SESSION_HANDLE retired[POOL_RETIRED_MAX];
    _Atomic unsigned replaced;
};

/* Opens count sessions; fewer, but one at least, when the token allows no more. */
CHECKED int pool_open(struct pool *ret, const struct module *module, unsigned count,
                      struct kms_error *err);

/* Every session is back; exclusive lock held. Accepts the zero state. */
void pool_close(struct pool *pool);

/* Waits for a session. */
struct session *pool_take(struct pool *pool);
void pool_give(struct pool *pool, struct session *session);

/*
 * Opens a new session in place of this one and retires the old one. False: the session stays
 * broken, its rv says why, and the next user of it tries again.
 */
bool session_replace(struct pool *pool, struct session *session);

/* Exclusive lock held: closes every session; pool_reopen() opens them again. */
void pool_shut(struct pool *pool);

/* Exclusive lock held: closes what was retired. */
void pool_close_retired(struct pool *pool);

/* Exclusive lock held: forgets every session, whatever became of it, and opens new ones. */
CHECKED int pool_reopen(struct pool *pool, struct kms_error *err);
