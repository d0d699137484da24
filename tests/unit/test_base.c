#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "hsmkms/base/buf.h"
#include "hsmkms/base/clock.h"
#include "hsmkms/base/encode.h"
#include "hsmkms/base/json_text.h"
#include "hsmkms/base/log.h"
#include "hsmkms/base/secret.h"
#include "hsmkms/base/settings.h"
#include "hsmkms/base/uuid.h"
#include "tests/support/check.h"

static void test_buf_grows_and_keeps_order(void **state)
{
    struct kms_error err = { 0 };
    AUTO(buf) buf = { 0 };

    (void)state;
    for (int i = 0; i < 1000; i++)
        buf_printf(&buf, "%d,", i % 10);
    buf_u16(&buf, 0x4142);
    CHECK_OK(buf_check(&buf, &err), err);
    assert_int_equal(buf.len, 2002);
    assert_memory_equal(buf.ptr + 1998, "9,AB", 4);
}

static void test_buf_failure_sticks(void **state)
{
    struct kms_error err = { 0 };
    AUTO(buf) buf = { 0 };

    (void)state;
    buf_text(&buf, "x");
    CHECK(buf_room(&buf, SIZE_MAX) == NULL);
    buf_text(&buf, "y");
    CHECK_FAILS(buf_check(&buf, &err), err, KMS_ERR_INTERNAL);
}

static void test_secret_take_moves(void **state)
{
    struct kms_error err = { 0 };
    AUTO(secret) first = { 0 };

    (void)state;
    CHECK_OK(secret_copy(&first, SPAN_LITERAL("abc"), &err), err);
    AUTO(secret) second = secret_take(&first);
    CHECK(first.ptr == NULL && first.len == 0);
    CHECK_SPAN(secret_span(&second), SPAN_LITERAL("abc"));
}

/* RFC 4648 section 10, and what a lax decoder would take. */
static void test_base64_rfc4648(void **state)
{
    static const char *const rows[][2] = {
        { "", "" },        { "f", "Zg==" },        { "fo", "Zm8=" },
        { "foo", "Zm9v" }, { "foob", "Zm9vYg==" }, { "foobar", "Zm9vYmFy" }
    };
    uint8_t room[16];
    size_t len = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        AUTO(buf) text = { 0 };
        base64_append(&text, span_text(rows[i][0]));
        CHECK_SPAN(buf_span(&text), span_text(rows[i][1]));
        CHECK(base64_size(span_text(rows[i][1]), &len));
        CHECK(base64_parse(span_text(rows[i][1]), room, len));
        CHECK_SPAN(span_of(room, len), span_text(rows[i][0]));
    }
}

static void test_base64_refuses_other_texts_of_the_same_bytes(void **state)
{
    static const char *const bad[] = { "Zg=",   "Zg",    "Zh==",  "Zg==\n",   " Zg=",
                                       "Zg= =", "Zg===", "====",  "Zm9=Zm9v", "Z",
                                       "Zm_v",  "Z===",  "Zm9vZ", "Zm9v=",    "\xdag==" };
    uint8_t room[16];
    size_t len = 0;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (base64_size(span_text(bad[i]), &len) && base64_parse(span_text(bad[i]), room, len))
            fail_msg("accepted '%s'", bad[i]);
    }
}

static void test_uuid_round_trip(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        const struct uuid made = uuid_random();
        struct uuid back;
        CHECK(uuid_parse(span_text(uuid_format(&made).text), &back));
        CHECK(uuid_equal(&made, &back));
        CHECK(made.bytes[6] >> 4 == 4 && made.bytes[8] >> 6 == 2);
    }
}

static void test_uuid_refuses(void **state)
{
    static const char *const bad[] = { "",
                                       "1234ABCD-12ab-34cd-56ef-1234567890ab",
                                       "1234abcd-12ab-34cd-56ef-1234567890a",
                                       "1234abcd-12ab-34cd-56ef-1234567890abc",
                                       "1234abcd12ab-34cd-56ef-1234567890abcd",
                                       "1234abcd-12ab-34cd-56ef-1234567890ag",
                                       "1234abcd_12ab_34cd_56ef_1234567890ab" };
    struct uuid unused;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK(!uuid_parse(span_text(bad[i]), &unused));
}

static void test_clock_texts_round_trip(void **state)
{
    const int64_t moment = INT64_C(1795176000) * MS_PER_SECOND; /* 2026-11-20T12:00:00Z */
    int64_t back = 0;

    (void)state;
    assert_string_equal(clock_iso8601(moment).text, "2026-11-20T12:00:00Z");
    assert_string_equal(clock_compact(moment).text, "20261120T120000Z");
    assert_string_equal(clock_iso8601(moment + 999).text, "2026-11-20T12:00:00Z");
    assert_string_equal(clock_iso8601(moment + 1000).text, "2026-11-20T12:00:01Z");
    assert_string_equal(clock_compact(moment - 1).text, "20261120T115959Z");
    assert_string_equal(clock_iso8601(moment).text, "2026-11-20T12:00:00Z");
    assert_string_equal(clock_iso8601(0).text, "1970-01-01T00:00:00Z");
    assert_string_equal(clock_imf_fixdate(moment).text, "Fri, 20 Nov 2026 12:00:00 GMT");
    CHECK(clock_parse_compact("20261120T120000Z", &back) && back == moment);
    CHECK(clock_parse_imf_fixdate("Fri, 20 Nov 2026 12:00:00 GMT", &back) && back == moment);
}

static void test_clock_refuses_dates_that_do_not_exist(void **state)
{
    static const char *const bad[] = { "",
                                       "20261120T120000",
                                       "20261320T120000Z",
                                       "20260230T120000Z",
                                       "20261120T240000Z",
                                       "20261120T126000Z",
                                       "2026112xT120000Z",
                                       "20261120 120000Z",
                                       "20261120T120000z" };
    int64_t unused;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        CHECK(!clock_parse_compact(bad[i], &unused));
    CHECK(!clock_parse_imf_fixdate("Fri, 20 Nov 2026 12:00:00 UTC", &unused));
    CHECK(!clock_parse_imf_fixdate("Friday, 20-Nov-26 12:00:00 GMT", &unused));
}

static void test_settings_presets_and_values(void **state)
{
    struct kms_error err = { 0 };
    AUTO(settings) settings = { 0 };

    (void)state;
    CHECK_OK(settings_parse(SPAN_LITERAL("; a comment\n[token]\nuri = pkcs11:token=a\n"
                                         "accept_extractable = yes\n[limits]\nbody=8192\n"),
                            &settings, &err),
             err);
    assert_string_equal(settings.token_uri, "pkcs11:token=a");
    CHECK(settings.token_accept_extractable);
    assert_int_equal(settings.limits_body, 8192);
    assert_int_equal(settings.sigv4_skew, 300);
}

static void test_settings_of_further_tokens(void **state)
{
    struct kms_error err = { 0 };
    AUTO(settings) settings = { 0 };

    (void)state;
    CHECK_OK(settings_parse(SPAN_LITERAL("[token]\nmodule = /a\n[token.one]\nmodule = /b\n"
                                         "[token.two]\nmodule = /c\ncopies = 7\n"
                                         "[token.one]\naccept_extractable = yes\n"),
                            &settings, &err),
             err);
    assert_string_equal(settings.token_module, "/a");
    CHECK(!settings.token_accept_extractable);
    assert_int_equal(settings.token_count, 2);
    assert_string_equal(settings.tokens[0].name, "one");
    assert_string_equal(settings.tokens[0].module, "/b");
    assert_string_equal(settings.tokens[0].uri, "");
    CHECK(settings.tokens[0].accept_extractable);
    assert_int_equal(settings.tokens[0].copies, 1024);
    assert_string_equal(settings.tokens[1].module, "/c");
    assert_int_equal(settings.tokens[1].copies, 7);
    CHECK(!settings.tokens[1].accept_extractable);
}

/* As many sections as there may be, and one more. */
static void test_settings_of_too_many_tokens(void **state)
{
    struct kms_error err = { 0 };
    AUTO(buf) text = { 0 };

    (void)state;
    for (int i = 0; i <= SETTINGS_TOKENS_MAX; i++) {
        AUTO(settings) settings = { 0 };
        if (i == SETTINGS_TOKENS_MAX) {
            CHECK_OK(settings_parse(buf_span(&text), &settings, &err), err);
            assert_int_equal(settings.token_count, SETTINGS_TOKENS_MAX);
        }
        buf_printf(&text, "[token.t%d]\nuri = pkcs11:\n", i);
    }
    AUTO(settings) settings = { 0 };
    CHECK_FAILS(settings_parse(buf_span(&text), &settings, &err), err, KMS_ERR_CONFIG);
}

static void test_settings_refuse(void **state)
{
    static const char *const bad[] = { "[token]\nmodul = x\n",
                                       "[tokens]\nmodule = x\n",
                                       "module = x\n",
                                       "[limits]\nbody = 8191\n",
                                       "[limits]\nbody = 1e6\n",
                                       "[limits]\nbody =\n",
                                       "[limits]\nbody = 99999999999999999999\n",
                                       "[limits]\nbody = 8192\nbody = 8193\n",
                                       "[token]\naccept_extractable = maybe\n",
                                       "[token.a]\nmodul = x\n",
                                       "[token.a]\ncopies = -1\n",
                                       "[token.a]\nuri = x\n[token.b]\n[token.a]\nuri = y\n",
                                       "[limits.a]\nbody = 8192\n",
                                       "nonsense\n",
                                       "[token\nmodule = x\n",
                                       "[limits]\nbody = x\nbody = y\nnone = z\n" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct kms_error err = { 0 };
        AUTO(settings) settings = { 0 };
        CHECK_FAILS(settings_parse(span_text(bad[i]), &settings, &err), err, KMS_ERR_CONFIG);
    }
}

/* A TLS key in a token: a ';' without a blank before it is part of the URI, not a comment. */
static void test_settings_tls_key(void **state)
{
    static const char uri[] = "key = pkcs11:token=t;object=o\n";
    static const char *const bad[] = { "", "key_module = /m.so\n", "key_pin_file = /p\n" };
    struct kms_error err = { 0 };
    char text[200];

    (void)state;
    (void)snprintf(text, sizeof(text), "[https]\n%skey_module = /m.so\nkey_pin_file = /p\n", uri);
    AUTO(settings) good = { 0 };
    CHECK_OK(settings_parse(span_text(text), &good, &err), err);
    assert_string_equal(good.https_key, "pkcs11:token=t;object=o");
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        AUTO(settings) settings = { 0 };
        (void)snprintf(text, sizeof(text), "[https]\n%s%s", uri, bad[i]);
        CHECK_FAILS(settings_parse(span_text(text), &settings, &err), err, KMS_ERR_CONFIG);
    }
    for (size_t i = 1; i < ARRAY_LEN(bad); i++) { /* useless beside a key in a file */
        AUTO(settings) settings = { 0 };
        (void)snprintf(text, sizeof(text), "[https]\nkey = /k.pem\n%s", bad[i]);
        CHECK_FAILS(settings_parse(span_text(text), &settings, &err), err, KMS_ERR_CONFIG);
    }
    AUTO(settings) kes = { 0 };
    CHECK_FAILS(settings_parse(SPAN_LITERAL("[kes]\nkey = pkcs11:token=t;object=o\n"), &kes, &err),
                err, KMS_ERR_CONFIG);
}

/* How one byte stands in a JSON string. */
static void append_expected(struct buf *ret, uint8_t byte)
{
    if (byte == '"' || byte == '\\')
        buf_printf(ret, "\\%c", byte);
    else if (byte >= 0x80)
        buf_text(ret, "\\ufffd");
    else if (byte < 0x20 || byte == 0x7f)
        buf_printf(ret, "\\u%04x", byte);
    else
        buf_u8(ret, byte);
}

static void check_json_string(const uint8_t *text, size_t len)
{
    AUTO(buf) got = { 0 };
    AUTO(buf) expected = { 0 };

    json_text_append_string(&got, span_of(text, len));
    buf_u8(&expected, '"');
    for (size_t i = 0; i < len; i++)
        append_expected(&expected, text[i]);
    buf_u8(&expected, '"');
    CHECK_SPAN(buf_span(&got), buf_span(&expected));
}

/* Text is looked at in words: every byte at every place of one to three of them. */
static void test_json_text_every_byte_at_every_place(void **state)
{
    uint8_t text[20];

    (void)state;
    for (size_t len = 0; len <= sizeof(text); len++) {
        for (size_t at = 0; at < len; at++) {
            memset(text, 'a', sizeof(text));
            for (unsigned byte = 0; byte <= UINT8_MAX; byte++) {
                text[at] = (uint8_t)byte;
                check_json_string(text, len);
            }
        }
        memset(text, '~', sizeof(text)); /* the greatest plain one: nothing to borrow */
        check_json_string(text, len);
    }
}

static void test_json_text_keeps_utf8_at_every_place(void **state)
{
    (void)state;
    for (size_t at = 0; at < 20; at++) {
        AUTO(buf) text = { 0 };
        AUTO(buf) got = { 0 };

        buf_printf(&text, "\"%.*s\xe2\x82\xac-12345678\"", (int)at, "abcdefghijklmnopqrst");
        json_text_append_string(&got, span_of(text.ptr + 1, text.len - 2));
        CHECK_SPAN(buf_span(&got), buf_span(&text));
    }
}

static void test_log_does_not_wait_for_a_reader(void **state)
{
    static char text[1 << 20];
    const struct log log = { LOG_LEVEL_INFO };
    const int before = dup(STDERR_FILENO);
    int ends[2];

    (void)state;
    CHECK(pipe(ends) == 0 && dup2(ends[1], STDERR_FILENO) == STDERR_FILENO);
    for (int i = 0; i < 4000; i++) /* more than a pipe holds: 64 KiB, pipe(7) */
        log_event(&log, LOG_LEVEL_INFO, "test", "number=%d", i);
    ssize_t len = read(ends[0], text, sizeof(text) - 1);
    CHECK(len > 0 && len < (1 << 17) && text[len - 1] == '\n');
    log_event(&log, LOG_LEVEL_INFO, "test", "number=last");
    len = read(ends[0], text, sizeof(text) - 1);
    CHECK(dup2(before, STDERR_FILENO) == STDERR_FILENO);
    CHECK(len > 0);
    text[len] = '\0';
    CHECK(strstr(text, "event=log-lines-lost count=") != NULL);
    CHECK(strstr(text, "number=last\n") != NULL);
    (void)close(before);
    (void)close(ends[0]);
    (void)close(ends[1]);
}

static size_t occurrences(const char *text, const char *wanted)
{
    size_t count = 0;

    for (text = strstr(text, wanted); text; text = strstr(text + 1, wanted))
        count++;
    return count;
}

/* Strangers fill no disk: of many refusals some are written and the rest is counted. */
static void test_log_refusals_are_bounded(void **state)
{
    enum { MANY = 20000 };
    static char text[1 << 20];
    const struct log log = { LOG_LEVEL_INFO };
    const int before = dup(STDERR_FILENO);
    FILE *const file = tmpfile();
    const int64_t begun_us = clock_mono_us();

    (void)state;
    CHECK(file && dup2(fileno(file), STDERR_FILENO) == STDERR_FILENO);
    for (int i = 0; i < MANY; i++)
        log_refusal(&log, LOG_LEVEL_INFO, "refused", "number=%d", i);
    log_event(&log, LOG_LEVEL_INFO, "test", "not=bounded");
    const int64_t seconds = (clock_mono_us() - begun_us) / 1000000 + 2; /* that it touched */
    (void)usleep(1100000);
    log_event(&log, LOG_LEVEL_INFO, "test", "another=second");
    CHECK(dup2(before, STDERR_FILENO) == STDERR_FILENO);
    rewind(file);
    text[fread(text, 1, sizeof(text) - 1, file)] = '\0';

    const size_t written = occurrences(text, "event=refused number=");
    assert_in_range(written, LOG_REFUSALS_PER_SECOND, LOG_REFUSALS_PER_SECOND * (size_t)seconds);
    size_t suppressed = 0;
    for (const char *note = text; (note = strstr(note, "event=refused-lines-suppressed count="));)
        suppressed += strtoul((note += strlen("event=refused-lines-suppressed count=")), NULL, 10);
    assert_int_equal(written + suppressed, MANY);
    CHECK(strstr(text, "not=bounded\n") && strstr(text, "another=second\n"));
    (void)fclose(file);
    (void)close(before);
}

static void test_error_without_a_code_is_internal(void **state)
{
    struct kms_error err = { 0 };

    (void)state;
    CHECK_FAILS(kms_fail(&err, KMS_ERR_NONE, "%s", ""), err, KMS_ERR_INTERNAL);
    CHECK_FAILS(kms_fail_detail(&err, KMS_ERR_NONE, "why"), err, KMS_ERR_INTERNAL);
}

static void test_error_rows_have_names_and_sane_status(void **state)
{
    (void)state;
    for (enum kms_err code = KMS_ERR_NONE + 1; code < KMS_ERR_COUNT; code++) {
        CHECK(kms_err_name(code)[0] != '\0');
        CHECK(kms_err_status(code) >= 400 && kms_err_status(code) < 600);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buf_grows_and_keeps_order),
        cmocka_unit_test(test_buf_failure_sticks),
        cmocka_unit_test(test_secret_take_moves),
        cmocka_unit_test(test_base64_rfc4648),
        cmocka_unit_test(test_base64_refuses_other_texts_of_the_same_bytes),
        cmocka_unit_test(test_uuid_round_trip),
        cmocka_unit_test(test_uuid_refuses),
        cmocka_unit_test(test_clock_texts_round_trip),
        cmocka_unit_test(test_clock_refuses_dates_that_do_not_exist),
        cmocka_unit_test(test_settings_presets_and_values),
        cmocka_unit_test(test_settings_of_further_tokens),
        cmocka_unit_test(test_settings_of_too_many_tokens),
        cmocka_unit_test(test_settings_refuse),
        cmocka_unit_test(test_settings_tls_key),
        cmocka_unit_test(test_json_text_every_byte_at_every_place),
        cmocka_unit_test(test_json_text_keeps_utf8_at_every_place),
        cmocka_unit_test(test_log_does_not_wait_for_a_reader),
        cmocka_unit_test(test_log_refusals_are_bounded),
        cmocka_unit_test(test_error_without_a_code_is_internal),
        cmocka_unit_test(test_error_rows_have_names_and_sane_status),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
