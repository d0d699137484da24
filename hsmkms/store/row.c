#include "hsmkms/store/row.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define ROW_DOMAIN SPAN_LITERAL("hsmkms row 1")
#define KEY_DOMAIN SPAN_LITERAL("hsmkms row key 1")

/* One byte before each value in the canonical bytes, by enum db_kind. */
static const uint8_t kind_tags[] = {
    [DB_NULL] = 'n', [DB_INT] = 'i', [DB_TEXT] = 't', [DB_BLOB] = 'b', [DB_OTHER] = '?',
};

static void *member(const struct column *column, void *record)
{
    return (uint8_t *)record + column->offset;
}

static const void *member_const(const struct column *column, const void *record)
{
    return (const uint8_t *)record + column->offset;
}

/* ---- records ---------------------------------------------------------------------------- */

void record_done(const struct table *table, void *record)
{
    for (size_t i = 0; i < table->column_count; i++) {
        void *const at = member(&table->columns[i], record);
        if (table->columns[i].kind == COLUMN_TEXT)
            free(*(char **)at);
        else if (table->columns[i].kind == COLUMN_BLOB)
            buf_done(at);
    }
    memset(record, 0, table->record_size);
}

int record_copy(const struct table *table, const void *from, void *ret, struct kms_error *err)
{
    struct row row = { 0 };

    for (size_t i = 0; i < table->column_count; i++)
        if (table->columns[i].kind == COLUMN_BLOB &&
            buf_check(member_const(&table->columns[i], from), err) < 0)
            return -1;
    row_from_record(table, from, &row);
    return row_to_record(table, &row, ret, err);
}

static struct db_value value_from(const struct column *column, const void *record)
{
    const void *const at = member_const(column, record);
    const char *text;

    switch (column->kind) {
    case COLUMN_UUID:
        return (struct db_value){ .kind = DB_BLOB, .bytes = uuid_span(at) };
    case COLUMN_BLOB:
        return (struct db_value){ .kind = DB_BLOB, .bytes = buf_span(at) };
    case COLUMN_INT:
        return (struct db_value){ .kind = DB_INT, .integer = *(const int64_t *)at };
    case COLUMN_TEXT:
        break;
    }
    text = *(char *const *)at;
    if (text == NULL)
        return (struct db_value){ .kind = DB_NULL };
    return (struct db_value){ .kind = DB_TEXT, .bytes = span_text(text) };
}

void row_from_record(const struct table *table, const void *record, struct row *ret)
{
    assert(table->column_count <= TABLE_COLUMNS_MAX);
    for (size_t i = 0; i < table->column_count; i++)
        ret->values[i] = value_from(&table->columns[i], record);
}

/* False when memory is short. */
static bool value_to(const struct column *column, const struct db_value *value, void *record)
{
    void *const at = member(column, record);

    switch (column->kind) {
    case COLUMN_UUID:
        memcpy(at, value->bytes.ptr, sizeof(struct uuid));
        return true;
    case COLUMN_INT:
        *(int64_t *)at = value->integer;
        return true;
    case COLUMN_BLOB:
        buf_append(at, value->bytes);
        return !((struct buf *)at)->failed;
    case COLUMN_TEXT:
        break;
    }
    if (value->kind == DB_NULL)
        return true;
    return (*(char **)at = strndup((const char *)value->bytes.ptr, value->bytes.len)) != NULL;
}

int row_to_record(const struct table *table, const struct row *row, void *ret,
                  struct kms_error *err)
{
    for (size_t i = 0; i < table->column_count; i++) {
        if (!value_to(&table->columns[i], &row->values[i], ret)) {
            record_done(table, ret);
            return kms_fail_detail(err, KMS_ERR_INTERNAL, "out of memory for a %s record",
                                   table->name);
        }
    }
    return 0;
}

/* ---- rows of the database --------------------------------------------------------------- */

size_t row_bind_values(const struct table *table, const struct row *row,
                       struct db_value ret[TABLE_COLUMNS_MAX + ROW_TRAILER_COLUMNS])
{
    const size_t own = table->column_count;

    memcpy(ret, row->values, own * sizeof(ret[0]));
    ret[own] = (struct db_value){ .kind = DB_INT, .integer = (int64_t)row->sequence };
    ret[own + 1] = (struct db_value){ .kind = DB_INT, .integer = row->dead };
    ret[own + 2] = (struct db_value){ .kind = DB_BLOB, .bytes = SPAN_ARRAY(row->mac) };
    return own + ROW_TRAILER_COLUMNS;
}

static bool value_fits(const struct column *column, const struct db_value *value, bool is_key)
{
    switch (column->kind) {
    case COLUMN_UUID:
        return value->kind == DB_BLOB && value->bytes.len == sizeof(struct uuid);
    case COLUMN_BLOB:
        return value->kind == DB_BLOB;
    case COLUMN_INT:
        return value->kind == DB_INT;
    case COLUMN_TEXT:
        break;
    }
    return value->kind == DB_TEXT || (value->kind == DB_NULL && !is_key);
}

static bool take_trailer(const struct db_value trailer[ROW_TRAILER_COLUMNS], struct row *ret)
{
    if (trailer[0].kind != DB_INT || trailer[0].integer < 1 || trailer[1].kind != DB_INT ||
        (trailer[1].integer != 0 && trailer[1].integer != 1) || trailer[2].kind != DB_BLOB ||
        trailer[2].bytes.len != STORE_MAC_LEN)
        return false;
    ret->sequence = (uint64_t)trailer[0].integer;
    ret->dead = trailer[1].integer == 1;
    memcpy(ret->mac, trailer[2].bytes.ptr, STORE_MAC_LEN);
    return true;
}

int row_read(const struct table *table, struct db_statement *select, struct row *ret,
             struct kms_error *err)
{
    struct db_value trailer[ROW_TRAILER_COLUMNS];
    bool good = true;

    for (size_t i = 0; i < table->column_count; i++) {
        ret->values[i] = db_column(select, i);
        good = good && value_fits(&table->columns[i], &ret->values[i], i < table->key_columns);
    }
    for (size_t i = 0; i < ROW_TRAILER_COLUMNS; i++)
        trailer[i] = db_column(select, table->column_count + i);
    if (!good || !take_trailer(trailer, ret))
        return kms_fail(err, KMS_ERR_INTEGRITY, "a value of %s has a type or length never written",
                        row_label(table, ret).text);
    return 0;
}

/* ---- canonical bytes -------------------------------------------------------------------- */

static void append_sized(struct buf *ret, struct span bytes)
{
    assert(bytes.len <= UINT32_MAX);
    buf_u32(ret, (uint32_t)bytes.len);
    buf_append(ret, bytes);
}

static void append_value(struct buf *ret, const struct db_value *value)
{
    buf_u8(ret, kind_tags[value->kind]);
    if (value->kind == DB_INT)
        buf_u64(ret, (uint64_t)value->integer);
    else if (value->kind != DB_NULL)
        append_sized(ret, value->bytes);
}

void row_bytes(const struct table *table, const struct row *row, struct buf *ret)
{
    append_sized(ret, ROW_DOMAIN);
    append_sized(ret, span_text(table->name));
    buf_u64(ret, row->sequence);
    buf_u8(ret, row->dead);
    buf_u32(ret, (uint32_t)table->column_count);
    for (size_t i = 0; i < table->column_count; i++)
        append_value(ret, &row->values[i]);
}

int row_key_hash(const struct table *table, const struct row *row, uint8_t ret[SHA256_LEN],
                 struct kms_error *err)
{
    AUTO(buf) bytes = { 0 };

    append_sized(&bytes, KEY_DOMAIN);
    append_sized(&bytes, span_text(table->name));
    for (size_t i = 0; i < table->key_columns; i++)
        append_value(&bytes, &row->values[i]);
    if (buf_check(&bytes, err) < 0)
        return -1;
    return sha256_of(buf_span(&bytes), ret, err);
}

/* ---- texts ------------------------------------------------------------------------------ */

static void append_label(struct buf *text, const struct column *column,
                         const struct db_value *value)
{
    struct uuid uuid;

    if (!value_fits(column, value, true)) {
        buf_text(text, " ?");
    } else if (column->kind == COLUMN_UUID) {
        memcpy(uuid.bytes, value->bytes.ptr, sizeof(uuid.bytes));
        buf_printf(text, " %s", uuid_format(&uuid).text);
    } else if (column->kind == COLUMN_INT) {
        buf_printf(text, " %" PRId64, value->integer);
    } else {
        buf_printf(text, " '%.*s'", (int)(value->bytes.len < 100 ? value->bytes.len : 100),
                   (const char *)value->bytes.ptr);
    }
}

struct row_label row_label(const struct table *table, const struct row *row)
{
    struct row_label label;
    AUTO(buf) text = { 0 };

    buf_text(&text, table->name);
    for (size_t i = 0; i < table->key_columns; i++)
        append_label(&text, &table->columns[i], &row->values[i]);
    (void)snprintf(label.text, sizeof(label.text), "%.*s", text.failed ? 0 : (int)text.len,
                   (const char *)text.ptr);
    return label;
}

static void append_names(const struct table *table, size_t count, struct buf *ret)
{
    for (size_t i = 0; i < count; i++)
        buf_printf(ret, "%s%s", i ? ", " : "", table->columns[i].name);
}

void table_sql_select(const struct table *table, struct buf *ret)
{
    buf_text(ret, "SELECT ");
    append_names(table, table->column_count, ret);
    buf_printf(ret, ", row_sequence, dead, mac FROM %s ORDER BY ", table->name);
    append_names(table, table->key_columns, ret);
    buf_u8(ret, '\0');
}

void table_sql_put(const struct table *table, struct buf *ret)
{
    buf_printf(ret, "INSERT INTO %s (", table->name);
    append_names(table, table->column_count, ret);
    buf_text(ret, ", row_sequence, dead, mac) VALUES (");
    for (size_t i = 1; i <= table->column_count + ROW_TRAILER_COLUMNS; i++)
        buf_printf(ret, "%s$%zu", i > 1 ? ", " : "", i);
    buf_text(ret, ") ON CONFLICT (");
    append_names(table, table->key_columns, ret);
    buf_text(ret, ") DO UPDATE SET ");
    for (size_t i = table->key_columns; i < table->column_count; i++)
        buf_printf(ret, "%s = excluded.%s, ", table->columns[i].name, table->columns[i].name);
    buf_text(ret, "row_sequence = excluded.row_sequence, dead = excluded.dead, mac = excluded.mac");
    buf_u8(ret, '\0');
}
