#include "libstore/key.h"

#include <string.h>

#include <store/store.h>

bool key_has_odd_segment(const char *key)
{
    for (const char *segment = key;; segment++) {
        size_t n = strcspn(segment, "/");
        if (n == 0 || (n == 1 && segment[0] == '.') ||
            (n == 2 && segment[0] == '.' && segment[1] == '.'))
            return true;
        segment += n;
        if (*segment == '\0')
            return false;
    }
}

const char *store_key_problem(const char *key)
{
    if (!key || !*key)
        return "is empty";
    if (strlen(key) > STORE_MAX_KEY)
        return "is longer than 1024 bytes";
    if (key_has_odd_segment(key))
        return "has an empty segment, '.' or '..'";
    return NULL;
}
