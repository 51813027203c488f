/* Feeds profile_parse(): the first byte says which kind of file, the rest is its text. Looks for
 * two profiles, and reads the same text as the second file on top of the first. */
#include "libstore/s3/profile.h"
#include "tests/fuzz/fuzz.h"

static void check_values(const struct profile *p)
{
    for (enum profile_key key = 0; key < PROFILE_KEYS; key++) {
        const char *value = p->values[key];
        if (!value)
            continue;
        MUST(p->found);
        MUST(*value && strlen(value) <= PROFILE_MAX_VALUE_BYTES);
        for (; *value; value++)
            MUST((unsigned char)*value >= 0x20 && *value != 0x7f);
    }
}

static void parse(const char *text, size_t n, enum profile_file file, const char *name)
{
    struct profile p = {0};
    struct store_err err = {.code = STORE_OK};
    if (profile_parse(text, n, file, "fuzz", name, &p, &err) != 0) {
        MUST(err.code == STORE_INVALID && !p.found);
    } else {
        check_values(&p);
        int rc = profile_parse(text, n, PROFILE_CREDENTIALS, "fuzz", name, &p, &err);
        MUST(rc == 0 || err.code == STORE_INVALID);
        check_values(&p);
    }
    profile_cleanup(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const char *text = (const char *)data + 1;
    enum profile_file file = data[0] == 'c' ? PROFILE_CONFIG : PROFILE_CREDENTIALS;
    parse(text, size - 1, file, "default");
    parse(text, size - 1, file, "x");
    return 0;
}
