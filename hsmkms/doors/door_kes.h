#pragma once

/*
 * The API of MinIO KES, as far as clients of object stores use it: keys by name, data keys bound to
 * a context. A client is known by the public key of its TLS certificate, which stands for a user
 * (iam/cert_binding.h); what that user may is decided as everywhere.
 *
 *   name of a key     alias/NAME, or a key id
 *   create            CreateKey, CreateAlias, for the key and for its HMAC key (kes_hmac.c)
 *   generate          GenerateDataKey of 32 bytes
 *   hmac              GenerateMac with that one; a key that has none: 501
 *   delete            ScheduleKeyDeletion of both, DeleteAlias
 *   context           kes_context.h
 *
 * Source: MinIO KES, Server API; the error texts are those that clients compare.
 */

#include <pthread.h>
#include <stdatomic.h>

#include "hsmkms/doors/door_call.h"
#include "hsmkms/doors/door_health.h"

struct door_kes_config {
    struct api *api;
    struct iam *iam;
    struct door_health *health;
    const struct log *log;
    int64_t body_most;     /* limits.body */
    int64_t deletion_days; /* kes.deletion_window */
    bool open_probes;      /* kes.open_probes */
};

/* Its parts are the door's own. */
struct door_kes {
    struct door_kes_config config;
    int64_t started_us;
    pthread_mutex_t creating;         /* one at a time: nodes of a cluster all ask at their start */
    atomic_uint_fast64_t answered[3]; /* good, refused, failed */
};
void door_kes_init(const struct door_kes_config *config, struct door_kes *ret);
void door_kes_done(struct door_kes *door); /* no request is in it; accepts its zero state */

/* The context is a struct door_kes. */
extern const struct door door_kes;        /* of a listener of its own: every request */
extern const struct door door_kes_shared; /* beside other doors: the paths of KES alone */
