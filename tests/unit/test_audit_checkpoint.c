/* Checkpoints: the tree, the line, the file beside a trail, what each damage leads to. */

#include <stdio.h>
#include <unistd.h>

#include <openssl/ec.h>
#include <openssl/evp.h>

#include "hsmkms/audit/checkpoints.h"
#include "hsmkms/audit/prove.h"
#include "hsmkms/base/encode.h"
#include "tests/support/check.h"
#include "tests/support/trail.h"

#define SEGMENT_BYTES 300 /* three of the small lines */
#define ORIGIN        "6f1c9f4e-0000-4000-8000-000000000001"
#define TIME_MS       INT64_C(1800000000000)

struct rig {
    struct trail trail;
    EVP_PKEY *key;
    struct checkpoints_config config;
    struct checkpoints *checkpoints;
    uint64_t state_sequence; /* as opening told */
};

static int sign(void *ctx, const uint8_t digest[SHA256_LEN], struct buf *ret, struct kms_error *err)
{
    struct rig *const rig = ctx;
    EVP_PKEY_CTX *const sign = EVP_PKEY_CTX_new(rig->key, NULL);
    uint8_t signature[CHECKPOINT_SIGNATURE_MAX];
    size_t len = sizeof(signature);

    CHECK(EVP_PKEY_sign_init(sign) == 1);
    CHECK(EVP_PKEY_sign(sign, signature, &len, digest, SHA256_LEN) == 1);
    EVP_PKEY_CTX_free(sign);
    buf_append(ret, span_of(signature, len));
    return buf_check(ret, err);
}

static void new_key(struct rig *rig)
{
    size_t len = 0;

    EVP_PKEY_free(rig->key);
    rig->key = EVP_EC_gen("P-256");
    CHECK(rig->key != NULL);
    CHECK(EVP_PKEY_get_octet_string_param(rig->key, "pub", rig->config.key, sizeof(rig->config.key),
                                          &len) == 1);
    assert_int_equal(len, CHECKPOINT_KEY_LEN);
}

static int open_checkpoints(struct rig *rig, struct kms_error *err)
{
    return checkpoints_open(rig->trail.dir, rig->trail.audit, &rig->config, &rig->checkpoints,
                            &rig->state_sequence, err);
}

static void begin(struct rig *rig)
{
    struct kms_error err = { 0 };

    trail_open(&rig->trail);
    CHECK_OK(open_checkpoints(rig, &err), err);
}

static void end(struct rig *rig)
{
    checkpoints_close(rig->checkpoints);
    rig->checkpoints = NULL;
    trail_close(&rig->trail);
}

static int setup(void **state)
{
    static struct rig rig;

    rig = (struct rig){
        .config = { .origin = ORIGIN, .sign = sign, .ctx = &rig, .records = 4, .seconds = 3600 }
    };
    new_key(&rig);
    trail_init(&rig.trail, SEGMENT_BYTES);
    begin(&rig);
    *state = &rig;
    return 0;
}

static int teardown(void **state)
{
    struct rig *const rig = *state;

    end(rig);
    trail_done(&rig->trail);
    EVP_PKEY_free(rig->key);
    return 0;
}

static uint64_t add(struct rig *rig, uint64_t state_sequence)
{
    struct kms_error err = { 0 };
    uint64_t seq = 0;

    CHECK_OK(checkpoints_add(rig->checkpoints, state_sequence, TIME_MS, &seq, &err), err);
    return seq;
}

static struct trail_path file_of(const struct rig *rig)
{
    struct trail_path made;

    (void)snprintf(made.text, sizeof(made.text), "%.150s/" CHECKPOINTS_FILE, rig->trail.dir);
    return made;
}

/* Ten lines in four segments, checkpoints after 5 and 10; closed. */
static void make(struct rig *rig)
{
    trail_write(&rig->trail, 5);
    assert_int_equal(add(rig, 7), 5);
    trail_write(&rig->trail, 5);
    assert_int_equal(add(rig, 9), 10);
    rig->config.known_seq = 10;
    end(rig);
}

/* Neither the service starts nor does the verifier find the trail good. */
static void check_refused(struct rig *rig, const char *why)
{
    struct kms_error err = { 0 };

    trail_open(&rig->trail);
    CHECK(open_checkpoints(rig, &err) < 0);
    assert_string_equal(kms_err_name(err.code), "Integrity");
    if (strstr(err.message, why) == NULL)
        fail_msg("'%s' does not say '%s'", err.message, why);
    trail_close(&rig->trail);
}

static void check_verifier(const struct rig *rig, const char *why)
{
    struct kms_error err = { 0 };
    struct audit_tail tail = { 0 };

    CHECK(trail_verify(&rig->trail, &tail, &err) < 0);
    if (strstr(err.message, why) == NULL)
        fail_msg("'%s' does not say '%s'", err.message, why);
}

/* --- the tree --------------------------------------------------------------------------------- */

/* RFC 9162, section 2.1.1, by recursion: the definition itself. */
static void root_by_definition(const merkle_hash *leaves, size_t count, merkle_hash ret)
{
    struct kms_error err = { 0 };
    uint8_t both[1 + 2 * SHA256_LEN] = { 1 };
    size_t half = 1;

    if (count == 1) {
        memcpy(ret, leaves[0], SHA256_LEN);
        return;
    }
    while (half * 2 < count)
        half *= 2;
    root_by_definition(leaves, half, both + 1);
    root_by_definition(leaves + half, count - half, both + 1 + SHA256_LEN);
    CHECK_OK(sha256_of(SPAN_ARRAY(both), ret, &err), err);
}

static void test_merkle_every_path_of_every_size(void **state)
{
    merkle_hash leaves[40], want, root;
    const merkle_hash *const made = (const merkle_hash *)leaves;
    struct merkle tree = { 0 };
    struct kms_error err = { 0 };

    (void)state;
    for (uint64_t count = 1; count <= ARRAY_LEN(leaves); count++) {
        CHECK_OK(merkle_leaf(span_of(&count, sizeof(count)), leaves[count - 1], &err), err);
        CHECK_OK(merkle_add(&tree, leaves[count - 1], &err), err);
        CHECK_OK(merkle_root(&tree, root, &err), err);
        root_by_definition(made, count, want);
        assert_memory_equal(root, want, SHA256_LEN);
        for (uint64_t i = 0; i < count; i++) {
            struct merkle_path path;
            bool good = false;
            CHECK_OK(merkle_path_make(made, count, i, &path, &err), err);
            CHECK_OK(merkle_path_follow(&path, leaves[i], count, i, root, &good, &err), err);
            CHECK(good && memcmp(root, want, SHA256_LEN) == 0);
            CHECK_OK(
                merkle_path_follow(&path, leaves[(i + 1) % count], count, i, root, &good, &err),
                err);
            CHECK(count == 1 || memcmp(root, want, SHA256_LEN) != 0);
            path.len++;
            CHECK_OK(merkle_path_follow(&path, leaves[i], count, i, root, &good, &err), err);
            CHECK(!good);
        }
    }
}

/* The leaf and root of the empty text, known from public logs. */
static void test_merkle_leaf_of_nothing(void **state)
{
    merkle_hash leaf;
    char text[SHA256_HEX_LEN + 1];
    struct kms_error err = { 0 };

    (void)state;
    CHECK_OK(merkle_leaf(span_of("", 0), leaf, &err), err);
    hex_format(text, SPAN_ARRAY(leaf));
    assert_string_equal(text, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
}

/* --- the line --------------------------------------------------------------------------------- */

static struct buf one_line(struct rig *rig, struct checkpoint *ret)
{
    struct kms_error err = { 0 };
    AUTO(buf) signature = { 0 };
    struct buf line = { 0 };
    uint8_t digest[SHA256_LEN];

    *ret = (struct checkpoint){
        .seq = 5, .from = 1, .state_sequence = 3, .origin = ORIGIN, .time = "2026-11-20T12:00:00Z"
    };
    memcpy(ret->key, rig->config.key, sizeof(ret->key));
    CHECK_OK(checkpoint_digest(ret, digest, &err), err);
    CHECK_OK(sign(rig, digest, &signature, &err), err);
    CHECK_OK(checkpoint_format(ret, buf_span(&signature), &line, &err), err);
    return line;
}

static void test_checkpoint_line_there_and_back(void **state)
{
    struct checkpoint made, parsed;
    struct kms_error err = { 0 };
    AUTO(buf) line = one_line(*state, &made);

    CHECK_OK(checkpoint_parse(buf_span(&line), &parsed, &err), err);
    CHECK(parsed.seq == 5 && parsed.state_sequence == 3);
    assert_string_equal(parsed.origin, ORIGIN);
}

static void test_checkpoint_every_changed_byte_is_refused(void **state)
{
    struct checkpoint made, parsed;
    struct kms_error err = { 0 };
    AUTO(buf) line = one_line(*state, &made);

    for (size_t i = 0; i < line.len; i++) {
        line.ptr[i] ^= 1;
        CHECK_FAILS(checkpoint_parse(buf_span(&line), &parsed, &err), err, KMS_ERR_INTEGRITY);
        line.ptr[i] ^= 1;
        CHECK_FAILS(checkpoint_parse(span_of(line.ptr, i), &parsed, &err), err, KMS_ERR_INTEGRITY);
    }
    buf_u8(&line, ' ');
    CHECK_FAILS(checkpoint_parse(buf_span(&line), &parsed, &err), err, KMS_ERR_INTEGRITY);
}

/* --- the file --------------------------------------------------------------------------------- */

static void test_checkpoints_good_trail(void **state)
{
    struct rig *const rig = *state;
    struct kms_error err = { 0 };
    struct audit_tail tail = { 0 };

    make(rig);
    CHECK_OK(trail_verify(&rig->trail, &tail, &err), err);
    CHECK(tail.checkpoints == 2 && tail.checkpoint_seq == 10);
    assert_int_equal(strlen(tail.key), SHA256_HEX_LEN);

    begin(rig);
    assert_int_equal(rig->state_sequence, 9);
    CHECK(!checkpoints_due(rig->checkpoints));
    trail_write(&rig->trail, 3);
    CHECK(!checkpoints_due(rig->checkpoints));
    trail_write(&rig->trail, 1);
    CHECK(checkpoints_due(rig->checkpoints));
    assert_int_equal(add(rig, 9), 14);
    CHECK(!checkpoints_due(rig->checkpoints));
    assert_int_equal(add(rig, 9), 14);
    CHECK_OK(trail_verify(&rig->trail, &tail, &err), err);
    assert_int_equal(tail.checkpoints, 3);
}

static void test_checkpoints_newest_segment_removed(void **state)
{
    struct rig *const rig = *state;

    make(rig);
    CHECK(unlink(trail_segment(&rig->trail, 10).text) == 0);
    check_refused(rig, "ends with line 9, a checkpoint covers line 10");
    check_verifier(rig, "ends with line 9, a checkpoint covers line 10");
}

static void test_checkpoints_last_line_changed(void **state)
{
    struct rig *const rig = *state;

    make(rig);
    const struct trail_path path = trail_segment(&rig->trail, 10);
    AUTO(buf) text = trail_read_file(path.text);
    text.ptr[text.len - 3] ^= 1;
    trail_write_file(path.text, buf_span(&text));
    check_refused(rig, "line 10 of the audit trail is not the one that was signed");
    check_verifier(rig, "not the one that was signed");
}

static void test_checkpoints_file_removed(void **state)
{
    struct rig *const rig = *state;

    make(rig);
    CHECK(unlink(file_of(rig).text) == 0);
    check_refused(rig, "the database knows of a checkpoint of line 10");
}

static size_t first_line(struct span text)
{
    return (size_t)((const uint8_t *)memchr(text.ptr, '\n', text.len) - text.ptr) + 1;
}

static void test_checkpoints_older_file(void **state)
{
    struct rig *const rig = *state;

    make(rig);
    AUTO(buf) text = trail_read_file(file_of(rig).text);
    trail_write_file(file_of(rig).text, span_of(text.ptr, first_line(buf_span(&text))));
    check_refused(rig, "ends with line 5, the database knows of a checkpoint of line 10");
}

static void test_checkpoints_one_taken_out(void **state)
{
    struct rig *const rig = *state;

    make(rig);
    AUTO(buf) text = trail_read_file(file_of(rig).text);
    const size_t first = first_line(buf_span(&text));
    trail_write_file(file_of(rig).text, span_of(text.ptr + first, text.len - first));
    check_verifier(rig, CHECKPOINTS_FILE " line 1: it does not continue the checkpoint before");
}

static void test_checkpoints_forged(void **state)
{
    struct rig *const rig = *state;

    make(rig);
    AUTO(buf) text = trail_read_file(file_of(rig).text);
    text.ptr[first_line(buf_span(&text)) - 4] ^= 1; /* a digit of the first signature */
    trail_write_file(file_of(rig).text, buf_span(&text));
    check_verifier(rig, CHECKPOINTS_FILE " line 1");
    text.ptr[text.len - 4] ^= 1; /* and of the last */
    trail_write_file(file_of(rig).text, buf_span(&text));
    check_refused(rig, "");
}

/* A whole trail with checkpoints of somebody's own key: the verifier shows the other key. */
static void test_checkpoints_of_another_key(void **state)
{
    struct rig *const rig = *state;
    struct kms_error err = { 0 };
    struct audit_tail tail = { 0 };

    make(rig);
    new_key(rig);
    check_refused(rig, "not signed by this installation");
    CHECK_OK(trail_verify(&rig->trail, &tail, &err), err);
    rig->config.origin = "6f1c9f4e-0000-4000-8000-000000000002";
    check_refused(rig, "not signed by this installation");
}

static void test_checkpoints_torn_last_line_is_cut_off(void **state)
{
    struct rig *const rig = *state;
    struct kms_error err = { 0 };
    struct audit_tail tail = { 0 };

    make(rig);
    AUTO(buf) text = trail_read_file(file_of(rig).text);
    const size_t whole = text.len;
    buf_text(&text, "{\"seq\":12,\"from\":11");
    trail_write_file(file_of(rig).text, buf_span(&text));
    CHECK_OK(trail_verify(&rig->trail, &tail, &err), err);
    begin(rig);
    AUTO(buf) after = trail_read_file(file_of(rig).text);
    assert_int_equal(after.len, whole);
}

/* What was written to the disk under the service's feet is not signed. */
static void test_checkpoints_do_not_sign_what_was_changed_meanwhile(void **state)
{
    struct rig *const rig = *state;
    struct kms_error err = { 0 };
    uint64_t seq = 0;

    trail_write(&rig->trail, 3);
    const struct trail_path path = trail_segment(&rig->trail, 1);
    AUTO(buf) text = trail_read_file(path.text);
    AUTO(buf) changed = trail_read_file(path.text);
    changed.ptr[changed.len - 3] ^= 1;
    trail_write_file(path.text, buf_span(&changed));
    CHECK_FAILS(checkpoints_add(rig->checkpoints, 1, TIME_MS, &seq, &err), err, KMS_ERR_INTEGRITY);
    trail_write_file(path.text, buf_span(&text));
    assert_int_equal(add(rig, 1), 3);
}

static int sign_not(void *ctx, const uint8_t digest[SHA256_LEN], struct buf *ret,
                    struct kms_error *err)
{
    (void)ctx, (void)digest, (void)ret;
    return kms_fail(err, KMS_ERR_KEY_UNAVAILABLE, "not now");
}

static void test_checkpoints_token_away_for_a_while(void **state)
{
    struct rig *const rig = *state;
    struct kms_error err = { 0 };
    struct audit_tail tail = { 0 };
    uint64_t seq = 0;

    end(rig);
    rig->config.sign = sign_not;
    begin(rig);
    trail_write(&rig->trail, 4);
    CHECK_FAILS(checkpoints_add(rig->checkpoints, 1, TIME_MS, &seq, &err), err,
                KMS_ERR_KEY_UNAVAILABLE);
    trail_write(&rig->trail, 1);
    CHECK_FAILS(checkpoints_add(rig->checkpoints, 1, TIME_MS, &seq, &err), err,
                KMS_ERR_KEY_UNAVAILABLE);
    CHECK_OK(trail_verify(&rig->trail, &tail, &err), err);
    assert_int_equal(tail.checkpoints, 0);
    end(rig);
    rig->config.sign = sign;
    begin(rig);
    assert_int_equal(add(rig, 1), 5);
    trail_write(&rig->trail, 1);
    assert_int_equal(add(rig, 1), 6);
    CHECK_OK(trail_verify(&rig->trail, &tail, &err), err);
    assert_int_equal(tail.checkpoints, 2);
}

/* --- proofs ----------------------------------------------------------------------------------- */

static void test_prove_every_line(void **state)
{
    struct rig *const rig = *state;
    struct kms_error err = { 0 };

    make(rig);
    for (uint64_t seq = 1; seq <= 10; seq++) {
        AUTO(buf) proof = { 0 };
        char want[80];
        CHECK_OK(audit_prove(rig->trail.dir, seq, &proof, &err), err); /* it follows the path */
        (void)snprintf(want, sizeof(want), "\"index\": %u,\n \"leaves\": 5",
                       (unsigned)(seq - 1) % 5);
        CHECK(memmem(proof.ptr, proof.len, want, strlen(want)) != NULL);
    }
}

static void test_prove_refuses(void **state)
{
    struct rig *const rig = *state;
    struct kms_error err = { 0 };
    AUTO(buf) proof = { 0 };

    CHECK_FAILS(audit_prove(rig->trail.dir, 1, &proof, &err), err, KMS_ERR_NOT_FOUND);
    make(rig);
    CHECK_FAILS(audit_prove(rig->trail.dir, 0, &proof, &err), err, KMS_ERR_NOT_FOUND);
    CHECK_FAILS(audit_prove(rig->trail.dir, 11, &proof, &err), err, KMS_ERR_NOT_FOUND);
    CHECK_FAILS(audit_prove("/nonexistent", 1, &proof, &err), err, KMS_ERR_CONFIG);

    const struct trail_path path = trail_segment(&rig->trail, 1);
    AUTO(buf) text = trail_read_file(path.text);
    text.ptr[text.len - 3] ^= 1;
    trail_write_file(path.text, buf_span(&text));
    CHECK_FAILS(audit_prove(rig->trail.dir, 1, &proof, &err), err, KMS_ERR_INTEGRITY);
    CHECK(unlink(path.text) == 0);
    CHECK_FAILS(audit_prove(rig->trail.dir, 1, &proof, &err), err, KMS_ERR_INTEGRITY);
    assert_int_equal(proof.len, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_merkle_every_path_of_every_size),
        cmocka_unit_test(test_merkle_leaf_of_nothing),
        TEST(test_checkpoint_line_there_and_back),
        TEST(test_checkpoint_every_changed_byte_is_refused),
        TEST(test_checkpoints_good_trail),
        TEST(test_checkpoints_newest_segment_removed),
        TEST(test_checkpoints_last_line_changed),
        TEST(test_checkpoints_file_removed),
        TEST(test_checkpoints_older_file),
        TEST(test_checkpoints_one_taken_out),
        TEST(test_checkpoints_forged),
        TEST(test_checkpoints_of_another_key),
        TEST(test_checkpoints_torn_last_line_is_cut_off),
        TEST(test_checkpoints_do_not_sign_what_was_changed_meanwhile),
        TEST(test_checkpoints_token_away_for_a_while),
        TEST(test_prove_every_line),
        TEST(test_prove_refuses),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
