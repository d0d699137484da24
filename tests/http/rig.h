#pragma once

/*
 * A server with a test door, and a plain client: what the HTTP tests stand on.
 *
 * The door answers by path: /echo sends the body back, /slow does so from another thread after a
 * moment, /hold answers when the test says so, /block keeps its worker until then, /seen lists
 * what arrived, /client lists who the client is; /stall?FD halts its epoll worker, from writing a
 * byte to FD until one can be read there, and is refused. Header x-claim names the claimant. Errors
 * are JSON with the error's name.
 */

#include <pthread.h>
#include <stdio.h>

#include <gnutls/x509.h>

#include "hsmkms/http/server.h"
#include "tests/support/check.h"

#define RIG_HELD_MOST 2048

struct rig {
    char dir[64], certificate[96], key[96];
    int port, tls_port, ops_port;
    struct settings settings;
    struct clock clock;
    struct log log;
    struct http_door doors[2];
    struct http_server *server;

    pthread_t answerer; /* gives the answers of /slow */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct http_exchange *slow[RIG_HELD_MOST], *held[RIG_HELD_MOST];
    size_t slow_count, held_count;
    size_t blocked; /* workers in /block */
    bool gate_open, ending;

};

/* Starts it with these lines after the defaults; rig in its zero state. */
void rig_start(struct rig *rig, const char *extra_settings);

/* Opens the gate for good, stops the server and removes the folder. */
void rig_end(struct rig *rig);
void rig_stop_server(struct rig *rig, int64_t drain_ms);

/* Waits until count exchanges are held (or workers blocked). */
void rig_wait_held(struct rig *rig, size_t count);
void rig_wait_blocked(struct rig *rig, size_t count);

/* Answers every held exchange and lets blocked workers go. */
void rig_open_gate(struct rig *rig);

/* Writes a new self-signed EC certificate for name into the rig's two files. */
void rig_make_certificate(const struct rig *rig, const char *name);

struct client {
    int fd;
    gnutls_session_t tls;
    gnutls_certificate_credentials_t credentials;
    char room[4096];
    size_t len; /* bytes read ahead */
};

struct reply {
    int status;
    char head[2048];
    char body[2048]; /* its first bytes, with a NUL */
    size_t body_len; /* all of it */
};

/* What a client shows of itself. */
struct client_identity {
    gnutls_x509_crt_t *chain; /* its own first */
    unsigned count;
    gnutls_x509_privkey_t key;
};

/*
 * The same as client_open(), with a certificate. With TLS 1.3 a client that the server refuses
 * learns of it when it reads.
 */
bool client_open_as(struct client *client, int port, const char *priority,
                    const struct client_identity *identity);

/* priority NULL: plain. False: no connection, or no handshake. */
bool client_open(struct client *client, int port, const char *priority);

/* The same, offering these protocols by ALPN. */
bool client_open_alpn(struct client *client, int port, const char *priority,
                      const gnutls_datum_t *protocols, unsigned count);
void client_close(struct client *client);
bool client_send(struct client *client, const void *bytes, size_t len);
bool client_send_text(struct client *client, const char *text);

/* Reads one response. False: the connection ended before its end. */
bool client_read(struct client *client, struct reply *ret);

/* True when the server ends the connection within a few seconds, whatever it still sends. */
bool client_is_closed(struct client *client);

/* One POST with this body, and its reply. */
bool client_post(struct client *client, const char *path, const char *headers, const char *body,
                 struct reply *ret);
