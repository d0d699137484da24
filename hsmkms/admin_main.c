/*
 * hsmkms-admin: what operators ask of a running daemon, and init before there is one. Results go
 * to standard output as JSON; errors to standard error with their name.
 *
 * Exit codes: 0 done; 1 refused or failed; 2 called wrongly.
 */

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include "hsmkms/admin_init.h"
#include "hsmkms/doors/admin_client.h"

#define DEFAULT_SOCKET "/run/hsmkms/admin.sock"
#define SOCKET_ENV     "HSMKMS_ADMIN_SOCKET"

enum exit_code { EXIT_DONE, EXIT_REFUSED, EXIT_USAGE };

struct subcommand {
    const char *name;                      /* one or two words; also the daemon's name for it */
    const char *synopsis;                  /* what follows */
    const char *argument;                  /* field that the argument fills; NULL: there is none */
    const char *user;                      /* field that --user fills; NULL: not an option here */
    int (*offline)(int argc, char **argv); /* has options of its own; argv[0] is the name */
    const char *help;
};

/* clang-format off */
static const struct subcommand subcommands[] = {
    /* name          synopsis         argument       --user      offline   help */
    { "init",        "--config FILE", NULL,          NULL,       cmd_init, "make token keys, database and the first access key" },
    { "key create",  "[--user NAME]", NULL,          "UserName", NULL,     "make an access key for a user or the account root" },
    { "key disable", "ID",            "AccessKeyId", NULL,       NULL,     "refuse requests signed with an access key" },
    { "key enable",  "ID",            "AccessKeyId", NULL,       NULL,     "accept them again" },
    { "key list",    "",              NULL,          NULL,       NULL,     "show all access keys, without their secrets" },
    { "status",      "",              NULL,          NULL,       NULL,     "show the state of token, audit trail and store" },
};
/* clang-format on */

/* What the command line says. */
struct invocation {
    const char *socket;
    const char *user;
    const struct subcommand *subcommand;
    const char *argument;
};

static int usage(FILE *to, enum exit_code code)
{
    (void)fputs("usage: hsmkms-admin [--socket PATH] COMMAND\n\n", to);
    for (size_t i = 0; i < ARRAY_LEN(subcommands); i++)
        (void)fprintf(to, "  %-11s %-14s %s\n", subcommands[i].name, subcommands[i].synopsis,
                      subcommands[i].help);
    (void)fputs("\n--socket PATH: the daemon's socket; default $" SOCKET_ENV " or " DEFAULT_SOCKET
                "\n",
                to);
    return (int)code;
}

static int wrong(const char *what, const char *which)
{
    (void)fprintf(stderr, "hsmkms-admin: %s%s\n", what, which);
    return usage(stderr, EXIT_USAGE);
}

/*
 * Takes options: those in front with order "+", from anywhere behind argv[0] with "". Returns the
 * index of the first argument that is none. Ends the program for --help and for what it does not
 * know.
 */
static int take_options(int argc, char **argv, const char *order, struct invocation *ret)
{
    static const struct option options[] = { { "socket", required_argument, NULL, 's' },
                                             { "user", required_argument, NULL, 'u' },
                                             { "help", no_argument, NULL, 'h' },
                                             { 0 } };
    int option;

    optind = 0; /* glibc: start over */
    // NOLINTNEXTLINE(concurrency-mt-unsafe): this program has one thread
    while ((option = getopt_long(argc, argv, order, options, NULL)) != -1) {
        if (option == 's')
            ret->socket = optarg;
        else if (option == 'u')
            ret->user = optarg;
        else
            // NOLINTNEXTLINE(concurrency-mt-unsafe)
            exit(option == 'h' ? usage(stdout, EXIT_DONE) : usage(stderr, EXIT_USAGE));
    }
    return optind;
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

static const struct subcommand *find_subcommand(int argc, char **argv, int *ret_words)
{
    for (size_t i = 0; i < ARRAY_LEN(subcommands); i++) {
        *ret_words = words_matched(subcommands[i].name, argc, argv);
        if (*ret_words > 0)
            return &subcommands[i];
    }
    return NULL;
}

static json_t *make_request(const struct invocation *invocation)
{
    const struct subcommand *const row = invocation->subcommand;
    json_t *const request = json_pack("{s:s}", "Command", row->name);

    if (row->argument)
        (void)json_object_set_new(request, row->argument, json_string(invocation->argument));
    if (row->user && invocation->user)
        (void)json_object_set_new(request, row->user, json_string(invocation->user));
    return request;
}

static int ask(const struct invocation *invocation)
{
    struct kms_error err = { 0 };
    json_auto_t *request = make_request(invocation);
    json_auto_t *result = NULL;

    if (admin_client_call(invocation->socket, request, &result, &err) < 0) {
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

/* argv begins with the last word of the subcommand. */
static int run_online(int argc, char **argv, struct invocation *invocation)
{
    const struct subcommand *const row = invocation->subcommand;
    const int rest = take_options(argc, argv, "", invocation);
    const int arguments = row->argument ? 1 : 0;

    if (argc - rest < arguments)
        return wrong("an argument is missing: ", row->synopsis);
    if (argc - rest > arguments)
        return wrong("unexpected argument: ", argv[rest + arguments]);
    if (invocation->user && !row->user)
        return wrong("--user does not belong to ", row->name);
    invocation->argument = arguments ? argv[rest] : NULL;
    return ask(invocation);
}

int main(int argc, char **argv)
{
    // NOLINTNEXTLINE(concurrency-mt-unsafe)
    const char *const from_env = getenv(SOCKET_ENV);
    struct invocation invocation = { .socket = from_env ? from_env : DEFAULT_SOCKET };
    int words = 0;

    /* a new secret passes through here: no core dump may hold it */
    (void)prctl(PR_SET_DUMPABLE, 0);
    (void)setrlimit(RLIMIT_CORE, &(struct rlimit){ 0 });

    const int at = take_options(argc, argv, "+", &invocation);
    if (at >= argc)
        return wrong("a command is missing", "");
    const struct subcommand *const found = find_subcommand(argc - at, argv + at, &words);
    if (found == NULL)
        return wrong("unknown command: ", argv[at]);
    if (found->offline)
        return found->offline(argc - at, argv + at);
    invocation.subcommand = found;
    return run_online(argc - at - words + 1, argv + at + words - 1, &invocation);
}
