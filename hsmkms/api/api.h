#pragma once

/*
 * Operations, independent of any HTTP dialect: a door hands in an operation's name, its parameters
 * as a JSON object and an authenticated principal, and gets a result object or an error when the
 * audit record of the call is durable. Operation names, parameters and results are those of the
 * AWS KMS API Reference; other dialects translate to them.
 */

#include <jansson.h>

#include "hsmkms/api/rate_limits.h"
#include "hsmkms/audit/audit.h"
#include "hsmkms/base/log.h"
#include "hsmkms/iam/access_key.h"
#include "hsmkms/keys/keyring.h"

struct api;
struct notary; /* notary.h */

struct api_config {
    struct keyring *keyring;
    struct iam *iam;
    struct audit *audit;
    const struct clock *clock;
    const struct log *log;
    int64_t due_check_s;
    int64_t last_use_save_s; /* how often the last uses of keys are written to the database */
    struct rate_limits rates;
    struct notary *notary; /* NULL: the audit trail is not signed */
};

/* Builds the operations' state. Nothing is started. */
CHECKED int api_new(const struct api_config *config, struct api **ret, struct kms_error *err);
void api_free(struct api *api);

/* Whose operations they are; each has a table. */
enum api_service { API_KMS, API_STS };

/* What a verified client certificate says; borrowed for as long as the call. */
struct api_client_cert {
    const char *spki;    /* SHA-256 of its public key, hex; NULL or "": there is none */
    const char *subject; /* RFC 4514 */
    const char *const *sans;
    size_t san_count;
};

/* One call. The door owns it from before api_call until done has run. */
struct api_call {
    /* from the door */
    enum api_service service;
    const char *operation; /* "Encrypt"; an unknown name is answered UNKNOWN_OPERATION */
    json_t *parameters;    /* an object; owned by the call, released after done */
    struct principal principal; /* owned by the call */
    struct uuid request_id;
    char source_ip[64];
    char user_agent[256];                  /* cut */
    char tls_version[16], tls_cipher[48];  /* "" when the connection is plain */
    char host[256];                        /* the Host header */
    const char *referer, *listener;        /* borrowed for as long as the call; or NULL */
    struct api_client_cert client_cert;
    void (*settle)(struct api_call *call); /* NULL, or runs once in the worker's thread when err or
                                              result stand: the time to write the answer down. Only
                                              done says whether it may leave: err may be another */
    void (*done)(struct api_call *call);   /* runs once, in a worker's or the committer's thread;
                                              must not block */

    /* to the door: either an error or a result */
    struct kms_error err;
    json_t *result;    /* NULL for operations without output; owned by the call */
    int64_t begun_us;  /* clock_mono_us() when api_call started */
    char key_arn[400]; /* key that the call was about, for the log; "" when none */
};

/*
 * Runs a call in the calling thread, up to the point where only its audit record is waited for.
 * Decodes, resolves, authorizes, checks state, runs, records; then done.
 */
void api_call_run(struct api *api, struct api_call *call);

/* Releases parameters and result early, wiping what was private; from settle on. */
void api_call_release(struct api_call *call);

/* The same, and zeroes the call. */
void api_call_done(struct api_call *call);

/*
 * A request that failed authentication or is not an operation: counted and, at a bounded rate,
 * audited.
 */
void api_refused(struct api *api, const struct api_call *call);

/* The background worker: due rotations and deletions, budgets, token upkeep. */
CHECKED int api_worker_start(struct api *api, struct kms_error *err);
void api_worker_stop(struct api *api);

/* Counters for /metrics: requests by operation and result, latencies. Appends Prometheus text. */
void api_metrics(struct api *api, struct buf *ret);

/* The operation of row i of the table, NULL past the end: for tests and doors that list them. */
const char *api_operation_name(size_t i);
