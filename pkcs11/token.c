#include "pkcs11/state.h"

#include <stdlib.h>

#include "hsmkms/base/clock.h"

/* Opening */

static int copy_text(char **ret, const char *text, struct kms_error *err)
{
    *ret = strdup(text ? text : "");
    if (*ret == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "no memory for a setting");
    return 0;
}

static int copy_config(struct token *token, const struct token_config *config,
                       struct kms_error *err)
{
    token->sessions = config->sessions ? config->sessions : 1;
    token->copies_max = config->copies;
    token->call_time_ms = config->call_time_ms;
    token->accept_extractable = config->accept_extractable;
    if (copy_text(&token->module_path, config->module, err) < 0 ||
        copy_text(&token->uri, config->uri, err) < 0 ||
        copy_text(&token->init_args, config->init_args, err) < 0 ||
        copy_text(&token->pin_file, config->pin_file, err) < 0 ||
        copy_text(&token->state_dir, config->state_dir, err) < 0 ||
        copy_text(&token->name, config->name, err) < 0)
        return -1;
    token->login.pin_file = token->pin_file;
    token->login.state_dir = token->state_dir;
    token->login.name = token->name;
    return 0;
}

/* A waiting writer goes before new readers: else the data plane would starve key creation. */
static void lock_init(pthread_rwlock_t *lock)
{
    pthread_rwlockattr_t how;

    (void)pthread_rwlockattr_init(&how);
    (void)pthread_rwlockattr_setkind_np(&how, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    (void)pthread_rwlock_init(lock, &how);
    (void)pthread_rwlockattr_destroy(&how);
}

/* Taken for a row of calls, and again by each of them. */
static void turn_init(pthread_mutex_t *turn)
{
    pthread_mutexattr_t how;

    (void)pthread_mutexattr_init(&how);
    (void)pthread_mutexattr_settype(&how, PTHREAD_MUTEX_RECURSIVE);
    (void)pthread_mutex_init(turn, &how);
    (void)pthread_mutexattr_destroy(&how);
}

/*
 * SoftHSM's files are guarded before it reads them. A module says what it is only after it was
 * started, so one that does not look like SoftHSM by its name and is, is started twice.
 */
static int start_module(struct token *token, struct kms_error *err)
{
    struct module *const module = &token->module;

    if (module_load(module, token->module_path, token->init_args, token->uri, err) < 0)
        return -1;
    if (strstr(token->module_path, "softhsm") &&
        guard_enter(&token->guard, token->state_dir, err) < 0)
        return -1;
    if (module_start(module, err) < 0)
        return -1;
    if (module->profile->guarded && !token->guard.on) {
        module_stop(module);
        if (guard_enter(&token->guard, token->state_dir, err) < 0 || module_start(module, err) < 0)
            return -1;
    }
    return module_find_token(module, err);
}

/* Two draws on one session; the second one is compared with the first. */
static int test_random(struct token *token, struct kms_error *err)
{
    uint8_t drawn[2];

    for (size_t i = 0; i < ARRAY_LEN(drawn); i++)
        if (token_random(token, &drawn[i], 1, err) < 0) {
            if (!atomic_load(&token->random_stuck))
                return -1;
            kms_error_clear(err);
            return kms_fail(err, KMS_ERR_TOKEN_UNSUITABLE,
                            "the token's random generator repeats itself");
        }
    return 0;
}

static int open_all(struct token *token, const struct token_config *config, struct kms_error *err)
{
    if (copy_config(token, config, err) < 0 || start_module(token, err) < 0 ||
        cache_open(&token->cache, token->copies_max, err) < 0 || token_connect(token, err) < 0)
        return -1;
    if (pool_open(&token->pool, &token->module, token->sessions, err) < 0)
        return -1;
    return test_random(token, err);
}

int token_open(const struct token_config *config, struct token **ret, struct kms_error *err)
{
    struct token *const token = calloc(1, sizeof(*token));

    if (token == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "no memory for a token");
    lock_init(&token->lock);
    (void)pthread_mutex_init(&token->maker, NULL);
    turn_init(&token->turn);
    if (open_all(token, config, err) < 0) {
        token_close(token);
        return -1;
    }
    *ret = token;
    return 0;
}

void token_close(struct token *token)
{
    if (token == NULL)
        return;
    pool_close(&token->pool);
    if (token->module.list) {
        session_close(&token->manage);
        session_close(&token->owner); /* the last one, which ends the login */
        module_stop(&token->module);
    }
    cache_close(&token->cache);
    guard_close(&token->guard);
    (void)pthread_mutex_destroy(&token->turn);
    (void)pthread_rwlock_destroy(&token->lock);
    (void)pthread_mutex_destroy(&token->maker);
    free(token->module_path);
    free(token->uri);
    free(token->init_args);
    free(token->pin_file);
    free(token->state_dir);
    free(token->name);
    free(token);
}

/* Upkeep */

void token_tick(struct token *token)
{
    struct kms_error err = { 0 };

    /* also the moment for a probe that is due, when no call comes to make it */
    if (token_pass(token, &err) < 0 || token_alone(token, WAIT_BRIEFLY, &err) < 0)
        return;
    copy_recheck(&token->cache, &token->manage, &token->owner);
    token_alone_done(token, false);
}

/* Status */

static void text_of(char *ret, const CK_UTF8CHAR *padded, size_t len)
{
    while (len && (padded[len - 1] == ' ' || padded[len - 1] == '\0'))
        len--;
    memcpy(ret, padded, len);
    ret[len] = '\0';
}

static void add_session(const struct token *token, struct session *session, int64_t now_us,
                        struct token_status *ret)
{
    const int64_t since_us = atomic_load_explicit(&session->since_us, memory_order_relaxed);

    ret->calls += atomic_load_explicit(&session->calls, memory_order_relaxed);
    ret->errors += atomic_load_explicit(&session->errors, memory_order_relaxed);
    if (since_us && now_us - since_us > (int64_t)token->call_time_ms * 1000 &&
        now_us - since_us > ret->slowest_us)
        ret->slowest_us = now_us - since_us;
}

void token_status(struct token *token, struct token_status *ret)
{
    const struct module *const module = &token->module;
    const int64_t now_us = clock_mono_us();

    *ret = (struct token_status){ .profile = "",
                                  .available = !atomic_load(&token->breaker.open) &&
                                               !atomic_load(&token->random_stuck),
                                  .sessions = token->pool.count,
                                  .sessions_replaced = atomic_load(&token->pool.replaced) };
    add_session(token, &token->owner, now_us, ret);
    add_session(token, &token->manage, now_us, ret);
    for (unsigned i = 0; i < token->pool.count; i++)
        add_session(token, &token->pool.all[i], now_us, ret);

    /* not waited for behind a call that hangs: what it guards is then left at zero */
    if (pthread_rwlock_tryrdlock(&token->lock) != 0)
        return;
    ret->profile = module->profile->name;
    text_of(ret->label, module->token.label, sizeof(module->token.label));
    text_of(ret->manufacturer, module->token.manufacturerID, sizeof(module->token.manufacturerID));
    text_of(ret->model, module->token.model, sizeof(module->token.model));
    text_of(ret->serial, module->token.serialNumber, sizeof(module->token.serialNumber));
    text_of(ret->library, module->info.libraryDescription, sizeof(module->info.libraryDescription));
    ret->enforces_extraction = token->probe.enforces_extraction;
    ret->copies = token->probe.copies && token->cache.limit > 0;
    ret->keys = token->cache.keys;
    ret->keys_copied = token->cache.copied;
    ret->objects_ignored = token->cache.ignored;
    (void)pthread_rwlock_unlock(&token->lock);
}

int64_t token_busy_us(struct token *token)
{
    const int64_t now_us = clock_mono_us();
    int64_t longest_us = 0;

    for (unsigned i = 0; i < token->pool.count; i++) {
        const int64_t since_us =
            atomic_load_explicit(&token->pool.all[i].since_us, memory_order_relaxed);
        if (since_us && now_us - since_us > longest_us)
            longest_us = now_us - since_us;
    }
    return longest_us;
}
