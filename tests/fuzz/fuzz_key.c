/* The rules for keys against a second reading of them: a key that is accepted is its own path, so
 * that no file system and no HTTP client can take it for another. */
#include <stdbool.h>

#include <store/store.h>

#include "libstore/key.h"
#include "tests/fuzz/fuzz.h"

/* Takes the key apart and puts it together again without empty segments, "." and "..". */
static bool is_own_path(const char *key)
{
    char *copy = strdup(key), *joined = calloc(1, strlen(key) + 2), *rest = NULL, *to = joined;
    MUST(copy && joined);
    for (char *p = strtok_r(copy, "/", &rest); p; p = strtok_r(NULL, "/", &rest))
        if (strcmp(p, ".") != 0 && strcmp(p, "..") != 0)
            to += sprintf(to, "%s%s", to == joined ? "" : "/", p);
    bool same = *key && strcmp(joined, key) == 0;
    free(copy);
    free(joined);
    return same;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    char *key = fuzz_text(&in);
    MUST(key_has_odd_segment(key) == !is_own_path(key));
    bool taken = store_key_problem(key) == NULL;
    MUST(taken == (is_own_path(key) && strlen(key) <= STORE_MAX_KEY));
    free(key);
    return 0;
}
