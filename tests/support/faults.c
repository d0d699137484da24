#include "tests/support/faults.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/support/check.h"

static struct {
    char dir[200], rules[256], counts[256];
} paths;

int faults_up(void **state)
{
    (void)state;
    test_dir_make(paths.dir, sizeof(paths.dir));
    (void)snprintf(paths.rules, sizeof(paths.rules), "%s/rules", paths.dir);
    (void)snprintf(paths.counts, sizeof(paths.counts), "%s/counts", paths.dir);
    CHECK(setenv("P11_FAULTS_MODULE", SOFTHSM_MODULE, 1) == 0);
    CHECK(setenv("P11_FAULTS_FILE", paths.rules, 1) == 0);
    CHECK(setenv("P11_FAULTS_COUNTS", paths.counts, 1) == 0);
    faults_set("");
    return 0;
}

int faults_down(void **state)
{
    (void)state;
    test_dir_remove(paths.dir);
    return 0;
}

struct token_config faults_config(const struct softhsm *softhsm)
{
    struct token_config config = softhsm_config(softhsm);

    config.module = P11_FAULTS_SO;
    config.sessions = 1;
    return config;
}

void faults_set(const char *rules)
{
    char next[300];

    /* a new file each time: two writes within one clock tick would look the same */
    (void)snprintf(next, sizeof(next), "%s.new", paths.rules);
    test_file_write(next, rules, strlen(rules));
    CHECK(rename(next, paths.rules) == 0);
}

unsigned faults_count(const char *function)
{
    char name[40], line[80];
    unsigned count = 0, found = 0;
    FILE *const file = fopen(paths.counts, "re");

    if (file == NULL)
        return 0; /* the module was not loaded yet */
    while (fgets(line, sizeof(line), file))
        if (sscanf(line, "%39s %u", name, &count) == 2 && strcmp(name, function) == 0)
            found = count;
    (void)fclose(file);
    return found;
}
