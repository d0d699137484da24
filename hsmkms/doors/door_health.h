#pragma once

/*
 * Whether the service can serve, and what it has done: GET /health for load balancers and GET
 * /metrics for Prometheus, on the ops listener, unsigned. Shows numbers, states and key ids, no
 * request and no principal.
 *
 * Source: Prometheus, Text-based exposition format 0.0.4.
 */

#include <stdatomic.h>

#include "hsmkms/api/api.h"
#include "hsmkms/http/server.h"

struct door_health_config {
    struct token *token;
    struct audit *audit;
    struct api *api;
    struct keyring *keyring;
    int64_t cache_ms; /* ops.health_cache */
};

struct door_health;

CHECKED int door_health_new(const struct door_health_config *config, struct door_health **ret,
                            struct kms_error *err);

/* No request is in the door any more. Accepts NULL. */
void door_health_free(struct door_health *health);

/*
 * The server that the door is part of, known only once it has started; until then, and after NULL
 * was set to say that it stops, /health is red.
 */
void door_health_set_server(struct door_health *health, struct http_server *server);

/* Whether the token answers, as /health says it: one probe answers for cache_ms. */
bool door_health_token(struct door_health *health);

/* Whether /health would be green; asks the token at most once in cache_ms. Any thread. */
bool door_health_is_good(struct door_health *health);

/* The context is a struct door_health. */
extern const struct door door_health;
