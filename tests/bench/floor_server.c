/*
 * The floor under any benchmark of the daemon: libmicrohttpd with the same listener options, and
 * one data key made by the token layer per POST. No authentication, no JSON, no audit, no catalog.
 * What the daemon costs beyond this is what it does beyond this.
 *
 *   floor_server --config FILE      reads [token], [https], [http], [service] and [limits]
 *
 * Prints "ready" when it listens; ends at SIGTERM or SIGINT.
 */

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <gnutls/gnutls.h>
#include <microhttpd.h>

#include "hsmkms/base/encode.h"
#include "hsmkms/base/settings.h"
#include "pkcs11/token.h"

#define EPOLL_WORKERS 2
#define DATA_KEY_LEN  32

struct floor {
    struct settings settings;
    struct token *token;
    struct token_key key;
    uint8_t canary[TOKEN_CANARY_LEN];
    gnutls_datum_t certificate_pem, key_pem;
};

/* One listener: a socket we accept from and the daemon that serves it. */
struct side {
    struct MHD_Daemon *daemon;
    int fd;
};

static int make_data_key(struct floor *self, char answer[512], struct kms_error *err)
{
    uint8_t random[DATA_KEY_LEN + TOKEN_IV_LEN], sealed[DATA_KEY_LEN + TOKEN_TAG_LEN];
    char plain[BASE64_LEN(DATA_KEY_LEN) + 1], blob[BASE64_LEN(sizeof(sealed)) + 1];

    if (token_random(self->token, random, sizeof(random), err) < 0 ||
        token_encrypt(self->token, &self->key, random + DATA_KEY_LEN, span_of(NULL, 0),
                      span_of(random, DATA_KEY_LEN), sealed, err) < 0)
        return -1;
    base64_format(plain, span_of(random, DATA_KEY_LEN));
    base64_format(blob, SPAN_ARRAY(sealed));
    (void)snprintf(answer, 512,
                   "{\"CiphertextBlob\":\"%s\",\"Plaintext\":\"%s\",\"KeyId\":\"arn:aws:kms:"
                   "us-east-1:000000000000:key/00000000-0000-4000-8000-000000000000\","
                   "\"CiphertextForRecipient\":\"%080d\"}",
                   blob, plain, 0);
    return 0;
}

static enum MHD_Result handle(void *arg, struct MHD_Connection *mhd, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_len, void **context)
{
    static int seen; /* its address marks a request whose head was seen */
    struct kms_error err = { 0 };
    char answer[512] = "";

    (void)url;
    (void)method;
    (void)version;
    (void)upload;
    if (*context == NULL) {
        *context = &seen;
        return MHD_YES;
    }
    if (*upload_len) {
        *upload_len = 0;
        return MHD_YES;
    }
    const int made = make_data_key(arg, answer, &err);
    if (made < 0)
        (void)fprintf(stderr, "floor_server: %s %s\n", err.message, err.detail);
    struct MHD_Response *const response =
        MHD_create_response_from_buffer(strlen(answer), answer, MHD_RESPMEM_MUST_COPY);
    if (response == NULL)
        return MHD_NO;
    (void)MHD_add_response_header(response, "Content-Type", "application/x-amz-json-1.1");
    const enum MHD_Result queued = MHD_queue_response(mhd, made < 0 ? 500 : 200, response);
    MHD_destroy_response(response);
    return queued;
}

static int listen_on(const char *address, int64_t port)
{
    static const int on = 1;
    const struct sockaddr_in at = { .sin_family = AF_INET,
                                    .sin_port = htons((uint16_t)port),
                                    .sin_addr.s_addr = inet_addr(address) };
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) != 0 ||
        bind(fd, (const struct sockaddr *)&at, sizeof(at)) != 0 || listen(fd, 1024) != 0) {
        perror("floor_server: listen");
        exit(1);
    }
    return fd;
}

static struct side start_side(struct floor *self, const char *address, int64_t port, bool tls)
{
    const unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC;
    const struct settings *const s = &self->settings;
    struct side side = { NULL, -1 };
    struct MHD_OptionItem secure[] = {
        { MHD_OPTION_HTTPS_MEM_CERT, 0, self->certificate_pem.data },
        { MHD_OPTION_HTTPS_MEM_KEY, 0, self->key_pem.data },
        { MHD_OPTION_END, 0, NULL },
    };

    if (port == 0)
        return side;
    side.fd = listen_on(address, port);
    side.daemon = MHD_start_daemon(
        flags | (tls ? MHD_USE_TLS : 0), 0, NULL, NULL, handle, self, MHD_OPTION_THREAD_POOL_SIZE,
        EPOLL_WORKERS, MHD_OPTION_CONNECTION_LIMIT, (unsigned)s->limits_connections * EPOLL_WORKERS,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)s->limits_idle_time,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)81920, MHD_OPTION_STRICT_FOR_CLIENT, 1,
        MHD_OPTION_ARRAY, tls ? secure : &secure[2], MHD_OPTION_END);
    if (side.daemon == NULL) {
        (void)fprintf(stderr, "floor_server: cannot start libmicrohttpd\n");
        exit(1);
    }
    return side;
}

static void accept_from(const struct side *side)
{
    struct sockaddr_storage address = { 0 };
    socklen_t len = sizeof(address);
    int fd = -1;

    while ((fd = accept4(side->fd, (struct sockaddr *)&address, &len,
                         SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
        (void)MHD_add_connection(side->daemon, fd, (struct sockaddr *)&address, len);
}

static int open_token(struct floor *self, struct kms_error *err)
{
    const struct settings *const s = &self->settings;
    const struct token_config config = {
        .module = s->token_module,
        .uri = s->token_uri,
        .init_args = s->token_init_args,
        .pin_file = s->token_pin_file,
        .state_dir = s->service_state_dir,
        .sessions = EPOLL_WORKERS,
        .copies = (unsigned)s->token_copies,
        .call_time_ms = (unsigned)s->token_call_time,
        .accept_extractable = s->token_accept_extractable,
    };

    if (token_open(&config, &self->token, err) < 0)
        return -1;
    self->key.id = uuid_random();
    if (token_key_generate(self->token, TOKEN_AES_GCM, &self->key.id, "floor", self->canary, err) <
        0)
        return -1;
    self->key.canary = SPAN_ARRAY(self->canary);
    return 0;
}

static void serve_until_signal(struct floor *self)
{
    const struct settings *const s = &self->settings;
    sigset_t ends;

    (void)sigemptyset(&ends);
    (void)sigaddset(&ends, SIGTERM);
    (void)sigaddset(&ends, SIGINT);
    (void)sigprocmask(SIG_BLOCK, &ends, NULL);
    (void)signal(SIGPIPE, SIG_IGN);
    const struct side sides[] = {
        start_side(self, s->https_address, s->https_port, true),
        start_side(self, s->http_address, s->http_port, false),
    };
    struct pollfd fds[] = { { signalfd(-1, &ends, SFD_CLOEXEC), POLLIN, 0 },
                            { sides[0].fd, POLLIN, 0 },
                            { sides[1].fd, POLLIN, 0 } };

    (void)puts("ready");
    (void)fflush(stdout);
    while (poll(fds, ARRAY_LEN(fds), -1) >= 0 && fds[0].revents == 0)
        for (size_t i = 0; i < ARRAY_LEN(sides); i++)
            if (fds[1 + i].revents)
                accept_from(&sides[i]);
    for (size_t i = 0; i < ARRAY_LEN(sides); i++)
        if (sides[i].daemon)
            MHD_stop_daemon(sides[i].daemon);
}

int main(int argc, char **argv)
{
    struct floor self = { 0 };
    struct kms_error err = { 0 };

    if (argc != 3 || strcmp(argv[1], "--config") != 0) {
        (void)fprintf(stderr, "usage: floor_server --config FILE\n");
        return 2;
    }
    if (settings_load(argv[2], &self.settings, &err) < 0 || open_token(&self, &err) < 0) {
        (void)fprintf(stderr, "floor_server: %s %s\n", err.message, err.detail);
        return 1;
    }
    if (self.settings.https_port &&
        (gnutls_load_file(self.settings.https_certificate, &self.certificate_pem) < 0 ||
         gnutls_load_file(self.settings.https_key, &self.key_pem) < 0)) {
        (void)fprintf(stderr, "floor_server: cannot read certificate or key\n");
        return 1;
    }
    serve_until_signal(&self);
    const int destroyed = token_key_destroy(self.token, &self.key.id, &err);
    token_close(self.token);
    settings_done(&self.settings);
    gnutls_free(self.certificate_pem.data);
    gnutls_free(self.key_pem.data);
    return destroyed < 0;
}
