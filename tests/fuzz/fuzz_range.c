/* The reader's conditional and partial requests: Range and an ETag list, each ended by a NUL, and
 * eight bytes for the object's size. */
#include "service/range.h"
#include "tests/fuzz/fuzz.h"

static void check_range(const char *value, uint64_t size)
{
    uint64_t offset = 0, length = 0;
    enum range_result result = range_parse(value, size, &offset, &length);
    if (result == RANGE_NONE)
        MUST(offset == 0 && length == size);
    if (result != RANGE_OK)
        return;
    MUST(length > 0 && offset < size && length <= size - offset);
    char text[CONTENT_RANGE_SIZE];
    range_content_range(offset, length, size, text);
    MUST(strncmp(text, "bytes ", 6) == 0 && strlen(text) < sizeof(text) - 1);
}

static void check_etags(const char *value)
{
    char etag[64];
    enum etag_form form = etag_form(value, etag, sizeof(etag));
    if (form == ETAG_ONE) /* "" is that of no object */
        MUST(strlen(etag) < sizeof(etag) && etag_list_has(value, etag, ETAG_STRONG) == !!*etag);
    if (form == ETAG_ANY)
        MUST(etag_list_has(value, "x", ETAG_STRONG));
    if (etag_list_has(value, "x", ETAG_STRONG))
        MUST(etag_list_has(value, "x", ETAG_WEAK));
    if_range_holds(value, "x", 1000, 2000);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    char *range = fuzz_text(&in), *etags = fuzz_text(&in);
    uint64_t object_size = 0;
    for (int i = 0; i < 8; i++)
        object_size = object_size << 8 | fuzz_byte(&in);
    check_range(range, object_size);
    check_etags(etags);
    free(range);
    free(etags);
    return 0;
}
