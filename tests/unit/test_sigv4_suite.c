/*
 * The public Signature Version 4 suites, turned round: their signed requests must verify, their
 * canonical requests must be ours, and each of them with a byte changed must be refused.
 *
 * Walks the folder named by HSMKMS_SIGV4_SUITES (tests/vectors/fetch_sigv4.sh fills one) and takes
 * two layouts: botocore's NAME.sreq, .authz, .creq and the folders with header-signed-request.txt,
 * header-canonical-request.txt, context.json.
 */

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <jansson.h>

#include "tests/support/check.h"
#include "tests/support/sigv4_client.h"

#define NOW_MS       (INT64_C(1440938160) * MS_PER_SECOND) /* 2015-08-30T12:36:00Z */
#define AUTH_ROOM    2048
#define FILE_MAX     65536
#define FOLDER_DEPTH 16

/* What these suites do that this verifier does not accept. */
static const struct exception {
    const char *name;
    bool token_unsigned;  /* accepted only when the token need not be signed */
    bool other_signature; /* the signed request carries another signature than the .authz file */
    const char *reason;
} exceptions[] = {
    { "post-sts-header-after", true, false, "the session token was added after signing" },
    { "get-vanilla-with-session-token", false, true,
      "botocore's .sreq has a wrong signature, its .authz the right one" },
};

static struct {
    unsigned cases, mutations, refused, skipped;
} counted;

/* One case: a request and what belongs to it. */
struct vector {
    const char *name;
    char *text, *canonical;
    char authorization[AUTH_ROOM]; /* "": as in text */
    bool normalize;
    bool botocore;

    struct client client;
    struct sigv4_policy policy;
    struct client_request request;
};

/* Files */

static char *read_file(const char *folder, const char *name)
{
    char path[4096];
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    FILE *const file = fopen(path, "rb");
    if (file == NULL)
        return NULL;

    char *const text = calloc(1, FILE_MAX + 1);
    CHECK(text != NULL);
    CHECK(fread(text, 1, FILE_MAX, file) < FILE_MAX);
    (void)fclose(file); /* read only */
    return text;
}

static const struct exception *find_exception(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(exceptions); i++)
        if (strcmp(exceptions[i].name, name) == 0)
            return &exceptions[i];
    return NULL;
}

/* Verifying */

static void set_header(struct vector *v, const char *name, const char *value)
{
    for (size_t i = 0; i < v->request.http.header_count; i++)
        if (strcasecmp(v->request.headers[i].name, name) == 0)
            v->request.headers[i].value = value;
}

static const char *get_header(const struct vector *v, const char *name)
{
    for (size_t i = 0; i < v->request.http.header_count; i++)
        if (strcasecmp(v->request.headers[i].name, name) == 0)
            return v->request.headers[i].value;
    return NULL;
}

static enum kms_err verify(struct vector *v)
{
    struct principal who = { 0 };
    struct kms_error err = { 0 };

    if (sigv4_verify(&v->policy, &v->request.http, NOW_MS, &who, &err) < 0)
        return err.code;
    return KMS_ERR_NONE;
}

static void expect(struct vector *v, const char *what, enum kms_err expected)
{
    const enum kms_err got = verify(v);

    if (got != expected)
        fail_msg("%s, %s: expected %s, got %s", v->name, what, kms_err_name(expected),
                 kms_err_name(got));
}

/* Reads the text again, so that mutations do not add up. text keeps its terminators. */
static void reset(struct vector *v, char *copy)
{
    memcpy(copy, v->text, FILE_MAX + 1);
    if (!client_parse(&v->request, copy, strlen(copy)))
        fail_msg("%s: not a request", v->name);
    if (v->authorization[0])
        set_header(v, "Authorization", v->authorization);

    v->client = (struct client){ .key_id = "AKIDEXAMPLE",
                                 .secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
                                 .region = "us-east-1",
                                 .service = "service",
                                 .token = get_header(v, "x-amz-security-token") };
    v->policy = client_policy(&v->client);
    v->policy.target_must_be_signed = false;
    v->policy.normalize_path = v->normalize;
}

static void check_canonical(struct vector *v)
{
    AUTO(buf) canonical = { 0 };
    struct kms_error err = { 0 };

    CHECK_OK(sigv4_canonical_request(&v->policy, &v->request.http, &canonical, &err), err);
    if (!span_equal(buf_span(&canonical), span_text(v->canonical)))
        fail_msg("%s: canonical request is\n%.*s\nnot\n%s", v->name, (int)canonical.len,
                 (const char *)canonical.ptr, v->canonical);
}

static void check_exception(struct vector *v, const struct exception *exception, char *copy)
{
    if (exception->token_unsigned) {
        expect(v, exception->reason, KMS_ERR_INVALID_SIGNATURE);
        v->policy.token_must_be_signed = false;
        counted.refused++;
    }
    if (exception->other_signature && v->botocore) {
        char right[AUTH_ROOM];
        memcpy(right, v->authorization, sizeof(right));
        v->authorization[0] = '\0';
        reset(v, copy);
        expect(v, exception->reason, KMS_ERR_INVALID_SIGNATURE);
        memcpy(v->authorization, right, sizeof(right));
        reset(v, copy);
        counted.refused++;
    }
}

/* Mutations */

/* room is where a changed text may live. */
#define ROOM 8192

static void change_method(struct vector *v, char *room)
{
    (void)snprintf(room, ROOM, "%s", v->request.http.method);
    room[0] ^= 1;
    v->request.http.method = room;
}

/* A byte more at the end of the path, which no normalisation removes. */
static void change_path(struct vector *v, char *room)
{
    const char *const target = v->request.http.target;
    const int path = (int)strcspn(target, "?");

    (void)snprintf(room, ROOM, "%.*sx%s", path, target, target + path);
    v->request.http.target = room;
}

static void change_query(struct vector *v, char *room)
{
    const char *const target = v->request.http.target;

    (void)snprintf(room, ROOM, "%s%sx", target, strchr(target, '?') ? "&" : "?");
    v->request.http.target = room;
}

static void change_body(struct vector *v, char *room)
{
    const struct span body = v->request.http.body;

    memcpy(room, body.ptr, body.len);
    room[0] = body.len ? (char)(room[0] ^ 1) : 'x';
    v->request.http.body = span_of(room, body.len ? body.len : 1);
}

static void change_authorization(struct vector *v, char *room, const char *mark)
{
    (void)snprintf(room, ROOM, "%s", get_header(v, "authorization"));
    char *const found = strstr(room, mark);
    CHECK(found != NULL);
    found[strlen(mark) - 1] ^= 1;
    set_header(v, "authorization", room);
}

static void change_scope_key(struct vector *v, char *room)
{
    change_authorization(v, room, "Credential=AKIDEXAMPLE");
}

static void change_scope_date(struct vector *v, char *room)
{
    change_authorization(v, room, "/20150830");
}

static void change_scope_region(struct vector *v, char *room)
{
    change_authorization(v, room, "us-east-1");
}

static void change_scope_service(struct vector *v, char *room)
{
    change_authorization(v, room, "/service");
}

static void change_terminator(struct vector *v, char *room)
{
    change_authorization(v, room, "aws4_request");
}

/* Another last digit. */
static void change_signature(struct vector *v, char *room)
{
    (void)snprintf(room, ROOM, "%s", get_header(v, "authorization"));
    char *const last = room + strlen(room) - 1;
    *last = *last == '0' ? '1' : '0';
    set_header(v, "authorization", room);
}

static void change_date(struct vector *v, char *room)
{
    (void)room;
    set_header(v, "x-amz-date", "20150830T123601Z"); /* still within the window */
}

/* clang-format off */
static const struct {
    const char *what;
    void (*change)(struct vector *v, char *room);
    enum kms_err expected;
} mutations[] = {
    { "method",        change_method,        KMS_ERR_INVALID_SIGNATURE },
    { "path",          change_path,          KMS_ERR_INVALID_SIGNATURE },
    { "query",         change_query,         KMS_ERR_INVALID_SIGNATURE },
    { "body",          change_body,          KMS_ERR_INVALID_SIGNATURE },
    { "signature",     change_signature,     KMS_ERR_INVALID_SIGNATURE },
    { "date",          change_date,          KMS_ERR_INVALID_SIGNATURE },
    { "access key",    change_scope_key,     KMS_ERR_UNRECOGNIZED_CLIENT },
    { "scope date",    change_scope_date,    KMS_ERR_INVALID_SIGNATURE },
    { "scope region",  change_scope_region,  KMS_ERR_INVALID_SIGNATURE },
    { "scope service", change_scope_service, KMS_ERR_INVALID_SIGNATURE },
    { "terminator",    change_terminator,    KMS_ERR_INVALID_SIGNATURE },
};
/* clang-format on */

static void restore(struct vector *v, char *copy)
{
    const struct exception *const exception = find_exception(v->name);

    reset(v, copy);
    v->policy.token_must_be_signed = !(exception && exception->token_unsigned);
}

static bool is_signed(const struct vector *v, const char *name)
{
    const char *list = strstr(get_header(v, "authorization"), "SignedHeaders=") + 14;
    const size_t len = strlen(name);

    for (; *list && *list != ','; list += strcspn(list, ";,")) {
        list += *list == ';';
        if (strncasecmp(list, name, len) == 0 && strchr(";,", list[len]))
            return true;
    }
    return false;
}

/* A date that is none, a token of somebody else, or another value. */
static enum kms_err expected_for_header(const char *name)
{
    if (strcasecmp(name, "x-amz-date") == 0)
        return KMS_ERR_INCOMPLETE_SIGNATURE;
    if (strcasecmp(name, "x-amz-security-token") == 0)
        return KMS_ERR_UNRECOGNIZED_CLIENT;
    return KMS_ERR_INVALID_SIGNATURE;
}

static void mutate_headers(struct vector *v, char *copy, char *room)
{
    restore(v, copy);
    for (size_t i = 0; i < v->request.http.header_count; i++) {
        const char *const name = v->request.headers[i].name;
        if (!is_signed(v, name))
            continue;
        (void)snprintf(room, ROOM, "%s~", v->request.headers[i].value);
        v->request.headers[i].value = room;
        expect(v, name, expected_for_header(name));
        counted.mutations++;
        restore(v, copy);
    }
}

static void mutate(struct vector *v, char *copy)
{
    char *const room = calloc(1, ROOM);

    CHECK(room != NULL);
    for (size_t i = 0; i < ARRAY_LEN(mutations); i++) {
        restore(v, copy);
        mutations[i].change(v, room);
        expect(v, mutations[i].what, mutations[i].expected);
        counted.mutations++;
    }
    mutate_headers(v, copy, room);
    free(room);
}

/* Cases */

static void run(struct vector *v)
{
    const struct exception *const exception = find_exception(v->name);
    char *const copy = malloc(FILE_MAX + 1);

    CHECK(copy != NULL);
    reset(v, copy);
    if (exception)
        check_exception(v, exception, copy);
    restore(v, copy);
    expect(v, "as it is", KMS_ERR_NONE);
    check_canonical(v);
    mutate(v, copy);
    counted.cases++;
    free(copy);
}

/* NAME.sreq and what lies beside it. */
static void run_botocore(const char *folder, const char *name)
{
    struct vector v = { .name = name, .normalize = true, .botocore = true };
    char file[320];

    (void)snprintf(file, sizeof(file), "%.255s.sreq", name);
    v.text = read_file(folder, file);
    (void)snprintf(file, sizeof(file), "%.255s.creq", name);
    v.canonical = read_file(folder, file);
    (void)snprintf(file, sizeof(file), "%.255s.authz", name);
    char *const authorization = read_file(folder, file);
    if (v.text == NULL || v.canonical == NULL || authorization == NULL)
        fail_msg("%s: incomplete", name);

    (void)snprintf(v.authorization, sizeof(v.authorization), "%s", authorization);
    run(&v);
    free(authorization);
    free(v.text);
    free(v.canonical);
}

static void run_folder(const char *folder, const char *name)
{
    struct vector v = { .name = name };
    char *const context_text = read_file(folder, "context.json");

    if (context_text == NULL) {
        print_message("           skipped %s: no context says when and for what it was signed\n",
                      name);
        counted.skipped++;
        return;
    }
    json_auto_t *context = json_loads(context_text, 0, NULL);
    v.normalize = json_is_true(json_object_get(context, "normalize"));
    v.text = read_file(folder, "header-signed-request.txt");
    v.canonical = read_file(folder, "header-canonical-request.txt");
    if (context == NULL || v.text == NULL || v.canonical == NULL)
        fail_msg("%s: incomplete", name);
    run(&v);
    counted.skipped++; /* its query form */
    free(context_text);
    free(v.text);
    free(v.canonical);
}

static int visit(const char *path, const struct stat *info, int kind, struct FTW *ftw)
{
    char folder[4096], name[256];
    const char *const file = path + ftw->base;

    (void)info;
    if (kind != FTW_F)
        return 0;
    (void)snprintf(folder, sizeof(folder), "%.*s", ftw->base - 1, path);
    if (strcmp(file, "header-signed-request.txt") == 0) {
        (void)snprintf(name, sizeof(name), "%s", strrchr(folder, '/') + 1);
        if (!strstr(folder, "/v4a/"))
            run_folder(folder, name);
    } else if (strlen(file) > 5 && strcmp(file + strlen(file) - 5, ".sreq") == 0) {
        (void)snprintf(name, sizeof(name), "%.*s", (int)strlen(file) - 5, file);
        run_botocore(folder, name);
    }
    return 0;
}

static void test_sigv4_public_suites(void **state)
{
    const char *const folder = getenv("HSMKMS_SIGV4_SUITES");

    (void)state;
    if (folder == NULL || nftw(folder, visit, FOLDER_DEPTH, FTW_PHYS) < 0) {
        print_message("           SKIPPED: HSMKMS_SIGV4_SUITES names no folder of suites; "
                      "tests/vectors/fetch_sigv4.sh fetches them\n");
        skip();
    }
    print_message("           %u signed requests verified, %u mutations refused, %u known "
                  "exceptions refused\n"
                  "           %u skipped: signed in the query, which is not accepted, or without "
                  "context\n",
                  counted.cases, counted.mutations, counted.refused, counted.skipped);
    CHECK(counted.cases > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sigv4_public_suites),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
