/* The administration socket: who may connect, what is a line, and what slow clients cost. */

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/admin_rig.h"
#include "tests/support/check.h"

#define NOBODY 65534

static struct admin_rig rig;

/* Sends bytes as they are and gives what comes back. */
static void exchange(struct span bytes, struct buf *ret)
{
    const int fd = admin_connect(rig.socket);

    CHECK(fd >= 0);
    admin_send(fd, bytes);
    CHECK(shutdown(fd, SHUT_WR) == 0);
    admin_receive(fd, ret);
    CHECK(close(fd) == 0);
}

static void check_answers(struct span bytes, enum kms_err expected)
{
    char code[100];
    AUTO(buf) answer = { 0 };

    exchange(bytes, &answer);
    (void)snprintf(code, sizeof(code), "{\"Error\":{\"Code\":\"%s\"", kms_err_name(expected));
    if (strncmp((const char *)answer.ptr, code, strlen(code)) != 0)
        fail_msg("'%.*s' was answered '%s', not with %s", (int)(bytes.len < 99 ? bytes.len : 99),
                 (const char *)bytes.ptr, (const char *)answer.ptr, code);
    CHECK(strchr((const char *)answer.ptr, '\n') == (const char *)answer.ptr + answer.len - 2);
}

/* --- what is not a command -------------------------------------------------------------------- */

static void test_refused_lines(void **state)
{
    static const struct {
        const char *line;
        enum kms_err code;
    } rows[] = {
        { "\n", KMS_ERR_SERIALIZATION },
        { "status\n", KMS_ERR_SERIALIZATION },
        { "{\"Command\":\"status\"\n", KMS_ERR_SERIALIZATION },
        { "{\"Command\":\"status\"}}\n", KMS_ERR_SERIALIZATION },
        { "[\"status\"]\n", KMS_ERR_SERIALIZATION },
        { "{\"Command\":\"status\",\"Command\":\"status\"}\n", KMS_ERR_SERIALIZATION },
        { "{\"Command\":\"status\xff\"}\n", KMS_ERR_SERIALIZATION },
        { "{\"Command\":\"status\\u0000\"}\n", KMS_ERR_SERIALIZATION },
        { "{\"Command\":\"status\"}\n{\"Command\":\"status\"}\n", KMS_ERR_SERIALIZATION },
        { "{}\n", KMS_ERR_VALIDATION },
        { "{\"Command\":1}\n", KMS_ERR_VALIDATION },
        { "{\"Command\":\"key shred\"}\n", KMS_ERR_UNKNOWN_OPERATION },
        { "{\"Command\":\"\"}\n", KMS_ERR_UNKNOWN_OPERATION },
        { "{\"Command\":\"status\",\"UserName\":\"a\"}\n", KMS_ERR_VALIDATION },
        { "{\"Command\":\"key disable\"}\n", KMS_ERR_VALIDATION },
        { "{\"Command\":\"key disable\",\"AccessKeyId\":null}\n", KMS_ERR_VALIDATION },
        { "{\"Command\":\"key create\",\"UserName\":[\"a\"]}\n", KMS_ERR_VALIDATION },
        { "{\"Command\":\"key create\",\"User\":\"a\"}\n", KMS_ERR_VALIDATION },
        { "{\"Command\":\"key create\",\"UserName\":\""
          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}\n",
          KMS_ERR_VALIDATION },
        { "{\"Command\":\"key disable\",\"AccessKeyId\":\"\u00e4\"}\n", KMS_ERR_NOT_FOUND },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        check_answers(span_text(rows[i].line), rows[i].code);
}

static void test_longest_line_and_one_byte_more(void **state)
{
    static const char start[] = "{\"Command\":\"key shred\"}";
    static uint8_t line[ADMIN_LINE_MAX + 2];

    (void)state;
    memset(line, ' ', sizeof(line));
    memcpy(line, start, sizeof(start) - 1);
    line[ADMIN_LINE_MAX] = '\n';
    check_answers(span_of(line, ADMIN_LINE_MAX + 1), KMS_ERR_UNKNOWN_OPERATION);
    line[ADMIN_LINE_MAX] = ' ';
    check_answers(span_of(line, ADMIN_LINE_MAX + 1), KMS_ERR_BODY_TOO_LARGE); /* and no end */
    line[ADMIN_LINE_MAX + 1] = '\n';
    check_answers(span_of(line, ADMIN_LINE_MAX + 2), KMS_ERR_BODY_TOO_LARGE);
}

static void test_line_without_an_end(void **state)
{
    AUTO(buf) answer = { 0 };
    AUTO(buf) silence = { 0 };

    (void)state;
    exchange(SPAN_LITERAL("{\"Command\":\"status\"}"), &answer);
    assert_int_equal(answer.len, 1); /* the NUL alone */
    exchange(SPAN_LITERAL(""), &silence);
    assert_int_equal(silence.len, 1);
}

static void test_line_in_pieces(void **state)
{
    static const char line[] = "{\"Command\":\"key shred\"}\n";
    const int fd = admin_connect(rig.socket);
    AUTO(buf) answer = { 0 };

    (void)state;
    CHECK(fd >= 0);
    for (size_t i = 0; i < sizeof(line) - 1; i++)
        admin_send(fd, span_of(line + i, 1));
    admin_receive(fd, &answer);
    CHECK(strstr((const char *)answer.ptr, "UnknownOperationException") != NULL);
    CHECK(close(fd) == 0);
}

/* --- many clients ----------------------------------------------------------------------------- */

/* Silent clients do not keep others waiting while there is a place, and lose theirs in time. */
static void test_slow_clients(void **state)
{
    int silent[ADMIN_CONNECTIONS];
    struct kms_error err = { 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(silent); i++) {
        json_auto_t *status = NULL;
        CHECK_OK(admin_rig_call(&rig, "status", NULL, NULL, &status, &err), err);
        silent[i] = admin_connect(rig.socket);
        CHECK(silent[i] >= 0);
        admin_send(silent[i], SPAN_LITERAL("{\"Command\":"));
    }
    json_auto_t *waited = NULL; /* no place left: served when the first deadline passes */
    CHECK_OK(admin_rig_call(&rig, "status", NULL, NULL, &waited, &err), err);
    for (size_t i = 0; i < ARRAY_LEN(silent); i++) {
        AUTO(buf) nothing = { 0 };
        admin_receive(silent[i], &nothing);
        assert_int_equal(nothing.len, 1);
        CHECK(close(silent[i]) == 0);
    }
}

#define THREADS 12
#define ROUNDS  10

static void *ask_often(void *arg)
{
    unsigned *const failures = arg;

    for (int i = 0; i < ROUNDS; i++) {
        struct kms_error err = { 0 };
        json_auto_t *result = NULL;
        if (admin_rig_call(&rig, i % 2 ? "status" : "key list", NULL, NULL, &result, &err) < 0)
            ++*failures;
    }
    return NULL;
}

static void test_concurrent_clients(void **state)
{
    pthread_t threads[THREADS];
    unsigned failures[THREADS] = { 0 };

    (void)state;
    for (size_t i = 0; i < THREADS; i++)
        CHECK(pthread_create(&threads[i], NULL, ask_often, &failures[i]) == 0);
    for (size_t i = 0; i < THREADS; i++) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        assert_int_equal(failures[i], 0);
    }
}

/* --- who may ask ------------------------------------------------------------------------------ */

/* A process of another user, forked before any thread existed; it connects when told to. */
static struct {
    bool present;
    pid_t pid;
    int orders, reports;
} stranger;

/* Reports what came of connecting to admin.sock in the folder named by the first order. */
static void be_stranger(int orders, int reports)
{
    char dir[256] = "", report[512], order;

    if (read(orders, dir, sizeof(dir)) != sizeof(dir) || chdir(dir) != 0 || setgid(NOBODY) != 0 ||
        setuid(NOBODY) != 0)
        _exit(1);
    while (read(orders, &order, 1) == 1) {
        memset(report, 0, sizeof(report));
        const int fd = admin_connect("admin.sock");
        if (fd < 0)
            (void)snprintf(report, sizeof(report), "%s", strerrorname_np(errno));
        else if (recv(fd, report, sizeof(report) - 1, MSG_WAITALL) < 0)
            (void)snprintf(report, sizeof(report), "recv %s", strerrorname_np(errno));
        if (fd >= 0)
            (void)close(fd);
        if (write(reports, report, sizeof(report)) != sizeof(report))
            _exit(1);
    }
    _exit(0);
}

static void fork_stranger(void)
{
    int orders[2], reports[2];

    if (geteuid() != 0)
        return; /* only root can become somebody else */
    CHECK(pipe(orders) == 0 && pipe(reports) == 0);
    stranger.pid = fork();
    CHECK(stranger.pid >= 0);
    if (stranger.pid == 0) {
        (void)close(orders[1]); /* or it would wait for itself */
        (void)close(reports[0]);
        be_stranger(orders[0], reports[1]);
    }
    (void)close(orders[0]);
    (void)close(reports[1]);
    stranger.orders = orders[1];
    stranger.reports = reports[0];
    stranger.present = true;
}

static void stranger_tries(char report[512])
{
    size_t len = 0;

    CHECK(write(stranger.orders, "c", 1) == 1);
    while (len < 512) {
        const ssize_t got = read(stranger.reports, report + len, 512 - len);
        CHECK(got > 0);
        len += (size_t)got;
    }
}

static void test_other_users_are_refused(void **state)
{
    char dir[256] = "", report[512];

    (void)state;
    if (!stranger.present)
        skip();
    (void)snprintf(dir, sizeof(dir), "%s", rig.iam.softhsm.dir);
    CHECK(write(stranger.orders, dir, sizeof(dir)) == sizeof(dir));
    CHECK(chmod(rig.iam.softhsm.dir, 0711) == 0);
    stranger_tries(report);
    assert_string_equal(report, "EACCES"); /* the socket's own mode */

    CHECK(chmod(rig.socket, 0666) == 0);
    stranger_tries(report);
    CHECK(chmod(rig.iam.softhsm.dir, 0700) == 0);
    CHECK(strncmp(report, "{\"Error\":{\"Code\":\"AccessDeniedException\"", 39) == 0);
}

static void test_start_leaves_what_is_not_its_own(void **state)
{
    char path[320], longest[200];
    struct kms_error err = { 0 };
    struct admin *second = NULL;
    struct stat status;

    (void)state;
    CHECK(stat(rig.socket, &status) == 0);
    assert_int_equal(status.st_mode & 07777, 0600);
    struct admin_config config = admin_rig_config(&rig, rig.socket);
    CHECK_FAILS(admin_start(&config, &second, &err), err, KMS_ERR_CONFIG); /* in use */
    json_auto_t *still_there = NULL;
    CHECK_OK(admin_rig_call(&rig, "status", NULL, NULL, &still_there, &err), err);

    (void)snprintf(path, sizeof(path), "%s/pin", rig.iam.softhsm.dir);
    config = admin_rig_config(&rig, path); /* a file */
    CHECK_FAILS(admin_start(&config, &second, &err), err, KMS_ERR_CONFIG);
    CHECK(stat(path, &status) == 0);

    memset(longest, 'a', sizeof(longest));
    longest[sizeof(longest) - 1] = '\0';
    longest[0] = '/';
    config = admin_rig_config(&rig, longest);
    CHECK_FAILS(admin_start(&config, &second, &err), err, KMS_ERR_CONFIG);
    config = admin_rig_config(&rig, "");
    CHECK_FAILS(admin_start(&config, &second, &err), err, KMS_ERR_CONFIG);
    CHECK(second == NULL);
}

/* What a killed daemon leaves: a name that nobody listens on. */
static void test_start_replaces_a_dead_socket(void **state)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    struct kms_error err = { 0 };
    struct admin *second = NULL;
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%.90s/dead.sock",
                   rig.iam.softhsm.dir);
    CHECK(bind(fd, (const struct sockaddr *)&address, sizeof(address)) == 0);
    CHECK(close(fd) == 0);
    const struct admin_config config = admin_rig_config(&rig, address.sun_path);
    CHECK_OK(admin_start(&config, &second, &err), err);
    const int client = admin_connect(address.sun_path);
    CHECK(client >= 0);
    admin_stop(second); /* with a client in the middle of its line */
    CHECK(close(client) == 0);
}

static void test_client_without_a_daemon(void **state)
{
    struct kms_error err = { 0 };
    json_auto_t *request = json_pack("{s:s}", "Command", "status");
    json_t *none = NULL;

    (void)state;
    CHECK_FAILS(admin_client_call("/nonexistent/admin.sock", request, &none, &err), err,
                KMS_ERR_CONFIG);
    CHECK_FAILS(admin_client_call("", request, &none, &err), err, KMS_ERR_CONFIG);
}

/* --- all -------------------------------------------------------------------------------------- */

static int down(void **state)
{
    CHECK(admin_rig_down(state) == 0);
    if (stranger.present) {
        (void)close(stranger.orders);
        CHECK(waitpid(stranger.pid, NULL, 0) == stranger.pid);
        (void)close(stranger.reports);
    }
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, admin_rig_begin, admin_rig_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_refused_lines),
        TEST(test_longest_line_and_one_byte_more),
        TEST(test_line_without_an_end),
        TEST(test_line_in_pieces),
        TEST(test_slow_clients),
        TEST(test_concurrent_clients),
        TEST(test_other_users_are_refused),
        TEST(test_start_leaves_what_is_not_its_own),
        TEST(test_start_replaces_a_dead_socket),
        TEST(test_client_without_a_daemon),
    };

    fork_stranger();
    return run_group(tests, ARRAY_LEN(tests), admin_rig_up, down, &rig);
}
