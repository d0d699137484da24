#include "hsmkms/crypto/certificate.h"

#include <string.h>

#include "hsmkms/base/buf.h"
#include "tests/support/check.h"

/* A self-signed certificate on P-256; nobody has its key. */
static const char pem[] = "-----BEGIN CERTIFICATE-----\n"
                          "MIIBezCCASGgAwIBAgIUFlwirIsh0FseuQOY3GuJbX48vkMwCgYIKoZIzj0EAwIw\n"
                          "EjEQMA4GA1UEAwwHY2x1c3RlcjAgFw0yNjExMjEwNzQ4MTVaGA8yMTI2MTAyODA3\n"
                          "NDgxNVowEjEQMA4GA1UEAwwHY2x1c3RlcjBZMBMGByqGSM49AgEGCCqGSM49AwEH\n"
                          "A0IABGiWmJ/cFKoijlna+1H/qxcHyLdLZbHuRTYWSs/9k6BhAApE1Q+fA1WxrX7b\n"
                          "7bOJnWe+HBs+WMgy9IXbefBOqK6jUzBRMB0GA1UdDgQWBBQrRgXHHU63j2vzsENs\n"
                          "JuIJWW3UyjAfBgNVHSMEGDAWgBQrRgXHHU63j2vzsENsJuIJWW3UyjAPBgNVHRMB\n"
                          "Af8EBTADAQH/MAoGCCqGSM49BAMCA0gAMEUCIQDZhD02KMID6d0nwf8xnX9cIJms\n"
                          "EhononmdtBST8irR1wIgP40G//CVT8KEujiXOfTmeLPr5X8iRUbw1Zt1njGida8=\n"
                          "-----END CERTIFICATE-----\n";

static struct buf joined(const char *before, const char *text, const char *behind)
{
    struct buf all = { 0 };

    buf_text(&all, before);
    buf_text(&all, text);
    buf_text(&all, behind);
    return all;
}

static void test_one_certificate(void **state)
{
    static const char *const blanks[] = { "", "\n", " \t\r\n" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(blanks); i++) {
        AUTO(buf) text = joined(blanks[i], pem, blanks[i]);
        CHECK(certificate_is_pem(buf_span(&text)));
    }
}

static void test_anything_else(void **state)
{
    static const char *const others[] = {
        "",
        "x",
        "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
    };
    AUTO(buf) twice = joined(pem, pem, "");
    AUTO(buf) before = joined("x", pem, "");
    AUTO(buf) behind = joined("", pem, "x");

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        CHECK(!certificate_is_pem(span_text(others[i])));
    CHECK(!certificate_is_pem(buf_span(&twice)));
    CHECK(!certificate_is_pem(buf_span(&before)));
    CHECK(!certificate_is_pem(buf_span(&behind)));
    CHECK(!certificate_is_pem(span_of(pem, sizeof(pem)))); /* with its NUL */
    CHECK(!certificate_is_pem((struct span){ 0 }));
}

/* Wherever it is cut, it is none; but for the newline at its end. */
static void test_cut_short(void **state)
{
    (void)state;
    for (size_t len = 0; len < strlen(pem) - 1; len++)
        CHECK(!certificate_is_pem(span_of(pem, len)));
    CHECK(certificate_is_pem(span_of(pem, strlen(pem) - 1)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_certificate),
        cmocka_unit_test(test_anything_else),
        cmocka_unit_test(test_cut_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
