/* sigv4_verify, sigv4_canonical_request: no request is accepted but one that was signed just now
 * with the right secret, and that one only as it was signed. Input: a request as text. */

#include <stdlib.h>
#include <string.h>

#include "tests/support/sigv4_client.h"

#define TIMESTAMP "20261120T120000Z"
#define NOW_MS    (INT64_C(1795176000) * MS_PER_SECOND) /* of TIMESTAMP */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void demand(bool condition)
{
    if (!condition)
        abort();
}

static bool verifies(const struct sigv4_policy *policy, const struct client_request *request)
{
    struct principal who = { 0 };
    struct kms_error err = { 0 };

    if (sigv4_verify(policy, &request->http, NOW_MS, &who, &err) == 0)
        return true;
    demand(err.code != KMS_ERR_NONE && err.code < KMS_ERR_INTERNAL);
    for (const char *c = err.message; *c; c++)
        demand(*c >= 0x20 && *c < 0x7f);
    demand(who.arn[0] == '\0' && who.access_key_id[0] == '\0');
    return false;
}

/* What the corpus is signed with, and somebody whose secret nobody knows. */
static struct client make_client(const char *secret)
{
    return (struct client){ .key_id = CLIENT_KEY_ID,
                            .secret = secret,
                            .date = "20261120",
                            .region = "us-east-1",
                            .service = "kms",
                            .token = CLIENT_TOKEN };
}

static void sign_again(struct client_request *request)
{
    static const char *const replaced[] = {
        "host", "date", "x-amz-date", "x-amz-target", "x-amz-security-token", "x-amz-content-sha256"
    };
    struct client client = make_client(CLIENT_SECRET);
    const struct sigv4_policy policy = client_policy(&client);

    for (size_t i = 0; i < ARRAY_LEN(replaced); i++)
        client_drop(request, replaced[i]);
    client_drop(request, "authorization");
    if (request->http.header_count > CLIENT_HEADERS_MAX - 4)
        return;
    client_header(request, "Host", "kms.corp.example");
    client_header(request, "X-Amz-Date", TIMESTAMP);
    client_header(request, "X-Amz-Target", "TrentService.ListKeys");
    if (!client_sign(&client, &policy, request, TIMESTAMP, "host;x-amz-date;x-amz-target"))
        return;
    demand(verifies(&policy, request));

    char *const last = request->authorization + strlen(request->authorization) - 1;
    *last = *last == '0' ? '1' : '0';
    demand(!verifies(&policy, request));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct client stranger = make_client("a secret that signed nothing in the corpus");
    const struct sigv4_policy policy = client_policy(&stranger);
    struct client_request request;
    char *const text = malloc(size + 1);

    demand(text != NULL);
    if (size)
        memcpy(text, data, size);
    text[size] = '\0';
    if (client_parse(&request, text, size)) {
        demand(!verifies(&policy, &request));
        sign_again(&request);
    }
    free(text);
    return 0;
}
