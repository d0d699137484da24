#include "hsmkms/http/server.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "hsmkms/http/acceptor.h"
#include "hsmkms/http/key_keeper.h"

/* Epoll workers do framing and TLS alone; with two of them a long handshake stops half. */
#define EPOLL_WORKERS     2
#define OPS_EPOLL_WORKERS 1
#define OPS_WORKERS       1 /* health answers while all service workers are stuck in the token */
#define OPS_QUEUE         64

/* After the drain: for the last answers to reach their sockets. */
#define FLUSH_US INT64_C(1000000)

/* Descriptors beside connections: database, audit, token, sockets of our own. */
#define OTHER_DESCRIPTORS 256

struct http_server {
    struct http_config config;
    struct listener_shared shared;
    struct connections *connections;
    struct service *service, *ops_service;
    struct tls *https_tls, *kes_tls;
    bool tls_started;              /* tls_token_start() */
    struct key_keeper *key_keeper; /* where the TLS key lies in a token */
    struct listener *listeners[ACCEPTOR_LISTENERS];
    size_t listener_count;
    struct acceptor *acceptor;
};

static void on_tick(void *arg)
{
    struct http_server *const server = arg;

    if (server->service)
        service_tick(server->service);
    if (server->ops_service)
        service_tick(server->ops_service);
}

static int start_services(struct http_server *server, struct kms_error *err)
{
    const struct settings *const s = server->config.settings;
    const int64_t wait_us = s->limits_queue_time * 1000;
    const struct service_config main = {
        { (size_t)s->limits_queue, (size_t)s->limits_queue_per_principal, wait_us },
        (size_t)s->service_workers,
    };
    const struct service_config ops = { { OPS_QUEUE, OPS_QUEUE, wait_us }, OPS_WORKERS };

    if (service_start(&main, &server->service, err) < 0)
        return -1;
    return service_start(&ops, &server->ops_service, err);
}

static int start_listener(struct http_server *server, struct listener_config *config,
                          struct kms_error *err)
{
    if (config->port == 0)
        return 0;
    config->shared = &server->shared;
    if (listener_start(config, &server->listeners[server->listener_count], err) < 0)
        return -1;
    server->listener_count++;
    log_event(server->config.log, LOG_LEVEL_INFO, "listen", "name=%s address=%s port=%d",
              config->name, config->address, (int)config->port);
    return 0;
}

static int start_listeners(struct http_server *server, struct kms_error *err)
{
    const struct settings *const s = server->config.settings;
    struct listener_config https = { .name = "https",
                                     .address = s->https_address,
                                     .port = s->https_port,
                                     .epoll_workers = EPOLL_WORKERS,
                                     .tls = server->https_tls,
                                     .doors = server->config.https_doors,
                                     .service = server->service };
    struct listener_config http = { .name = "http",
                                    .address = s->http_address,
                                    .port = s->http_port,
                                    .loopback_only = true,
                                    .epoll_workers = EPOLL_WORKERS,
                                    .doors = server->config.http_doors,
                                    .service = server->service };
    struct listener_config kes = { .name = "kes",
                                   .address = s->kes_address,
                                   .port = server->config.kes_doors ? s->kes_port : 0,
                                   .epoll_workers = EPOLL_WORKERS,
                                   .tls = server->kes_tls,
                                   .doors = server->config.kes_doors,
                                   .service = server->service };
    struct listener_config ops = { .name = "ops",
                                   .address = s->ops_address,
                                   .port = s->ops_port,
                                   .epoll_workers = OPS_EPOLL_WORKERS,
                                   .doors = server->config.ops_doors,
                                   .service = server->ops_service };

    if (start_listener(server, &https, err) < 0 || start_listener(server, &http, err) < 0 ||
        start_listener(server, &kes, err) < 0)
        return -1;
    return start_listener(server, &ops, err);
}

static int make_https_tls(struct http_server *server, struct kms_error *err)
{
    const struct settings *const s = server->config.settings;
    struct tls_config config = { .certificate = s->https_certificate,
                                 .key = s->https_key,
                                 .key_token = server->config.key_token,
                                 .priority = s->https_priority,
                                 .client_ca = s->https_client_ca,
                                 .client_crl = s->https_client_crl };

    if (s->https_port == 0)
        return 0;
    if (tls_clients_parse(s->https_client_certificates, &config.clients, err) < 0)
        return -1;
    return tls_new(&config, &server->https_tls, err);
}

/* Any certificate is taken as a key: what it may is the door's to find out. */
static int make_kes_tls(struct http_server *server, struct kms_error *err)
{
    const struct settings *const s = server->config.settings;
    const bool own = s->kes_certificate[0] || s->kes_key[0];
    const struct tls_config config = { .certificate = own ? s->kes_certificate
                                                          : s->https_certificate,
                                       .key = own ? s->kes_key : s->https_key,
                                       .key_token = server->config.key_token,
                                       .priority = s->https_priority,
                                       .clients = TLS_CLIENTS_REQUEST,
                                       .client_ca = "",
                                       .client_crl = "" };

    if (s->kes_port == 0 || server->config.kes_doors == NULL)
        return 0;
    return tls_new(&config, &server->kes_tls, err);
}

static uint64_t key_failures(void *arg)
{
    const struct http_server *const server = arg;
    const struct tls *const all[] = { server->https_tls, server->kes_tls };
    uint64_t sum = 0;

    for (size_t i = 0; i < ARRAY_LEN(all); i++)
        sum += all[i] ? tls_key_failures(all[i]) : 0;
    return sum;
}

static int load_again(void *arg, struct kms_error *err)
{
    return http_server_reload_tls(arg, err);
}

static int start_tls(struct http_server *server, struct kms_error *err)
{
    const struct key_keeper_config keeper = { server->config.log, server, key_failures,
                                              load_again };
    const bool in_token = server->config.key_token != NULL;

    if (tls_token_start(in_token ? server->config.settings->https_key_module : "", err) < 0)
        return -1;
    server->tls_started = true;
    if (make_https_tls(server, err) < 0 || make_kes_tls(server, err) < 0)
        return -1;
    return in_token ? key_keeper_start(&keeper, &server->key_keeper, err) : 0;
}

/* The soft limit of descriptors is raised to what the connections need, as far as it may. */
static void want_descriptors(const struct http_server *server)
{
    const rlim_t need = (rlim_t)server->config.settings->limits_connections + OTHER_DESCRIPTORS;
    struct rlimit limit = { 0 };

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= need)
        return;
    limit.rlim_cur = need < limit.rlim_max ? need : limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur < need)
        log_event(server->config.log, LOG_LEVEL_WARN, "descriptors", "have=%llu need=%llu",
                  (unsigned long long)limit.rlim_cur, (unsigned long long)need);
}

static int start_parts(struct http_server *server, struct kms_error *err)
{
    const struct settings *const s = server->config.settings;

    want_descriptors(server);
    if (start_tls(server, err) < 0)
        return -1;
    if (start_services(server, err) < 0)
        return -1;
    if (connections_start(s->limits_request_time * 1000, on_tick, server, &server->connections,
                          err) < 0)
        return -1;
    server->shared.connections = server->connections;
    if (start_listeners(server, err) < 0)
        return -1;
    return acceptor_start(server->listeners, server->listener_count, &server->shared,
                          &server->acceptor, err);
}

int http_server_start(const struct http_config *config, struct http_server **ret,
                      struct kms_error *err)
{
    struct http_server *const server = calloc(1, sizeof(*server));
    sigset_t all, before;

    if (server == NULL)
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for the server");
    server->config = *config;
    server->shared.settings = config->settings;
    server->shared.clock = config->clock;
    server->shared.log = config->log;

    /* every thread made below inherits this: signals are main's */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const int result = start_parts(server, err);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (result < 0) {
        http_server_stop(server, 0);
        return -1;
    }
    *ret = server;
    return 0;
}

static void stop_requests(struct http_server *server, int64_t drain_ms)
{
    struct service *const services[] = { server->service, server->ops_service };
    const int64_t until_us = clock_mono_us() + drain_ms * 1000;

    atomic_store(&server->shared.stopping, true);
    for (size_t i = 0; i < ARRAY_LEN(services); i++)
        if (services[i])
            service_drain(services[i], until_us);
    atomic_store(&server->shared.stopped, true);
    const int64_t flushed_us = clock_mono_us() + FLUSH_US;
    for (size_t i = 0; i < ARRAY_LEN(services); i++)
        if (services[i])
            service_close(services[i], flushed_us);
}

void http_server_stop(struct http_server *server, int64_t drain_ms)
{
    acceptor_stop(server->acceptor);
    for (size_t i = 0; i < server->listener_count; i++)
        listener_deafen(server->listeners[i]);
    stop_requests(server, drain_ms);
    for (size_t i = 0; i < server->listener_count; i++)
        listener_stop(server->listeners[i]);
    connections_stop(server->connections); /* its tick uses the services */
    service_stop(server->service);
    service_stop(server->ops_service);
    key_keeper_stop(server->key_keeper);
    tls_free(server->https_tls);
    tls_free(server->kes_tls);
    if (server->tls_started)
        tls_token_stop();
    free(server);
}

int http_server_reload_tls(struct http_server *server, struct kms_error *err)
{
    if (server->https_tls && tls_reload(server->https_tls, err) < 0)
        return -1;
    return server->kes_tls ? tls_reload(server->kes_tls, err) : 0;
}

void http_server_status(struct http_server *server, struct http_status *ret)
{
    const struct service_status service = service_status(server->service);

    *ret = (struct http_status){
        .connections = connections_count(server->connections),
        .queued = service.queue.depth,
        .queued_most = service.queue.deepest,
        .requests = atomic_load(&server->shared.requests),
        .refused = atomic_load(&server->shared.refused),
        .throttled = service.throttled,
        .tls_key_failures = key_failures(server),
        .tls_key_missing = key_keeper_misses_key(server->key_keeper),
    };
}
