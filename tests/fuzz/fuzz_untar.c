/* The compute's TAR reader: one byte for the size of the pieces, then a stream. Whole and in pieces
 * it gives the same, and what it lets through keeps its promises. */
#include "compute/untar.h"
#include "tests/fuzz/fuzz.h"

struct trace {
    uint64_t promised, got, total; /* of the member; of all */
    size_t members;
    uint64_t sum; /* of everything that came out, in order */
    bool open;
};

enum { MAX_TOTAL = 1 << 20, MAX_MEMBERS = 16 };

static void mix(struct trace *t, const void *bytes, size_t n)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < n; i++)
        t->sum = (t->sum ^ at[i]) * 0x100000001b3u; /* FNV-1a */
}

static int on_member(void *user, const char *path, uint64_t size, struct store_err *err)
{
    struct trace *t = user;
    (void)err;
    MUST(!t->open && scope_path_problem(path, strlen(path)) == NULL);
    MUST(++t->members <= MAX_MEMBERS && (t->total += size) <= MAX_TOTAL);
    t->promised = size;
    t->got = 0;
    t->open = true;
    mix(t, path, strlen(path) + 1);
    return 1;
}

static int on_data(void *user, const void *bytes, size_t n, struct store_err *err)
{
    struct trace *t = user;
    (void)err;
    MUST(t->open && n > 0 && n <= t->promised - t->got);
    t->got += n;
    mix(t, bytes, n);
    return 0;
}

static int on_end(void *user, struct store_err *err)
{
    struct trace *t = user;
    (void)err;
    MUST(t->open && t->got == t->promised);
    t->open = false;
    mix(t, ";", 1);
    return 0;
}

static struct trace read_all(const uint8_t *data, size_t n, size_t piece, bool *whole,
                             struct store_err *err)
{
    static const struct untar_ops ops = {on_member, on_data, on_end};
    static const struct untar_limits limits = {MAX_TOTAL, MAX_MEMBERS};
    struct trace t = {.sum = 0};
    struct untar u;
    int failed = 0;
    untar_init(&u, &ops, &t, &limits);
    for (size_t at = 0; !failed && at < n; at += piece)
        failed = untar_feed(&u, data + at, n - at < piece ? n - at : piece, err);
    *whole = !failed && untar_end(&u, err) == 0;
    MUST(!*whole || !t.open);
    untar_cleanup(&u);
    return t;
}

static void put_sums_right(uint8_t *bytes, size_t n)
{
    for (uint8_t *block = bytes; (size_t)(bytes + n - block) >= UNTAR_BLOCK; block += UNTAR_BLOCK) {
        unsigned sum = 0;
        char text[8];
        if (memcmp(block + 257, "ustar", 5) != 0)
            continue;
        memset(block + 148, ' ', 8);
        for (size_t i = 0; i < UNTAR_BLOCK; i++)
            sum += block[i];
        snprintf(text, sizeof(text), "%06o", sum & 0777777);
        memcpy(block + 148, text, 7);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    uint8_t first = fuzz_byte(&in);
    size_t piece = first & 0x7f ? first & 0x7f : 1;
    uint8_t *bytes = malloc(in.n + 1); /* of its own size, for the address sanitizer to watch */
    struct store_err err, err_pieces;
    bool whole, whole_pieces;
    MUST(bytes);
    if (in.n)
        memcpy(bytes, in.bytes, in.n);
    if (first & 0x80)
        put_sums_right(bytes, in.n);
    struct trace once = read_all(bytes, in.n, in.n + 1, &whole, &err);
    struct trace pieces = read_all(bytes, in.n, piece, &whole_pieces, &err_pieces);
    MUST(whole == whole_pieces && once.members == pieces.members && once.sum == pieces.sum);
    MUST(whole || strcmp(err.msg, err_pieces.msg) == 0);
    free(bytes);
    return 0;
}
