/* In place of libFuzzer: gives a fuzz target every file of its corpus. Linked with
 * tests/fuzz/fuzz_NAME.c into the unit test test_fuzz_NAME, which reads tests/fuzz/corpus/NAME, so
 * that what was once found stays found, with any compiler. */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void replay(const char *path)
{
    static uint8_t bytes[1 << 20];
    FILE *f = fopen(path, "rb");
    if (!f)
        fail_msg("%s: %s", path, strerror(errno));
    size_t n = fread(bytes, 1, sizeof(bytes), f);
    assert_true(n < sizeof(bytes) && !ferror(f));
    fclose(f);
    uint8_t *copy = malloc(n); /* ends where the input does, for the address sanitizer */
    assert_true(copy || n == 0);
    print_message("%s\n", path); /* the target aborts when it finds something */
    LLVMFuzzerTestOneInput(n ? memcpy(copy, bytes, n) : copy, n);
    free(copy);
}

static void the_corpus_finds_nothing(void **state)
{
    (void)state;
    const char *name = program_invocation_short_name + strlen("test_fuzz_");
    const char *root = getenv("FUZZ_CORPUS");
    char path[4096];
    size_t files = 0;
    snprintf(path, sizeof(path), "%s/%s", root ? root : "tests/fuzz/corpus", name);
    DIR *d = opendir(path);
    if (!d)
        fail_msg("%s: %s", path, strerror(errno));
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.')
            continue;
        char file[sizeof(path) + sizeof(e->d_name)];
        snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
        replay(file);
        files++;
    }
    closedir(d);
    assert_true(files > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_corpus_finds_nothing)};
    return cmocka_run_group_tests_name(program_invocation_short_name, tests, NULL, NULL);
}
