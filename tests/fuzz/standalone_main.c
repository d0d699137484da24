/*
 * Runs a fuzz target over files without a fuzzer, with any compiler: each file as it is, every
 * prefix of it, and the file with each byte changed. Arguments are files and folders of files.
 */

#include <dirent.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define INPUT_MAX    65536
#define VARIATED_MAX 2048 /* larger files are run once: variations take time squared */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* In a block of exactly its size, so that a sanitizer sees the first byte read beyond it. */
static void run_one(const uint8_t *data, size_t size)
{
    uint8_t *const copy = calloc(1, size ? size : 1);

    if (copy == NULL)
        abort();
    memcpy(copy, data, size);
    (void)LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void run_variations(uint8_t *data, size_t size)
{
    static const uint8_t changes[] = { 0x01, 0x80, 0xff };

    for (size_t len = 0; len < size; len++)
        run_one(data, len);
    for (size_t i = 0; i < size; i++) {
        for (size_t j = 0; j < sizeof(changes); j++) {
            data[i] ^= changes[j];
            run_one(data, size);
            data[i] ^= changes[j];
        }
    }
}

static int run_file(const char *path)
{
    static uint8_t data[INPUT_MAX];
    FILE *const file = fopen(path, "re");

    if (file == NULL) {
        perror(path);
        return -1;
    }
    const size_t size = fread(data, 1, sizeof(data), file);
    (void)fclose(file); /* read-only */
    run_one(data, size);
    if (size <= VARIATED_MAX)
        run_variations(data, size);
    return 0;
}

static int run_folder(const char *path)
{
    DIR *const folder = opendir(path);
    int status = 0;

    if (folder == NULL) {
        perror(path);
        return -1;
    }
    for (const struct dirent *entry = readdir(folder); entry; entry = readdir(folder)) {
        char file[PATH_MAX];
        if (entry->d_name[0] == '.')
            continue;
        (void)snprintf(file, sizeof(file), "%s/%s", path, entry->d_name);
        status |= run_file(file);
    }
    (void)closedir(folder);
    return status;
}

int main(int argc, char **argv)
{
    int status = 0;

    run_one((const uint8_t *)"", 0);
    for (int i = 1; i < argc; i++) {
        struct stat info;
        if (stat(argv[i], &info) == 0 && S_ISDIR(info.st_mode))
            status |= run_folder(argv[i]);
        else
            status |= run_file(argv[i]);
    }
    return status ? EXIT_FAILURE : EXIT_SUCCESS;
}
