#include "pkcs11/side_token.h"

#include <p11-kit/uri.h>
#include <stdlib.h>

#include "pkcs11/state.h"

struct side_token {
    char *module_path, *uri, *pin_file, *state_dir;
    struct module module;
    struct guard guard;
    struct login login;
    struct session session; /* stays open: the login ends with the last session */
    pthread_mutex_t lock;   /* session, login, guard */
};

/* A PIN comes from its file alone, and a key has a name. */
static const char *wrong_with(P11KitUri *uri)
{
    if (p11_kit_uri_any_unrecognized(uri))
        return "has an attribute that is not known";
    if (p11_kit_uri_get_pin_value(uri) || p11_kit_uri_get_pin_source(uri))
        return "brings a PIN, which belongs into its file";
    if (p11_kit_uri_get_module_name(uri) || p11_kit_uri_get_module_path(uri))
        return "names a module, which is a setting of its own";
    if (!p11_kit_uri_get_attribute(uri, CKA_LABEL) && !p11_kit_uri_get_attribute(uri, CKA_ID))
        return "names no object= and no id=";
    return NULL;
}

static int check_uri(const char *text, struct kms_error *err)
{
    P11KitUri *const uri = p11_kit_uri_new();
    const char *wrong = "is malformed";

    if (uri && p11_kit_uri_parse(text, P11_KIT_URI_FOR_ANY, uri) == P11_KIT_URI_OK)
        wrong = wrong_with(uri);
    if (uri)
        p11_kit_uri_free(uri);
    return wrong ? kms_fail_detail(err, KMS_ERR_CONFIG, "the key's URI %s", wrong) : 0;
}

/* By what the token says of itself too: two modules may lead to one token. */
static bool is_same_token(const struct module *a, const struct module *b)
{
    const CK_TOKEN_INFO *const one = &a->token, *const other = &b->token;

    if (a->list == b->list && a->slot == b->slot)
        return true;
    return memcmp(one->label, other->label, sizeof(one->label)) == 0 &&
           memcmp(one->manufacturerID, other->manufacturerID, sizeof(one->manufacturerID)) == 0 &&
           memcmp(one->model, other->model, sizeof(one->model)) == 0 &&
           memcmp(one->serialNumber, other->serialNumber, sizeof(one->serialNumber)) == 0;
}

static int copy_config(struct side_token *side, const struct side_token_config *config,
                       struct kms_error *err)
{
    if (config->module[0] != '/')
        return kms_fail_detail(err, KMS_ERR_CONFIG,
                               "the module of the key needs its whole path, not '%s'",
                               config->module);
    side->module_path = strdup(config->module);
    side->uri = strdup(config->uri);
    side->pin_file = strdup(config->pin_file);
    side->state_dir = strdup(config->state_dir);
    if (!side->module_path || !side->uri || !side->pin_file || !side->state_dir)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "no memory for a token");
    side->login =
        (struct login){ .name = "", .pin_file = side->pin_file, .state_dir = side->state_dir };
    return check_uri(side->uri, err);
}

/* A user of the module like any other token: nobody ends it from here on, see users.h. */
static int start(struct side_token *side, struct token *master, struct kms_error *err)
{
    struct module *const module = &side->module;

    if (module_load(module, side->module_path, NULL, side->uri, err) < 0)
        return -1;
    if (strstr(side->module_path, "softhsm") &&
        guard_enter(&side->guard, side->state_dir, err) < 0)
        return -1;
    if (module_start(module, err) < 0 || module_find_token(module, err) < 0)
        return -1;
    if (master && is_same_token(module, &master->module))
        return kms_fail_detail(err, KMS_ERR_CONFIG,
                               "%s is the token of the master keys; this key needs another one",
                               side->uri);
    return 0;
}

/* See login_guarded() of the master token. */
static int log_in(struct side_token *side, struct kms_error *err)
{
    struct kms_error after = { 0 };

    if (guard_before_login(&side->guard, &side->module, err) < 0)
        return -1;
    const int in = login_user(&side->login, &side->session, err);
    const int whole = guard_after_login(&side->guard, in < 0 ? &after : err);
    guard_leave(&side->guard);
    return in < 0 || whole < 0 ? -1 : 0;
}

int side_token_open(const struct side_token_config *config, struct side_token **ret,
                    struct kms_error *err)
{
    struct side_token *const side = calloc(1, sizeof(*side));

    if (side == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "no memory for a token");
    (void)pthread_mutex_init(&side->lock, NULL); /* cannot fail with default attributes */
    if (copy_config(side, config, err) < 0 || start(side, config->master, err) < 0 ||
        session_open(&side->session, &side->module, err) < 0 || log_in(side, err) < 0) {
        side_token_close(side);
        return -1;
    }
    *ret = side;
    return 0;
}

static int renew(struct side_token *side, struct kms_error *err)
{
    bool in = false;

    if (login_state(&side->session, &in) != CKR_OK) {
        session_close(&side->session);
        if (session_open(&side->session, &side->module, err) < 0)
            return -1;
        in = false;
    }
    return in ? 0 : log_in(side, err);
}

int side_token_ready(struct side_token *side, struct kms_error *err)
{
    (void)pthread_mutex_lock(&side->lock);
    const int ready = renew(side, err);
    (void)pthread_mutex_unlock(&side->lock);
    return ready;
}

void side_token_close(struct side_token *side)
{
    if (side == NULL)
        return;
    if (side->module.list) {
        session_close(&side->session);
        module_stop(&side->module); /* unless C_Initialize was the master token's */
    }
    guard_close(&side->guard);
    (void)pthread_mutex_destroy(&side->lock);
    free(side->module_path);
    free(side->uri);
    free(side->pin_file);
    free(side->state_dir);
    free(side);
}
