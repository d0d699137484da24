#include "tests/support/store_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/support/check.h"

static int sign(void *ctx, struct span data, uint8_t ret[STORE_MAC_LEN], struct kms_error *err)
{
    struct store_fixture *const fixture = ctx;

    fixture->signed_count++;
    return hmac_sha256(fixture->key, data, ret, err);
}

void store_fixture_init(struct store_fixture *fixture)
{
    const char *const base = getenv("TMPDIR");

    *fixture = (struct store_fixture){ .key = SPAN_LITERAL("a key for tests") };
    (void)snprintf(fixture->dir, sizeof(fixture->dir), "%.40s/kms-store-XXXXXX",
                   base ? base : "/tmp");
    CHECK(mkdtemp(fixture->dir) != NULL);
    (void)snprintf(fixture->path, sizeof(fixture->path), "%s/db", fixture->dir);
    fixture->mac = (struct store_mac){ .sign = sign, .ctx = fixture };
}

void remove_database(const char *path)
{
    static const char *const ends[] = { "", "-wal", "-shm", "-journal" };
    char name[128];

    for (size_t i = 0; i < ARRAY_LEN(ends); i++) {
        (void)snprintf(name, sizeof(name), "%s%s", path, ends[i]);
        (void)unlink(name);
    }
}

void store_fixture_done(struct store_fixture *fixture)
{
    remove_database(fixture->path);
    assert_int_equal(rmdir(fixture->dir), 0); /* tests leave nothing */
}

struct store *store_fixture_try(struct store_fixture *fixture, const char *path,
                                struct kms_error *err)
{
    struct store *store = NULL;

    return store_open(path, schema_tables, fixture->mac, &store, err) == 0 ? store : NULL;
}

struct store *store_fixture_open(struct store_fixture *fixture)
{
    struct kms_error err = { 0 };
    struct store *const store = store_fixture_try(fixture, fixture->path, &err);

    if (store == NULL)
        fail_msg("store_open: %s %s at %s", err.message, err.detail, err.where);
    return store;
}

/* ---- records ---------------------------------------------------------------------------- */

static char *repeat(const char *text, size_t times)
{
    AUTO(buf) made = { 0 };

    for (size_t i = 0; i < times; i++)
        buf_text(&made, text);
    buf_u8(&made, '\0');
    return (char *)buf_take(&made).ptr;
}

static char *awkward_text(unsigned variant)
{
    static const char *const texts[] = { "",
                                         "plain",
                                         "Gr\xc3\xbc\xc3\x9f\x65 \xe4\xb8\x96 \xf0\x9f\x94\x91",
                                         "'; DROP TABLE alias; --",
                                         "12",
                                         "1.5e3",
                                         " \t\n" };
    const unsigned count = ARRAY_LEN(texts);

    variant %= count + 2;
    if (variant == count)
        return NULL;
    return variant > count ? repeat("32 KiB of text. ", 2048) : strdup(texts[variant]);
}

static int64_t awkward_int(unsigned variant)
{
    static const int64_t ints[] = { 0, -1, INT64_MIN, INT64_MAX, 1795176000000, 1 };

    return ints[variant % ARRAY_LEN(ints)];
}

static void awkward_blob(unsigned variant, struct buf *ret)
{
    static const size_t lengths[] = { 0, 1, 48, 256, 5000 };

    for (size_t i = 0; i < lengths[variant % ARRAY_LEN(lengths)]; i++)
        buf_u8(ret, (uint8_t)i); /* begins with NUL */
}

static void fill_column(const struct column *column, bool is_key, unsigned seed, unsigned variant,
                        void *record)
{
    void *const at = (uint8_t *)record + column->offset;
    char text[32];

    (void)snprintf(text, sizeof(text), "key %05u", seed);
    if (column->kind == COLUMN_UUID)
        for (size_t i = 0; i < 16; i++)
            ((uint8_t *)at)[i] = (uint8_t)((is_key ? seed : variant) >> (i % 4 * 8) ^ i * 7);
    else if (column->kind == COLUMN_TEXT)
        *(char **)at = is_key ? strdup(text) : awkward_text(variant);
    else if (column->kind == COLUMN_INT)
        *(int64_t *)at = awkward_int(variant);
    else
        awkward_blob(variant, at);
}

void fill_record(const struct table *table, unsigned seed, void *ret)
{
    for (unsigned i = 0; i < table->column_count; i++)
        fill_column(&table->columns[i], i < table->key_columns, seed, seed + i, ret);
}

void commit_seeds(struct store *store, unsigned first, unsigned last)
{
    struct kms_error err = { 0 };
    struct store_tx *tx = NULL;

    CHECK_OK(store_begin(store, &tx, &err), err);
    for (unsigned seed = first; seed <= last; seed++) {
        for (const struct table *const *table = schema_tables; *table; table++) {
            union any_record record = { 0 };
            fill_record(*table, seed, &record);
            CHECK_OK(store_put(tx, *table, &record, &err), err);
            record_done(*table, &record);
        }
    }
    CHECK_OK(store_commit(tx, &err), err);
}

void drop_seed(struct store *store, unsigned seed)
{
    struct kms_error err = { 0 };
    struct store_tx *tx = NULL;

    CHECK_OK(store_begin(store, &tx, &err), err);
    for (const struct table *const *table = schema_tables; *table; table++) {
        union any_record record = { 0 };
        fill_record(*table, seed, &record);
        CHECK_OK(store_drop(tx, *table, &record, &err), err);
        record_done(*table, &record);
    }
    CHECK_OK(store_commit(tx, &err), err);
}

struct dump {
    const struct table *table;
    struct buf *ret;
};

static int dump_record(void *arg, const void *record, struct kms_error *err)
{
    const struct dump *const dump = arg;
    struct row row = { 0 };

    row_from_record(dump->table, record, &row);
    row_bytes(dump->table, &row, dump->ret);
    return buf_check(dump->ret, err);
}

int dump_store(struct store *store, struct buf *ret, struct kms_error *err)
{
    buf_clear(ret);
    for (const struct table *const *table = schema_tables; *table; table++)
        if (store_each(store, *table, dump_record, &(struct dump){ *table, ret }, err) < 0)
            return -1;
    return 0;
}

/* ---- files ------------------------------------------------------------------------------ */

void read_file(const char *path, struct buf *ret)
{
    struct stat about;
    const int fd = open(path, O_RDONLY | O_CLOEXEC);

    CHECK(fd >= 0 && fstat(fd, &about) == 0);
    buf_clear(ret);
    uint8_t *const room = buf_room(ret, (size_t)about.st_size);
    CHECK(room != NULL && read(fd, room, ret->len) == (ssize_t)ret->len);
    (void)close(fd); /* read-only */
}

void write_file(const char *path, struct span bytes)
{
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

    CHECK(fd >= 0 && write(fd, bytes.ptr, bytes.len) == (ssize_t)bytes.len);
    CHECK(close(fd) == 0);
}
