#pragma once

/*
 * The inside of struct token, for the files of this folder.
 *
 * Locks, in the order they are taken: the pool's mutex is never held while the token's lock is
 * waited for. Shared lock: cryptographic calls on cached handles. Exclusive lock ("alone"):
 * everything that searches, makes or destroys objects, opens or closes sessions in bulk, or logs
 * in; it alone may use owner and manage. Waiting for it ends after call_time_ms, so that one hung
 * call cannot stop the others for ever. Who is alone holds maker and, inside it, the exclusive
 * lock; for a call that takes long it may step aside, keeping maker only: cryptographic calls go on
 * then, and because others wait for maker first, no waiting writer stops them.
 */

#include <stdatomic.h>

#include "pkcs11/guard.h"
#include "pkcs11/login.h"
#include "pkcs11/object.h"
#include "pkcs11/pair_probe.h"
#include "pkcs11/probe.h"
#include "pkcs11/token.h"

/* After the token failed twice, calls fail at once until a probe, made by one of them, succeeds. */
struct breaker {
    _Atomic bool open, probing;
    _Atomic bool restart; /* the module has to be started again, whatever its sessions say */
    _Atomic int64_t next_us;
    unsigned wait_s, failed; /* guarded by probing */
};

struct token {
    char *module_path, *uri, *init_args, *pin_file, *state_dir, *name;
    unsigned sessions, copies_max, call_time_ms;
    bool accept_extractable;

    struct module module;
    struct guard guard;
    struct login login;
    pthread_mutex_t maker; /* taken before the lock is taken exclusively */
    bool aside;            /* guarded by maker: the exclusive lock is given back for a while */
    pthread_rwlock_t lock; /* prefers writers */
    pthread_mutex_t turn;  /* recursive; guards nothing, saves a serial module's locks a fight */
    struct pool pool;
    struct session owner;  /* holds login, copies and health key; closed last */
    struct session manage; /* for searches, generation, destruction */
    struct cache cache;    /* guarded by lock */
    struct probe probe;    /* written alone */
    struct pair_memory pairs[TOKEN_KINDS][TOKEN_USES]; /* written alone */
    struct breaker breaker;
    _Atomic bool random_stuck; /* for good: nothing new is encrypted */
};

/* Fails fast while the breaker is open; makes the probe that closes it when one is due. */
CHECKED int token_pass(struct token *token, struct kms_error *err);
void token_trip(struct token *token);

/* For what must be done now, or for what may be done another time. */
enum patience { WAIT_LONG, WAIT_BRIEFLY };

/*
 * Takes the exclusive lock with a working manage session. Every successful call is followed by
 * token_alone_done(); failed: the manage session's last call went wrong, so it is replaced and,
 * if the token is no longer well, the breaker opens.
 */
CHECKED int token_alone(struct token *token, enum patience patience, struct kms_error *err);
void token_alone_done(struct token *token, bool failed);

/*
 * Steps aside for a long call on manage or owner that makes session objects or token objects, and
 * comes back. Failed to come back: a cryptographic call hangs; nothing may be done any more but
 * token_alone_done().
 */
void token_aside(struct token *token);
CHECKED int token_aside_done(struct token *token, struct kms_error *err);

/* Alone: a new manage session in place of the one that is there. */
CHECKED int token_renew_manage(struct token *token, struct kms_error *err);

/*
 * Exclusive lock held. Finds one key again, after a login if that was lost.
 *
 * Errors:  KEY_UNAVAILABLE
 */
CHECKED int token_rebind(struct token *token, const struct uuid *id, struct object **ret,
                         struct kms_error *err);

/* Everything after C_Initialize and the slot: sessions, login, probe, handles. */
CHECKED int token_connect(struct token *token, struct kms_error *err);

/* Exclusive lock held, breaker open: brings the token back, or says why not. */
CHECKED int token_recover(struct token *token, bool hard, struct kms_error *err);
