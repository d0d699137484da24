/*
 * hsmkms-admin: what operators ask of a running daemon, and init before there is one. Results go
 * to standard output as JSON; errors to standard error with their name.
 *
 * Exit codes: 0 done; 1 refused or failed; 2 called wrongly.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "hsmkms/admin/client.h"
#include "hsmkms/admin/table.h"
#include "hsmkms/admin_init.h"
#include "hsmkms/base/buf.h"

#define DEFAULT_SOCKET "/run/hsmkms/admin.sock"
#define SOCKET_ENV     "HSMKMS_ADMIN_SOCKET"
#define FILE_MOST      ((size_t)8 << 20) /* bytes of a file that is sent */

enum exit_code { EXIT_DONE, EXIT_REFUSED, EXIT_USAGE };

/* --- help ------------------------------------------------------------------------------------- */

static const char INIT_HELP[] = "  init --config FILE\n"
                               "      make token keys, database and the first access key\n";

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static void print_row(FILE *to, const struct admin_row *row)
{
    (void)fprintf(to, "  %s", row->name);
    for (size_t i = 0; i < ARRAY_LEN(row->options) && row->options[i]; i++) {
        const struct admin_field *const field = admin_field_find(row->options[i]);
        (void)fprintf(to, " [--%s%s%s]", field->option, field->word[0] ? " " : "", field->word);
    }
    for (size_t i = 0; i < ARRAY_LEN(row->words) && row->words[i]; i++)
        (void)fprintf(to, " %s", admin_field_find(row->words[i])->word);
    (void)fprintf(to, "\n      %s\n", row->help);
}

static int usage(FILE *to, enum exit_code code)
{
    (void)fprintf(to, "usage: hsmkms-admin [--socket PATH] COMMAND\n\n%s", INIT_HELP);
    for (size_t i = 0; i < admin_row_count; i++)
        print_row(to, &admin_rows[i]);
    (void)fputs("\nFILE may be - for standard input.\n"
                "COMMAND --help shows that command alone.\n"
                "--socket PATH: the daemon's socket; default $" SOCKET_ENV " or " DEFAULT_SOCKET
                "\n",
                to);
    return (int)code;
}

static int wrong(const char *what, const char *which)
{
    (void)fprintf(stderr, "hsmkms-admin: %s%s (--help shows all commands)\n", what, which);
    return EXIT_USAGE;
}

/* --- from words to a request ------------------------------------------------------------------ */

/* The content of a file; NULL and a word on standard error where there is none. */
static json_t *read_file(const char *path)
{
    FILE *const file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    json_t *content = NULL;
    AUTO(buf) text = { 0 };
    char part[4096];
    size_t got;

    while (file && text.len <= FILE_MOST && (got = fread(part, 1, sizeof(part), file)) > 0)
        buf_append(&text, span_of(part, got));
    if (file && !ferror(file) && !text.failed && text.len <= FILE_MOST)
        content = json_stringn(text.len ? (const char *)text.ptr : "", text.len);
    if (content == NULL)
        (void)fprintf(stderr, "hsmkms-admin: %s cannot be read, or is not text\n", path);
    if (file && file != stdin)
        (void)fclose(file);
    return content;
}

/* Sets a field of the request from a word of the command line. */
static int set_field(json_t *request, const struct admin_field *field, const char *word)
{
    json_t *list;

    switch (field->source) {
    case ADMIN_LIST:
        list = json_object_get(request, field->name);
        if (list == NULL) {
            list = json_array();
            (void)json_object_set_new(request, field->name, list);
        }
        return json_array_append_new(list, json_string(word));
    case ADMIN_FILE:
        return json_object_set_new(request, field->name, read_file(word));
    default:
        return json_object_set_new(request, field->name, json_string(word));
    }
}

static const struct admin_field *find_option(const struct admin_row *row, const char *option)
{
    for (size_t i = 0; i < ARRAY_LEN(row->options) && row->options[i]; i++) {
        const struct admin_field *const field = admin_field_find(row->options[i]);
        if (strcmp(field->option, option) == 0)
            return field;
    }
    return NULL;
}

/* Reads everything behind the command's name. Returns EXIT_DONE or what to exit with. */
static int read_words(const struct admin_row *row, int argc, char **argv, json_t *request)
{
    size_t taken = 0;

    for (int i = 0; i < argc; i++) {
        const bool is_option = strncmp(argv[i], "--", 2) == 0;
        const struct admin_field *field = NULL;
        const char *word = argv[i];

        if (is_option) {
            field = find_option(row, argv[i] + 2);
            if (field == NULL)
                return wrong("unknown option: ", argv[i]);
            word = field->source == ADMIN_FLAG ? "true" : i + 1 < argc ? argv[++i] : NULL;
            if (word == NULL)
                return wrong("a value is missing behind ", argv[i]);
        } else if (taken < ARRAY_LEN(row->words) && row->words[taken]) {
            field = admin_field_find(row->words[taken++]);
        } else {
            return wrong("unexpected argument: ", argv[i]);
        }
        if (set_field(request, field, word) != 0)
            return EXIT_USAGE;
    }
    if (taken < ARRAY_LEN(row->words) && row->words[taken])
        return wrong("an argument is missing: ", admin_field_find(row->words[taken])->word);
    return EXIT_DONE;
}

/* Number of words of argv that this name takes up; 0: another name. */
static int words_matched(const char *name, int argc, char **argv)
{
    const char *const blank = strchr(name, ' ');
    const size_t first_len = blank ? (size_t)(blank - name) : strlen(name);

    if (argc < 1 || strlen(argv[0]) != first_len || strncmp(argv[0], name, first_len) != 0)
        return 0;
    if (blank == NULL)
        return 1;
    return argc >= 2 && strcmp(argv[1], blank + 1) == 0 ? 2 : 0;
}

static const struct admin_row *find_row(int argc, char **argv, int *ret_words)
{
    for (size_t i = 0; i < admin_row_count; i++) {
        *ret_words = words_matched(admin_rows[i].name, argc, argv);
        if (*ret_words > 0)
            return &admin_rows[i];
    }
    return NULL;
}

/* --- asking ----------------------------------------------------------------------------------- */

static int ask(const char *socket, const json_t *request)
{
    struct kms_error err = { 0 };
    json_auto_t *result = NULL;

    if (admin_client_call(socket, request, &result, &err) < 0) {
        (void)fprintf(stderr, "hsmkms-admin: %s: %s\n", kms_err_name(err.code), err.message);
        return EXIT_REFUSED;
    }
    if (json_dumpf(result, stdout, JSON_INDENT(2)) != 0 || putchar('\n') == EOF ||
        fflush(stdout) != 0) {
        (void)fputs("hsmkms-admin: cannot write the result\n", stderr);
        return EXIT_REFUSED;
    }
    return EXIT_DONE;
}

/* "user --help": all commands of that first word; "user create --help": the one. */
static int help_on(int argc, char **argv)
{
    const size_t first_len = strlen(argv[0]);
    int words = 0;
    bool found = strcmp(argv[0], "init") == 0;
    const struct admin_row *const one = find_row(argc, argv, &words);

    if (found)
        (void)fputs(INIT_HELP, stdout);
    for (size_t i = 0; i < admin_row_count; i++) {
        const struct admin_row *const row = &admin_rows[i];
        const bool is_of_it = strncmp(row->name, argv[0], first_len) == 0 &&
                              (row->name[first_len] == ' ' || row->name[first_len] == '\0');
        if (one ? row == one : is_of_it) {
            print_row(stdout, row);
            found = true;
        }
    }
    return found ? EXIT_DONE : wrong("unknown command: ", argv[0]);
}

static int run(const char *socket, int argc, char **argv)
{
    int words = 0;
    const struct admin_row *const row = find_row(argc, argv, &words);

    if (row == NULL)
        return wrong("unknown command: ", argv[0]);
    json_auto_t *request = json_pack("{s:s}", "Command", row->name);
    const int read = read_words(row, argc - words, argv + words, request);
    return read == EXIT_DONE ? ask(socket, request) : read;
}

int main(int argc, char **argv)
{
    // NOLINTNEXTLINE(concurrency-mt-unsafe): this program has one thread
    const char *const from_env = getenv(SOCKET_ENV);
    const char *socket = from_env ? from_env : DEFAULT_SOCKET;
    int at = 1;

    /* a new secret passes through here: no core dump may hold it */
    (void)prctl(PR_SET_DUMPABLE, 0);
    (void)setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 });

    if (at + 1 < argc && strcmp(argv[at], "--socket") == 0) {
        socket = argv[at + 1];
        at += 2;
    }
    if (at >= argc)
        return usage(stderr, EXIT_USAGE);
    if (is_help(argv[at]))
        return usage(stdout, EXIT_DONE);
    if (is_help(argv[argc - 1]))
        return help_on(argc - at, argv + at);
    if (strcmp(argv[at], "init") == 0)
        return cmd_init(argc - at, argv + at);
    return run(socket, argc - at, argv + at);
}
