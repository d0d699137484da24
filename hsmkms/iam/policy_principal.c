#include "hsmkms/iam/policy_parts.h"

/* The principal element: who is named, and does it name this caller.
 * Source: AWS IAM User Guide, AWS JSON policy elements: Principal. */

/* AWS's words. */
static const char no_principal[] = "Policy contains a statement with no principal.";
static const char invalid_principal[] =
    "Policy contains a statement with one or more invalid principals.";

#define NAME_LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+=,.@_-"
#define HOST_LETTERS "abcdefghijklmnopqrstuvwxyz0123456789.-"
#define ID_LETTERS   "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

static bool consists_of(struct span text, const char *letters)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] == '\0' || strchr(letters, text.ptr[i]) == NULL)
            return false;
    return true;
}

static bool is_name(struct span text)
{
    return text.len >= 1 && text.len <= IDENTITY_NAME_MAX && consists_of(text, NAME_LETTERS);
}

/* Nothing that a glob would take for a wildcard, no blanks. */
static bool is_plain(struct span text)
{
    for (size_t i = 0; i < text.len; i++)
        if (text.ptr[i] <= ' ' || text.ptr[i] > '~' || text.ptr[i] == '*' || text.ptr[i] == '?')
            return false;
    return text.len > 0;
}

static bool strip(struct span *text, const char *prefix)
{
    const size_t len = strlen(prefix);

    if (text->len < len || memcmp(text->ptr, prefix, len) != 0)
        return false;
    *text = span_of(text->ptr + len, text->len - len);
    return true;
}

/* Splits at the last (path and name) or the first (role and session) slash; false without one. */
static bool split_at(struct span text, const uint8_t *slash, struct span *ret_before,
                     struct span *ret_behind)
{
    if (slash == NULL)
        return false;
    *ret_before = span_of(text.ptr, (size_t)(slash - text.ptr));
    *ret_behind = span_of(slash + 1, text.len - ret_before->len - 1);
    return true;
}

/* "[path/]name" */
static bool is_name_with_path(struct span text)
{
    struct span path = { 0 }, name = text;

    if (split_at(text, memrchr(text.ptr, '/', text.len), &path, &name) &&
        (!is_plain(path) || path.len + 2 > IDENTITY_PATH_MAX || *path.ptr == '/'))
        return false;
    return is_name(name);
}

/* "role/session" */
static bool is_session(struct span text)
{
    struct span role, session;

    return split_at(text, memchr(text.ptr, '/', text.len), &role, &session) && is_name(role) &&
           is_name(session);
}

/* AWS writes 17 letters behind the kind where we write 16: a copied document still loads. */
static bool is_unique_id(struct span text)
{
    return (text.len == UNIQUE_ID_LEN || text.len == UNIQUE_ID_LEN + 1) &&
           consists_of(text, ID_LETTERS);
}

static bool read_iam_arn(const struct arn *arn, struct span whole, struct named_principal *ret)
{
    struct span rest = arn->fields[ARN_RESOURCE];

    ret->text = whole;
    if (span_equal(rest, SPAN_LITERAL("root"))) {
        ret->kind = NAMES_ACCOUNT;
        ret->text = arn->fields[ARN_ACCOUNT];
        return true;
    }
    ret->kind = strip(&rest, "user/") ? NAMES_USER : NAMES_ROLE;
    return (ret->kind == NAMES_USER || strip(&rest, "role/")) && is_name_with_path(rest);
}

static bool read_sts_arn(const struct arn *arn, struct span whole, struct named_principal *ret)
{
    struct span rest = arn->fields[ARN_RESOURCE];

    *ret = (struct named_principal){ .kind = NAMES_SESSION, .text = whole };
    if (strip(&rest, "assumed-role/"))
        return is_session(rest);
    ret->kind = NAMES_NOBODY; /* GetFederationToken is not offered */
    return strip(&rest, "federated-user/") && is_name(rest);
}

/* What stands under "AWS". */
static bool read_aws(struct span text, struct named_principal *ret)
{
    struct span rest = text;
    struct arn arn;

    *ret = (struct named_principal){ .kind = NAMES_ANYONE, .text = text };
    if (span_equal(text, SPAN_LITERAL("*")))
        return true;
    ret->kind = NAMES_ACCOUNT;
    if (account_id_valid(text))
        return true;
    ret->kind = strip(&rest, "AIDA") ? NAMES_USER_ID : NAMES_ROLE_ID;
    if (ret->kind == NAMES_USER_ID || strip(&rest, "AROA"))
        return is_unique_id(text);
    if (!arn_split(text, &arn) || !span_equal(arn.fields[ARN_PARTITION], SPAN_LITERAL("aws")) ||
        arn.fields[ARN_REGION].len || !account_id_valid(arn.fields[ARN_ACCOUNT]))
        return false;
    if (span_equal(arn.fields[ARN_SERVICE], SPAN_LITERAL("iam")))
        return read_iam_arn(&arn, text, ret);
    return span_equal(arn.fields[ARN_SERVICE], SPAN_LITERAL("sts")) &&
           read_sts_arn(&arn, text, ret);
}

/* Services of AWS never call here; documents that name them load. */
static bool read_service(struct span text, struct named_principal *ret)
{
    const struct span suffix = SPAN_LITERAL(".amazonaws.com");

    *ret = (struct named_principal){ .kind = NAMES_NOBODY, .text = text };
    return text.len > suffix.len && *text.ptr != '.' && consists_of(text, HOST_LETTERS) &&
           span_equal(span_of(text.ptr + text.len - suffix.len, suffix.len), suffix);
}

static bool read_federated(struct span text, struct named_principal *ret)
{
    *ret = (struct named_principal){ .kind = NAMES_NOBODY, .text = text };
    return is_plain(text);
}

static bool read_canonical(struct span text, struct named_principal *ret)
{
    (void)text; /* of Amazon S3 alone */
    (void)ret;
    return false;
}

/* Asks the book for whom there is to ask about. */
static bool look_up(const struct principal_book *book, struct named_principal *principal)
{
    char id[UNIQUE_ID_LEN + 1] = "";

    if (book == NULL)
        return true;
    switch (principal->kind) {
    case NAMES_ACCOUNT:
        return book->find(book->ctx, principal->text, id) != PRINCIPAL_UNKNOWN;
    case NAMES_USER:
    case NAMES_ROLE:
    case NAMES_SESSION:
        switch (book->find(book->ctx, principal->text, id)) {
        case PRINCIPAL_PINNED:
            memcpy(principal->pin, id, sizeof(principal->pin));
            return true;
        case PRINCIPAL_ACCEPTED:
            return true;
        case PRINCIPAL_UNKNOWN:
            return false;
        }
        return false;
    default:
        return true;
    }
}

typedef bool read_fn(struct span text, struct named_principal *ret);

static int compile_family(const struct compiler *compiler, const struct text_list *texts,
                          read_fn *read, struct named_principal *ret)
{
    for (size_t i = 0; i < texts->count; i++)
        if (!read(texts->items[i], &ret[i]) || !look_up(compiler->book, &ret[i]))
            return policy_malformed(compiler->arena, compiler->place, invalid_principal,
                                    compiler->err, "no principal: '%s'",
                                    policy_quote(texts->items[i]).text);
    return 0;
}

int principals_compile(const struct compiler *compiler, const struct principal_element *element,
                       struct statement *ret)
{
    static read_fn *const readers[PRINCIPAL_FAMILIES] = {
        [PRINCIPAL_AWS] = read_aws,
        [PRINCIPAL_OF_SERVICE] = read_service,
        [PRINCIPAL_FEDERATED] = read_federated,
        [PRINCIPAL_CANONICAL] = read_canonical,
    };
    size_t count = element->anyone ? 1 : 0;

    for (size_t i = 0; i < PRINCIPAL_FAMILIES; i++)
        count += element->families[i].count;
    if (element->invalid)
        return policy_malformed(compiler->arena, compiler->place, invalid_principal, compiler->err,
                                "Principal is neither \"*\" nor an object of AWS, Service, "
                                "Federated");
    if (count == 0)
        return policy_malformed(compiler->arena, compiler->place, no_principal, compiler->err,
                                "no Principal");

    struct named_principal *const principals =
        arena_array(compiler->arena, count, sizeof(principals[0]));
    if (principals == NULL)
        return policy_out_of_memory(compiler->err);
    if (element->anyone)
        principals[0].kind = NAMES_ANYONE;
    for (size_t i = 0, at = 0; i < PRINCIPAL_FAMILIES; at += element->families[i++].count)
        if (compile_family(compiler, &element->families[i], readers[i], &principals[at]) < 0)
            return -1;
    ret->principals = principals;
    ret->principal_count = count;
    return 0;
}

static bool is_text(struct span text, const char *value)
{
    return strncmp((const char *)text.ptr, value, text.len) == 0 && value[text.len] == '\0';
}

/* Once pinned the id alone counts: the ARN may have passed to somebody else. */
static bool is_identity(const struct named_principal *named, const char *arn,
                        const struct principal *caller)
{
    return named->pin[0] ? is_text(span_text(named->pin), caller->unique_id)
                         : is_text(named->text, arn);
}

/* The session's name is in its ARN alone; the role behind it may be pinned. */
static bool is_this_session(const struct named_principal *named, const struct principal *caller)
{
    return is_text(named->text, caller->arn) &&
           (named->pin[0] == '\0' || is_text(span_text(named->pin), caller->unique_id));
}

static enum strength strength_of(const struct named_principal *named,
                                 const struct principal *caller)
{
    const bool user = caller->kind == PRINCIPAL_USER;
    const bool session = caller->kind == PRINCIPAL_ROLE_SESSION;
    bool is = false;

    switch (named->kind) {
    case NAMES_ANYONE:
        return STRENGTH_DIRECT;
    case NAMES_NOBODY:
        return STRENGTH_NONE;
    case NAMES_ACCOUNT:
        if (!is_text(named->text, caller->account))
            return STRENGTH_NONE;
        return caller->kind == PRINCIPAL_ROOT ? STRENGTH_DIRECT : STRENGTH_ACCOUNT;
    case NAMES_USER:
        is = user && is_identity(named, caller->arn, caller);
        return is ? STRENGTH_DIRECT : STRENGTH_NONE;
    case NAMES_USER_ID:
        is = user && is_text(named->text, caller->unique_id);
        return is ? STRENGTH_DIRECT : STRENGTH_NONE;
    case NAMES_SESSION:
        return session && is_this_session(named, caller) ? STRENGTH_DIRECT : STRENGTH_NONE;
    case NAMES_ROLE:
        is = session && is_identity(named, caller->principal_arn, caller);
        return is ? STRENGTH_ROLE : STRENGTH_NONE;
    case NAMES_ROLE_ID:
        is = session && is_text(named->text, caller->unique_id);
        return is ? STRENGTH_ROLE : STRENGTH_NONE;
    }
    return STRENGTH_NONE;
}

enum strength principals_strength(const struct statement *statement, const struct principal *caller)
{
    enum strength strongest = STRENGTH_NONE;

    if (statement->principals == NULL)
        return STRENGTH_DIRECT; /* an identity policy: whoever it is attached to */
    for (size_t i = 0; i < statement->principal_count && strongest < STRENGTH_DIRECT; i++) {
        const enum strength strength = strength_of(&statement->principals[i], caller);
        strongest = strength > strongest ? strength : strongest;
    }
    return strongest;
}
