#include "hsmkms/api/facts.h"

#include <string.h>

#include "hsmkms/api/grants.h"
#include "hsmkms/keys/regions.h"

/* --- from where ------------------------------------------------------------------------------- */

static const char *given(const char *text)
{
    return text && text[0] ? text : NULL;
}

static void add_transport(const struct op_call *c, struct policy_context *ret)
{
    const struct api_call *const call = c->call;
    const struct api_client_cert *const cert = &call->client_cert;

    context_set(ret, AWS_SOURCE_IP, given(call->source_ip));
    context_set_bool(ret, AWS_SECURE_TRANSPORT, call->tls_version[0] != '\0');
    context_set(ret, AWS_USER_AGENT, given(call->user_agent));
    context_set(ret, AWS_REFERER, given(call->referer));
    context_set(ret, AWS_REQUESTED_REGION, c->keyring->region);
    context_set(ret, LISTENER_NAME, given(call->listener));
    if (!given(cert->spki))
        return;
    context_set(ret, CLIENT_CERT_SPKI, cert->spki);
    context_set(ret, CLIENT_CERT_SUBJECT, cert->subject);
    context_set_list(ret, CLIENT_CERT_SAN, cert->sans, cert->san_count);
}

/* --- parameters ------------------------------------------------------------------------------- */

/* JSON texts end with a NUL and have none inside: the door and the field tables see to it. */
static const char *text_of(struct span json_text)
{
    return (const char *)json_text.ptr;
}

static void add_encryption_context(const struct request_context *context, struct facts *ret)
{
    const struct context *const pairs = &context->pairs;

    for (size_t i = 0; i < pairs->count; i++) {
        ret->encryption_names[i] = text_of(pairs->pairs[i].name);
        ret->encryption[i] =
            (struct condition_pair){ text_of(pairs->pairs[i].name), text_of(pairs->pairs[i].value) };
    }
    if (pairs->count == 0)
        return;
    context_set_family(&ret->context, FAMILY_ENCRYPTION_CONTEXT, ret->encryption, pairs->count);
    context_set_list(&ret->context, KMS_ENCRYPTION_CONTEXT_KEYS, ret->encryption_names,
                     pairs->count);
}

static void add_request_tags(const struct tag_list *tags, struct facts *ret)
{
    const size_t count = tags->count < FACTS_TAGS_MAX ? tags->count : FACTS_TAGS_MAX;

    for (size_t i = 0; i < count; i++) {
        ret->tag_keys[i] = tags->items[i].tag_key;
        ret->request_tags[i] =
            (struct condition_pair){ tags->items[i].tag_key, tags->items[i].tag_value };
    }
    if (count == 0)
        return;
    context_set_family(&ret->context, FAMILY_REQUEST_TAG, ret->request_tags, count);
    context_set_list(&ret->context, AWS_TAG_KEYS, ret->tag_keys, count);
}

/* A parameter as its slot has it; one that was left out counts as its default. */
static void add_slot(const struct field *field, const json_t *value, const void *place,
                     struct policy_context *ret)
{
    if (value == NULL || json_is_null(value))
        context_set(ret, field->slot,
                    field->need == PRESET ? field->texts[0] : field->preset);
    else if (field->kind == FIELD_BOOL)
        context_set_bool(ret, field->slot, json_is_true(value));
    else if (field->kind == FIELD_INT)
        context_set_number(ret, field->slot, *(const int64_t *)place);
    else if (field->kind == FIELD_TIME)
        context_set_number(ret, field->slot, *(const int64_t *)place / MS_PER_SECOND);
    else if (field->kind == FIELD_STRINGS)
        context_set_list(ret, field->slot, ((const struct string_list *)place)->items,
                         ((const struct string_list *)place)->count);
    else
        context_set(ret, field->slot, json_string_value(value));
}

static void add_parameters(const struct op_call *c, enum op_side side, struct facts *ret)
{
    for (const struct field *field = c->op->request->fields; field->name; field++) {
        const void *const place = (const uint8_t *)c->head + field->offset;

        if (field->other_key != (side == SIDE_OTHER) && (field->slot || field->kind == FIELD_CONTEXT))
            continue;
        if (field->kind == FIELD_CONTEXT)
            add_encryption_context(place, ret);
        else if (field->kind == FIELD_TAGS)
            add_request_tags(place, ret);
        else if (field->slot)
            add_slot(field, json_object_get(c->call->parameters, field->name), place,
                     &ret->context);
        if (field->slot == KMS_MULTI_REGION && *(const bool *)place) /* a new key leads */
            context_set(&ret->context, KMS_MULTI_REGION_KEY_TYPE, "PRIMARY");
        if (field->kind == FIELD_CONTEXT && !ret->context.slots[KMS_ENCRYPTION_ALGORITHM].set)
            context_set(&ret->context, KMS_ENCRYPTION_ALGORITHM, "SYMMETRIC_DEFAULT");
    }
}

/* The name of the alias that the request used, also out of an ARN. */
static void add_request_alias(const struct op_call *c, enum op_side side, struct facts *ret)
{
    const char *const identifier = side == SIDE_KEY ? c->head->key_id : c->head->destination_id;
    const char *alias = identifier;

    if (identifier && strncmp(identifier, "arn:", 4) == 0) {
        alias = strstr(identifier, ":alias/");
        alias = alias ? alias + 1 : NULL;
    }
    if (alias == NULL || strncmp(alias, "alias/", 6) != 0 ||
        strlen(alias) >= sizeof(ret->request_alias))
        return;
    memcpy(ret->request_alias, alias, strlen(alias) + 1);
    context_set(&ret->context, KMS_REQUEST_ALIAS, ret->request_alias);
}

/* --- the key ---------------------------------------------------------------------------------- */

static void add_key_tags(const struct key *key, struct facts *ret)
{
    const size_t count = key->tag_count < FACTS_TAGS_MAX ? key->tag_count : FACTS_TAGS_MAX;

    for (size_t i = 0; i < count; i++)
        ret->resource_tags[i] =
            (struct condition_pair){ key->tags[i].tag_key, key->tags[i].tag_value };
    context_set_family(&ret->context, FAMILY_RESOURCE_TAG, ret->resource_tags, count);
}

static void add_key_aliases(const struct keyring *keyring, const struct key *key,
                            struct facts *ret)
{
    const size_t count = catalog_aliases(keyring_of(keyring, key)->catalog, NULL, &key->record.id,
                                         ret->aliases, FACTS_ALIASES_MAX);
    for (size_t i = 0; i < count; i++)
        ret->alias_names[i] = ret->aliases[i].name;
    context_set_list(&ret->context, KMS_RESOURCE_ALIASES, ret->alias_names, count);
}

/* role: of a multi-Region key; NULL: it is none. */
static void add_kind(const struct key_record *record, const char *role,
                     struct policy_context *context)
{
    context_set(context, KMS_KEY_ORIGIN, record->origin);
    context_set(context, KMS_KEY_SPEC, record->spec);
    context_set(context, KMS_KEY_USAGE, record->usage);
    context_set_bool(context, KMS_MULTI_REGION, role != NULL);
    context_set(context, KMS_MULTI_REGION_KEY_TYPE, role);
}

void facts_add_replica(const struct key *primary, struct facts *ret)
{
    add_kind(&primary->record, "REPLICA", &ret->context);
    facts_add_twins(ret);
}

void facts_add_key(const struct keyring *keyring, const struct key *key, bool aliases,
                   struct facts *ret)
{
    add_kind(&key->record, key->record.role, &ret->context);
    add_key_tags(key, ret);
    if (aliases)
        add_key_aliases(keyring, key, ret);
}

/* Deprecated names of the same facts; CreateKey can be told either. */
void facts_add_twins(struct facts *ret)
{
    static const struct {
        enum context_slot now, before;
    } twins[] = {
        { KMS_KEY_SPEC, KMS_CUSTOMER_MASTER_KEY_SPEC },
        { KMS_KEY_USAGE, KMS_CUSTOMER_MASTER_KEY_USAGE },
    };

    for (size_t i = 0; i < ARRAY_LEN(twins); i++) {
        struct policy_context *const context = &ret->context;
        const struct context_values *const before = &context->slots[twins[i].before];
        if (before->set)
            context_set(context, twins[i].now, before->one);
        else
            context_set(context, twins[i].before, context->slots[twins[i].now].one);
    }
}

void facts_gather(const struct op_call *c, enum op_side side, const struct key *key,
                  struct facts *ret)
{
    struct policy_context *const context = &ret->context;
    const bool two_keys = c->key && c->head->destination_id;

    memset(context, 0, sizeof(*context)); /* the rest is room */
    authorize_caller_context(&c->call->principal, c->now_ms, &ret->caller, context);
    add_transport(c, context);
    add_parameters(c, side, ret);
    grants_add_facts(c, ret);
    add_request_alias(c, side, ret);
    if (key) /* only identity policies can ask for aliases, so root is spared the search */
        facts_add_key(c->keyring, key, c->call->principal.identity, ret);
    facts_add_twins(ret);
    if (key || c->alias_arn.text[0]) {
        context_set(context, AWS_RESOURCE_ACCOUNT, c->keyring->account);
        context_set(context, KMS_CALLER_ACCOUNT, c->call->principal.account);
    }
    if (two_keys)
        context_set_bool(context, KMS_RE_ENCRYPT_ON_SAME_KEY,
                         c->other && uuid_equal(&c->key->record.id, &c->other->record.id));
}
