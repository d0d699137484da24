/* Bounds, turns and due times: hsmkms/http/queue.c. */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "hsmkms/base/clock.h"
#include "hsmkms/http/queue.h"
#include "tests/support/check.h"

#define LONG_US INT64_C(3600000000)

static struct queue *make(size_t most, size_t most_per_claimant, int64_t wait_us)
{
    struct kms_error err = { 0 };
    struct queue *queue = NULL;

    CHECK_OK(queue_new(&(struct queue_limits){ most, most_per_claimant, wait_us }, &queue, &err),
             err);
    return queue;
}

static bool push(struct queue *queue, struct queue_item *item, const char *claim)
{
    char room[QUEUE_CLAIM_LEN] = { 0 };

    (void)snprintf(room, sizeof(room), "%s", claim);
    return queue_push(queue, item, room, clock_mono_us());
}

static void end(struct queue *queue)
{
    queue_close(queue);
    while (queue_take_due(queue, INT64_MAX))
        ;
    queue_free(queue);
}

static void test_queue_one_claimant_first_come_first_served(void **state)
{
    struct queue *const queue = make(8, 8, LONG_US);
    struct queue_item items[8] = { 0 }, *got = NULL;

    (void)state;
    for (size_t i = 0; i < 8; i++)
        CHECK(push(queue, &items[i], "a"));
    for (size_t i = 0; i < 8; i++) {
        assert_int_equal(queue_pop(queue, &got), QUEUE_WORK);
        assert_ptr_equal(got, &items[i]);
    }
    assert_int_equal(queue_status(queue).depth, 0);
    assert_int_equal(queue_status(queue).deepest, 8);
    end(queue);
}

/* One claimant has filled its part; a second one that comes later waits for one item only. */
static void test_queue_claimants_take_turns(void **state)
{
    struct queue *const queue = make(64, 32, LONG_US);
    struct queue_item greedy[32] = { 0 }, modest[2] = { 0 }, *got = NULL;

    (void)state;
    for (size_t i = 0; i < 32; i++)
        CHECK(push(queue, &greedy[i], "greedy"));
    for (size_t i = 0; i < 2; i++)
        CHECK(push(queue, &modest[i], "modest"));

    struct queue_item *const want[] = { &greedy[0], &modest[0], &greedy[1],
                                        &modest[1], &greedy[2], &greedy[3] };
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_int_equal(queue_pop(queue, &got), QUEUE_WORK);
        assert_ptr_equal(got, want[i]);
    }
    end(queue);
}

/*
 * The allocator of the hash table's buckets, which are larger than all else here; with
 * --wrap=malloc,--wrap=calloc, because an optimizer makes a calloc of a malloc and a memset.
 */
#define BUCKETS_LEAST 400
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_calloc(size_t count, size_t size);
static bool no_memory;

void *__wrap_malloc(size_t size)
{
    return no_memory && size >= BUCKETS_LEAST ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return no_memory && count * size >= BUCKETS_LEAST ? NULL : __real_calloc(count, size);
}

/* A new claimant is refused where its row cannot be made; who waits already goes on. */
static void test_queue_without_memory(void **state)
{
    struct queue *const queue = make(8, 8, LONG_US);
    struct queue_item items[3] = { 0 }, *got = NULL;

    (void)state;
    no_memory = true;
    const bool first = push(queue, &items[0], "a");
    no_memory = false;
    CHECK(!first);
    assert_int_equal(queue_status(queue).depth, 0);
    CHECK(push(queue, &items[0], "a"));
    no_memory = true;
    const bool second = push(queue, &items[1], "a");
    no_memory = false;
    CHECK(second);
    CHECK(push(queue, &items[2], "b"));
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(queue_pop(queue, &got), QUEUE_WORK);
    end(queue);
}

/* The same while the table grows, with every claimant a new one. */
static void test_queue_without_memory_to_grow(void **state)
{
    enum { MANY = 2000 };
    struct queue *const queue = make(MANY, MANY, LONG_US);
    struct queue_item *const items = calloc(MANY, sizeof(*items)), *got = NULL;
    size_t waiting = 0;

    (void)state;
    assert_non_null(items);
    CHECK(push(queue, &items[0], "first"));
    no_memory = true;
    for (size_t i = 1; i < MANY; i++) {
        char claim[QUEUE_CLAIM_LEN];
        (void)snprintf(claim, sizeof(claim), "c%zu", i);
        waiting += push(queue, &items[i], claim);
    }
    no_memory = false;
    CHECK(waiting > 0 && waiting < MANY - 1);
    for (size_t i = 0; i <= waiting; i++)
        assert_int_equal(queue_pop(queue, &got), QUEUE_WORK);
    assert_int_equal(queue_status(queue).depth, 0);
    end(queue);
    free(items);
}

static void test_queue_full_refuses(void **state)
{
    struct queue *const queue = make(3, 2, LONG_US);
    struct queue_item items[5] = { 0 }, *got = NULL;

    (void)state;
    CHECK(push(queue, &items[0], "a"));
    CHECK(push(queue, &items[1], "a"));
    CHECK(!push(queue, &items[2], "a")); /* its part */
    CHECK(push(queue, &items[2], ""));   /* nobody in particular is a claimant too */
    CHECK(!push(queue, &items[3], "b")); /* the whole */
    assert_int_equal(queue_pop(queue, &got), QUEUE_WORK);
    CHECK(push(queue, &items[3], "b"));
    end(queue);
}

static void test_queue_overdue(void **state)
{
    struct queue *const queue = make(4, 4, 0);
    struct queue_item items[3] = { 0 }, *got = NULL;

    (void)state;
    for (size_t i = 0; i < 3; i++)
        CHECK(push(queue, &items[i], i == 1 ? "b" : "a"));
    assert_int_equal(queue_pop(queue, &got), QUEUE_OVERDUE);
    assert_ptr_equal(got, &items[0]);
    CHECK(queue_take_due(queue, INT64_MIN) == NULL);
    assert_ptr_equal(queue_take_due(queue, clock_mono_us()), &items[1]); /* the oldest */
    assert_ptr_equal(queue_take_due(queue, clock_mono_us()), &items[2]);
    CHECK(queue_take_due(queue, INT64_MAX) == NULL);
    end(queue);
}

static void test_queue_closed(void **state)
{
    struct queue *const queue = make(4, 4, LONG_US);
    struct queue_item items[2] = { 0 }, *got = NULL;

    (void)state;
    CHECK(push(queue, &items[0], "a"));
    queue_close(queue);
    CHECK(!push(queue, &items[1], "a"));
    assert_int_equal(queue_pop(queue, &got), QUEUE_CLOSED);
    assert_ptr_equal(queue_take_due(queue, INT64_MAX), &items[0]);
    queue_free(queue);
    queue_free(NULL);
}

/* Several threads push and pop; every item comes out once. */
#define PUSHERS 3
#define EACH    4000

struct crowd {
    struct queue *queue;
    struct queue_item *items;
    unsigned number;
    size_t taken;
};

static void *push_many(void *arg)
{
    struct crowd *const crowd = arg;
    char claim[QUEUE_CLAIM_LEN];

    for (size_t i = 0; i < EACH; i++) {
        (void)snprintf(claim, sizeof(claim), "c%zu", (crowd->number + i) % 7);
        while (!queue_push(crowd->queue, &crowd->items[i], claim, clock_mono_us()))
            (void)sched_yield();
    }
    return NULL;
}

static void *pop_many(void *arg)
{
    struct crowd *const crowd = arg;
    struct queue_item *item = NULL;

    while (queue_pop(crowd->queue, &item) == QUEUE_WORK)
        if (item->claimant == NULL && item->due_us) {
            item->due_us = 0; /* a second time would not be counted */
            crowd->taken++;
        }
    return NULL;
}

static void test_queue_threads_lose_nothing(void **state)
{
    struct queue *const queue = make(64, 32, LONG_US);
    struct crowd pushers[PUSHERS] = { 0 }, poppers[2] = { { .queue = queue }, { .queue = queue } };
    pthread_t threads[PUSHERS + 2];

    (void)state;
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[PUSHERS + i], NULL, pop_many, &poppers[i]), 0);
    for (unsigned i = 0; i < PUSHERS; i++) {
        pushers[i] = (struct crowd){ queue, calloc(EACH, sizeof(struct queue_item)), i, 0 };
        assert_non_null(pushers[i].items);
        assert_int_equal(pthread_create(&threads[i], NULL, push_many, &pushers[i]), 0);
    }
    for (unsigned i = 0; i < PUSHERS; i++)
        (void)pthread_join(threads[i], NULL);
    while (queue_status(queue).depth)
        (void)sched_yield();
    queue_close(queue);
    for (unsigned i = 0; i < 2; i++)
        (void)pthread_join(threads[PUSHERS + i], NULL);
    assert_int_equal(poppers[0].taken + poppers[1].taken, PUSHERS * EACH);
    for (unsigned i = 0; i < PUSHERS; i++)
        free(pushers[i].items);
    queue_free(queue);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_queue_one_claimant_first_come_first_served),
        cmocka_unit_test(test_queue_claimants_take_turns),
        cmocka_unit_test(test_queue_without_memory),
        cmocka_unit_test(test_queue_without_memory_to_grow),
        cmocka_unit_test(test_queue_full_refuses),
        cmocka_unit_test(test_queue_overdue),
        cmocka_unit_test(test_queue_closed),
        cmocka_unit_test(test_queue_threads_lose_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
