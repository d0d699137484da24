#include "hsmkms/doors/transit_call.h"

/* sys: health and seal status. auth: what a client may know of its token, AppRole logins. */

#define OUR_VERSION "1.15.0-hsmkms" /* clients ask for features by the number in front */

/* --- sys -------------------------------------------------------------------------------------- */

/* The status that a request wants to see in place of 503, if it is one. */
static int sealed_status(const struct transit_call *t)
{
    struct span value;
    int status = 0;

    if (!transit_query_find(t->path.query, "sealedcode", &value) || value.len != 3)
        return 503;
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9')
            return 503;
        status = status * 10 + (value.ptr[i] - '0');
    }
    return status >= 200 && status < 600 ? status : 503;
}

/* These answers have no envelope. */
static int answer_bare(struct transit_call *t, int status, json_t *tree, struct kms_error *err)
{
    if (transit_bare(tree, &t->base.answer, err) < 0)
        return -1;
    t->base.answer.status = status;
    return 0;
}

static int prepare_health(struct transit_call *t, const json_t *body, struct kms_error *err)
{
    const bool good = door_health_is_good(t->door->health);

    (void)body;
    return answer_bare(t, good ? 200 : sealed_status(t),
                       json_pack("{s:b, s:b, s:b, s:b, s:s, s:s, s:I, s:s, s:s, s:s}",
                                 "initialized", 1, "sealed", !good, "standby", 0,
                                 "performance_standby", 0, "replication_performance_mode",
                                 "disabled", "replication_dr_mode", "disabled", "server_time_utc",
                                 (json_int_t)(clock_wall_ms(t->door->clock) / MS_PER_SECOND),
                                 "version", OUR_VERSION, "cluster_name", "hsmkms", "cluster_id",
                                 uuid_format(&t->door->keyring->installation).text),
                       err);
}

static int prepare_seal_status(struct transit_call *t, const json_t *body, struct kms_error *err)
{
    const bool good = door_health_is_good(t->door->health);

    (void)body;
    return answer_bare(t, 200,
                       json_pack("{s:s, s:b, s:b, s:i, s:i, s:i, s:s}", "type", "pkcs11",
                                 "initialized", 1, "sealed", !good, "t", 1, "n", 1, "progress", 0,
                                 "version", OUR_VERSION),
                       err);
}

/* --- tokens ----------------------------------------------------------------------------------- */

static int keep(struct transit_call *t, json_t *made, struct kms_error *err)
{
    t->base.call.result = made;
    return made ? 0 : kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for an answer");
}

static int write_kept(const struct transit_call *t, json_t **ret, struct kms_error *err)
{
    (void)err;
    *ret = json_incref(t->base.call.result);
    return 0;
}

/* Seconds from one time to another; 0 where there is no end. */
static json_int_t seconds(int64_t from_ms, int64_t to_ms)
{
    return to_ms > from_ms ? (to_ms - from_ms) / MS_PER_SECOND : 0;
}

/* A token is shown by its id: whoever asks has it. */
static int prepare_lookup(struct transit_call *t, const json_t *body, struct kms_error *err)
{
    const struct door_token_facts *const facts = &t->facts;
    const struct uuid_text id = uuid_format(&facts->id);
    const char *const shown = t->token.len ? id.text : "";
    json_t *const until =
        facts->expires_ms ? json_string(clock_iso8601(facts->expires_ms).text) : json_null();

    (void)body;
    return keep(
        t,
        json_pack("{s:s, s:s, s:[s], s:s, s:n, s:s, s:i, s:b, s:I, s:I, s:o, s:I, s:i, s:s, s:s, "
                  "s:b}",
                  "id", shown, "accessor", shown, "policies", "default", "path",
                  facts->kind == DOOR_LOGIN ? "auth/approle/login" : "auth/token/create", "meta",
                  "display_name", t->base.call.principal.arn, "num_uses", 0, "orphan", 1,
                  "creation_time", (json_int_t)(facts->created_ms / MS_PER_SECOND), "creation_ttl",
                  seconds(facts->created_ms, facts->expires_ms), "expire_time", until, "ttl",
                  seconds(clock_wall_ms(t->door->clock), facts->expires_ms), "explicit_max_ttl", 0,
                  "entity_id", "", "type", "service", "renewable", facts->kind == DOOR_LOGIN),
        err);
}

static json_t *auth_of(const struct transit_call *t, struct span token,
                       const struct door_token_facts *facts)
{
    return json_pack("{s:s%, s:s, s:[s], s:[s], s:n, s:I, s:b, s:s, s:s, s:b}", "client_token",
                     (const char *)token.ptr, token.len, "accessor", uuid_format(&facts->id).text,
                     "policies", "default", "token_policies", "default", "metadata",
                     "lease_duration", (json_int_t)t->door->login_s, "renewable", 1, "entity_id",
                     "", "token_type", "service", "orphan", 1);
}

static int prepare_renew(struct transit_call *t, const json_t *body, struct kms_error *err)
{
    struct door_token_facts facts;

    (void)body;
    if (door_token_renew(t->door->iam, t->token, t->door->login_s, &facts, err) < 0)
        return -1;
    return keep(t, auth_of(t, t->token, &facts), err);
}

/* Everything that does not hold has one text. */
static int prepare_login(struct transit_call *t, const json_t *body, struct kms_error *err)
{
    struct door_token_facts facts;
    struct span role_id, secret_id;
    AUTO(secret) token = { 0 };

    if (transit_string(body, "role_id", &role_id, err) < 0 ||
        transit_string(body, "secret_id", &secret_id, err) < 0)
        return -1;
    if (door_token_login(t->door->iam, role_id, secret_id, t->door->login_s, &token, &facts, err) <
        0) {
        if (err->code != KMS_ERR_UNRECOGNIZED_CLIENT)
            return -1;
        kms_error_clear(err);
        return kms_fail(err, KMS_ERR_VALIDATION, "invalid role or secret ID");
    }
    return keep(t, auth_of(t, secret_span(&token), &facts), err);
}

/* clang-format off */
const struct transit_route transit_sys_routes[] = {
    /* path                     in mount  methods                     access         query  answers                prepare              write */
    { "sys/health",             false,    TRANSIT_GET | TRANSIT_HEAD, TRANSIT_OPEN,  true,  &transit_answers,      prepare_health,      NULL },
    { "sys/seal-status",        false,    TRANSIT_GET,                TRANSIT_OPEN,  false, &transit_answers,      prepare_seal_status, NULL },
    { "auth/token/lookup-self", false,    TRANSIT_GET,                TRANSIT_KNOWN, false, &transit_answers,      prepare_lookup,      write_kept },
    { "auth/token/renew-self",  false,    TRANSIT_WRITE,              TRANSIT_KNOWN, false, &transit_answers_auth, prepare_renew,       write_kept },
    { "auth/approle/login",     false,    TRANSIT_WRITE,              TRANSIT_OPEN,  false, &transit_answers_auth, prepare_login,       write_kept },
    { 0 },
};
/* clang-format on */
