#include "tests/support/admin_rig.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/support/check.h"

static const struct log quiet = { .level = LOG_LEVEL_ERROR };

int admin_rig_up(void **state)
{
    struct admin_rig *const rig = *state;
    struct kms_error err = { 0 };
    struct audit_tail unused;

    *rig = (struct admin_rig){ 0 };
    iam_rig_up(&rig->iam);
    (void)snprintf(rig->socket, sizeof(rig->socket), "%s/admin.sock", rig->iam.softhsm.dir);
    (void)snprintf(rig->audit_dir, sizeof(rig->audit_dir), "%s/audit", rig->iam.softhsm.dir);
    CHECK(mkdir(rig->audit_dir, 0700) == 0);
    const struct audit_config config = {
        .dir = rig->audit_dir, .segment_bytes = 1 << 24, .segment_seconds = 3600, .queue = 64
    };
    CHECK_OK(audit_open(&config, &rig->trail, &unused, &err), err);
    rig->keyring.catalog = catalog_new();
    CHECK(rig->keyring.catalog != NULL);
    return 0;
}

int admin_rig_down(void **state)
{
    struct admin_rig *const rig = *state;

    audit_close(rig->trail);
    catalog_free(rig->keyring.catalog);
    iam_rig_down(&rig->iam);
    return 0;
}

struct admin_config admin_rig_config(struct admin_rig *rig, const char *path)
{
    return (struct admin_config){ .path = path,
                                  .log = &quiet,
                                  .services = { .iam = rig->iam.iam,
                                                .audit = rig->trail,
                                                .token = rig->iam.token,
                                                .store = rig->iam.store,
                                                .keyring = &rig->keyring,
                                                .clock = &rig->iam.clock,
                                                .account = RIG_ACCOUNT,
                                                .region = "us-east-1",
                                                .started_us = clock_mono_us() } };
}

int admin_rig_begin(void **state)
{
    struct admin_rig *const rig = *state;
    struct kms_error err = { 0 };

    iam_rig_begin(&rig->iam);
    const struct admin_config config = admin_rig_config(rig, rig->socket);
    CHECK_OK(admin_start(&config, &rig->admin, &err), err);
    return 0;
}

int admin_rig_end(void **state)
{
    struct admin_rig *const rig = *state;
    struct stat unused;

    admin_stop(rig->admin);
    rig->admin = NULL;
    CHECK(stat(rig->socket, &unused) != 0 && errno == ENOENT);
    return 0;
}

int admin_rig_call(const struct admin_rig *rig, const char *command, const char *field,
                   const char *value, json_t **ret, struct kms_error *err)
{
    json_auto_t *request = json_pack("{s:s, s:s*}", "Command", command, field ? field : "-", value);

    return admin_client_call(rig->socket, request, ret, err);
}

const char *text_of(const json_t *object, const char *name)
{
    const char *const text = json_string_value(json_object_get(object, name));

    CHECK(text != NULL);
    return text;
}

int admin_connect(const char *path)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    memcpy(address.sun_path, path, strlen(path));
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0) {
        const int reason = errno;
        (void)close(fd);
        errno = reason;
        return -1;
    }
    return fd;
}

void admin_send(int fd, struct span bytes)
{
    while (bytes.len > 0) {
        const ssize_t sent = send(fd, bytes.ptr, bytes.len, MSG_NOSIGNAL);
        if (sent < 0)
            return; /* refused early: the answer says why */
        bytes = span_of(bytes.ptr + sent, bytes.len - (size_t)sent);
    }
}

void admin_receive(int fd, struct buf *ret)
{
    uint8_t chunk[4096];

    for (ssize_t len; (len = recv(fd, chunk, sizeof(chunk), 0)) > 0;)
        buf_append(ret, span_of(chunk, (size_t)len));
    buf_u8(ret, 0);
    CHECK(!ret->failed);
}
