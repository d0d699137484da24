#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "hsmkms/doors/kes_parts.h"

/* Routes about the service: none of them is an operation on keys. */

/* Seconds that MinIO KES says a route may take; clients show it. */
#define ROUTE_TIME_S 15

static int64_t uptime_s(const struct door_kes *door)
{
    return (clock_mono_us() - door->started_us) / 1000000;
}

static int64_t processors(void)
{
    const long count = sysconf(_SC_NPROCESSORS_ONLN);

    return count > 0 ? count : 1;
}

/* Bytes of the process in memory, 0 when the kernel does not say. Source: proc(5), statm. */
static int64_t memory_used(void)
{
    unsigned long long pages = 0;
    FILE *const file = fopen("/proc/self/statm", "re");

    if (file == NULL)
        return 0;
    const int got = fscanf(file, "%*u %llu", &pages);
    (void)fclose(file); /* read only */
    return got == 1 ? (int64_t)pages * sysconf(_SC_PAGESIZE) : 0;
}

void kes_version(struct kes_call *call)
{
    kes_answer(call, json_pack("{s:s, s:s}", "version", "hsmkms " HSMKMS_VERSION, "commit", ""));
}

void kes_ready(struct kes_call *call)
{
    if (door_health_token(call->door->config.health))
        kes_answer_empty(call);
    else
        kes_fail(call, (struct kes_fault){ 504, "key store is not reachable" });
}

/* A client takes an answer that says unreachable but not unavailable for malformed. */
void kes_status(struct kes_call *call)
{
    const bool good = door_health_token(call->door->config.health);
    struct utsname system = { 0 };

    (void)uname(&system); /* fails for a bad address alone */
    kes_answer(call,
               json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:b, s:b}", "version",
                         "hsmkms " HSMKMS_VERSION, "os", "linux", "arch", system.machine, "uptime",
                         (json_int_t)uptime_s(call->door), "num_cpu", (json_int_t)processors(),
                         "num_cpu_used", (json_int_t)processors(), "mem_heap_used",
                         (json_int_t)memory_used(), "mem_stack_used", (json_int_t)0,
                         "keystore_unreachable", !good, "keystore_unavailable", !good));
}

static void write_metric(struct buf *ret, const char *name, const char *type, int64_t value)
{
    buf_printf(ret, "# TYPE %s %s\n%s %" PRId64 "\n", name, type, name, value);
}

/* Source: Prometheus, Text-based exposition format; names as MinIO KES has them. */
void kes_metrics(struct kes_call *call)
{
    static const char *const counters[] = { "kes_http_request_success", "kes_http_request_error",
                                            "kes_http_request_failure" };
    struct door_kes *const door = call->door;
    AUTO(buf) text = { 0 };

    for (size_t i = 0; i < ARRAY_LEN(counters); i++)
        write_metric(&text, counters[i], "counter", (int64_t)atomic_load(&door->answered[i]));
    write_metric(&text, "kes_system_up_time", "gauge", uptime_s(door));
    write_metric(&text, "kes_system_num_cpu", "gauge", processors());
    write_metric(&text, "kes_system_mem_heap_used", "gauge", memory_used());
    if (text.failed) {
        kes_fail(call, (struct kes_fault){ 500, "out of memory" });
        return;
    }
    const struct buf taken = buf_take(&text); /* now owned by the answer */
    call->base.answer = (struct http_answer){ .status = 200,
                                              .content_type = "text/plain; version=0.0.4",
                                              .body = (char *)taken.ptr,
                                              .body_len = taken.len,
                                              .free_body = free };
    door_call_end(&call->base);
}

static const char *method_of(enum kes_verbs verbs)
{
    return verbs == KES_GET ? "GET" : verbs == KES_DELETE ? "DELETE" : "PUT";
}

void kes_api(struct kes_call *call)
{
    json_t *const list = json_array();

    for (const struct kes_route *route = kes_routes; route->path; route++) {
        if (route->serve == kes_not_offered)
            continue;
        const bool writes = route->verbs == KES_WRITE && route->members != NULL;
        (void)json_array_append_new(
            list, json_pack("{s:s, s:s+, s:I, s:i}", "method", method_of(route->verbs), "path",
                            route->path, route->argument == KES_NOTHING ? "" : "/", "max_body",
                            (json_int_t)(writes ? call->door->config.body_most : 0), "timeout",
                            ROUTE_TIME_S));
    }
    kes_answer(call, list);
}

/* Rules are not lists of paths here: whoever asks for them is shown the user. */
void kes_self(struct kes_call *call)
{
    const struct http_request *const request = http_exchange_request(call->base.exchange);

    kes_answer(call,
               json_pack("{s:s, s:b, s:s, s:s, s:{}, s:{}}", "identity",
                         request->client_cert.spki_sha256, "admin", 0, "policy",
                         call->base.call.principal.user_name, "created_by", "", "allow", "deny"));
}

void kes_not_offered(struct kes_call *call)
{
    kes_fail(call, (struct kes_fault){ 501, "not implemented" });
}
