/* put_get - stores a text and reads it back, with blocking calls.
 *
 *     put_get STORE_URL          s3://bucket/prefix or file:///folder
 */
#include <stdio.h>
#include <stdlib.h>

#include <store/store.h>

static int fail(const struct store_err *err)
{
    fprintf(stderr, "put_get: %s: %s\n", store_code_name(err->code), err->msg);
    return 1;
}

static int put_and_get(store *s, store_loop *loop, struct store_err *err)
{
    static const char text[] = "hello";
    const struct store_meta meta = {"written-by", "put_get"};
    const struct store_put_opts opts = {.content_type = "text/plain", .meta = &meta, .n_meta = 1};
    char etag[STORE_ETAG_SIZE];
    void *bytes;
    size_t size;
    if (store_sync_put(s, loop, "examples/hello", text, sizeof(text) - 1, &opts, etag, NULL, err))
        return -1;
    printf("stored, etag %s\n", etag);

    /* Only when nobody has changed it meanwhile: optimistic locking. */
    const struct store_put_opts replace = {.if_match = etag};
    if (store_sync_put(s, loop, "examples/hello", "world", 5, &replace, NULL, NULL, err))
        return -1;
    if (store_sync_get(s, loop, "examples/hello", 1024, &bytes, &size, NULL, err))
        return -1;
    printf("read %zu bytes: %s\n", size, (char *)bytes);
    free(bytes);
    return store_sync_delete(s, loop, "examples/hello", err);
}

int main(int argc, char **argv)
{
    struct store_err err = {0};
    store *s = NULL;
    store_loop *loop = NULL;
    if (argc != 2) {
        fprintf(stderr, "usage: put_get STORE_URL\n");
        return 2;
    }
    if (store_open(argv[1], NULL, &s, &err) != 0)
        return fail(&err);
    /* Any of the calls takes NULL for the loop; one that is kept keeps its connections. */
    int rc = store_loop_new(&loop, &err);
    if (rc == 0)
        rc = put_and_get(s, loop, &err);
    store_loop_free(loop);
    store_close(s);
    return rc == 0 ? 0 : fail(&err);
}
