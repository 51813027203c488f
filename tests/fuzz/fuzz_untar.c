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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    size_t piece = fuzz_byte(&in);
    struct store_err err, err_pieces;
    bool whole, whole_pieces;
    struct trace once = read_all(in.bytes, in.n, in.n + 1, &whole, &err);
    struct trace pieces = read_all(in.bytes, in.n, piece ? piece : 1, &whole_pieces, &err_pieces);
    MUST(whole == whole_pieces && once.members == pieces.members && once.sum == pieces.sum);
    MUST(whole || strcmp(err.msg, err_pieces.msg) == 0);
    return 0;
}
