#include "hsmkms/api/metrics.h"

#include <inttypes.h>
#include <stdlib.h>

#include "hsmkms/keys/regions.h"

/* Upper bounds of the latency buckets, microseconds. */
static const int64_t bounds_us[] = { 100,   250,   500,    1000,   2500,    5000,   10000,
                                     25000, 50000, 100000, 250000, 1000000, 5000000 };

struct op_metrics {
    atomic_ullong results[KMS_ERR_COUNT];
    atomic_ullong buckets[ARRAY_LEN(bounds_us) + 1]; /* the last: longer than all bounds */
    atomic_ullong total_us;
};

struct metrics {
    struct op_metrics *rows; /* one per operation, and one for what is none */
};

int metrics_new(struct metrics **ret, struct kms_error *err)
{
    struct metrics *const metrics = calloc(1, sizeof(*metrics));

    if (metrics)
        metrics->rows = calloc(op_count + 1, sizeof(*metrics->rows));
    if (metrics == NULL || metrics->rows == NULL) {
        free(metrics);
        return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for metrics");
    }
    *ret = metrics;
    return 0;
}

void metrics_free(struct metrics *metrics)
{
    if (metrics)
        free(metrics->rows);
    free(metrics);
}

void metrics_count(struct metrics *metrics, const struct op *op, enum kms_err result, int64_t us)
{
    struct op_metrics *const row = &metrics->rows[op ? (size_t)(op - ops) : op_count];
    size_t bucket = 0;

    while (bucket < ARRAY_LEN(bounds_us) && us > bounds_us[bucket])
        bucket++;
    atomic_fetch_add_explicit(&row->results[result], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&row->buckets[bucket], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&row->total_us, us > 0 ? (unsigned long long)us : 0,
                              memory_order_relaxed);
}

static const char *row_name(size_t i)
{
    return i < op_count ? ops[i].name : "none";
}

static void format_results(const struct metrics *metrics, struct buf *ret)
{
    buf_text(ret, "# HELP hsmkms_requests_total Requests by operation and result.\n"
                  "# TYPE hsmkms_requests_total counter\n");
    for (size_t i = 0; i <= op_count; i++)
        for (enum kms_err code = 0; code < KMS_ERR_COUNT; code++) {
            const unsigned long long count = atomic_load(&metrics->rows[i].results[code]);
            if (count)
                buf_printf(ret, "hsmkms_requests_total{operation=\"%s\",result=\"%s\"} %llu\n",
                           row_name(i), code == KMS_ERR_NONE ? "ok" : kms_err_name(code), count);
        }
}

static void format_latency(const char *name, const struct op_metrics *row, struct buf *ret)
{
    unsigned long long sum = 0;

    for (size_t b = 0; b < ARRAY_LEN(bounds_us); b++) {
        sum += atomic_load(&row->buckets[b]);
        buf_printf(ret, "hsmkms_request_seconds_bucket{operation=\"%s\",le=\"%g\"} %llu\n", name,
                   (double)bounds_us[b] / 1e6, sum);
    }
    sum += atomic_load(&row->buckets[ARRAY_LEN(bounds_us)]);
    buf_printf(ret, "hsmkms_request_seconds_bucket{operation=\"%s\",le=\"+Inf\"} %llu\n", name,
               sum);
    buf_printf(ret, "hsmkms_request_seconds_sum{operation=\"%s\"} %.6f\n", name,
               (double)atomic_load(&row->total_us) / 1e6);
    buf_printf(ret, "hsmkms_request_seconds_count{operation=\"%s\"} %llu\n", name, sum);
}

static bool row_used(const struct op_metrics *row)
{
    for (size_t b = 0; b <= ARRAY_LEN(bounds_us); b++)
        if (atomic_load(&row->buckets[b]))
            return true;
    return false;
}

void metrics_format(const struct metrics *metrics, struct buf *ret)
{
    format_results(metrics, ret);
    buf_text(ret, "# HELP hsmkms_request_seconds Time from decoding to the durable record.\n"
                  "# TYPE hsmkms_request_seconds histogram\n");
    for (size_t i = 0; i <= op_count; i++)
        if (row_used(&metrics->rows[i]))
            format_latency(row_name(i), &metrics->rows[i], ret);
}

static void gauge(struct buf *ret, const char *name, const char *kind, const char *help,
                  uint64_t value)
{
    buf_printf(ret, "# HELP %s %s\n# TYPE %s %s\n%s %" PRIu64 "\n", name, help, name, kind, name,
               value);
}

void api_metrics(struct api *api, struct buf *ret)
{
    struct audit_status audit;

    metrics_format(api->metrics, ret);
    audit_status(api->config.audit, &audit);
    gauge(ret, "hsmkms_audit_healthy", "gauge", "1 while records become durable.", audit.healthy);
    gauge(ret, "hsmkms_audit_records_total", "counter", "Audit records written.", audit.seq);
    gauge(ret, "hsmkms_audit_groups_total", "counter", "Group commits.", audit.groups);
    gauge(ret, "hsmkms_audit_queued", "gauge", "Records waiting for the disk.", audit.queued);
    gauge(ret, "hsmkms_keys", "gauge", "Customer keys.", keyring_count(api->config.keyring));
}
