#include "hsmkms/admin/client.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "hsmkms/base/span.h"

/* A socket that closes itself; the zero state is none. */
struct client {
    bool open;
    int fd;
    size_t received;
};

static void client_done(struct client *client)
{
    if (client->open)
        (void)close(client->fd);
    *client = (struct client){ 0 };
}

static int client_connect(struct client *ret, const char *path, struct kms_error *err)
{
    const struct timeval wait = { .tv_sec = ADMIN_WAIT_S };
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const size_t len = strlen(path);

    if (len == 0 || len >= sizeof(address.sun_path))
        return kms_fail(err, KMS_ERR_CONFIG, "the path of a socket has 1 to %zu characters",
                        sizeof(address.sun_path) - 1);
    memcpy(address.sun_path, path, len);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return kms_fail(err, KMS_ERR_CONFIG, "no socket: %s", strerrordesc_np(errno));
    *ret = (struct client){ .open = true, .fd = fd };
    if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait)) != 0 ||
        setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &wait, sizeof(wait)) != 0 ||
        connect(fd, (const struct sockaddr *)&address, sizeof(address)) != 0)
        return kms_fail(err, KMS_ERR_CONFIG, "cannot connect to %s: %s", path,
                        strerrordesc_np(errno));
    return 0;
}

/* json_dump_callback's; a daemon that refuses early may have stopped reading, so its answer is
 * what counts, not a failed write. */
static int send_part(const char *bytes, size_t len, void *arg)
{
    const struct client *const client = arg;

    while (len > 0) {
        const ssize_t sent = send(client->fd, bytes, len, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return -1;
        bytes += sent;
        len -= (size_t)sent;
    }
    return 0;
}

/* json_load_callback's: the answer goes from the socket into the parser, without a buffer here. */
static size_t receive_part(void *bytes, size_t room, void *arg)
{
    struct client *const client = arg;
    ssize_t len;

    do
        len = recv(client->fd, bytes, room, 0);
    while (len < 0 && errno == EINTR);
    if (len < 0 || (client->received += (size_t)len) > ADMIN_ANSWER_MAX)
        return (size_t)-1;
    return (size_t)len;
}

static enum kms_err code_of_name(const char *name)
{
    for (enum kms_err code = KMS_ERR_NONE + 1; code < KMS_ERR_COUNT; code++)
        if (strcmp(kms_err_name(code), name) == 0)
            return code;
    return KMS_ERR_INTERNAL;
}

static int read_answer(const json_t *answer, json_t **ret, struct kms_error *err)
{
    json_t *const result = json_object_get(answer, "Result");
    const json_t *const error = json_object_get(answer, "Error");
    const char *const code = json_string_value(json_object_get(error, "Code"));
    const char *const message = json_string_value(json_object_get(error, "Message"));

    if (json_is_object(result)) {
        *ret = json_incref(result);
        return 0;
    }
    if (code && message)
        return kms_fail(err, code_of_name(code), "%s", message);
    return kms_fail(err, KMS_ERR_INTERNAL, "the daemon closed the connection without an answer");
}

int admin_client_call(const char *path, const json_t *request, json_t **ret, struct kms_error *err)
{
    AUTO(client) client = { 0 };

    if (client_connect(&client, path, err) < 0)
        return -1;
    if (json_dump_callback(request, send_part, &client, JSON_COMPACT) == 0)
        (void)send_part("\n", 1, &client);
    json_auto_t *answer = json_load_callback(receive_part, &client, JSON_REJECT_DUPLICATES, NULL);
    return read_answer(answer, ret, err);
}
