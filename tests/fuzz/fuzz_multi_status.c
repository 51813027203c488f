/* The answer to a deletion of many keys. The first byte says how: 'd' an answer as it is; anything
 * else keys and codes by turns, each ended by a NUL, of which an answer is made as a store would:
 * every key that xml_can_carry() must come out as it went in, and no other. */
#include <stdbool.h>

#include "libstore/s3/xml.h"
#include "tests/fuzz/fuzz.h"

enum { MAX_KEYS = 64, MAX_ANSWER = 16 << 20, MAX_TEXT = 8 * 1024 };

struct failure {
    char *key, *version, *code;
};

static const struct xml_doc *parse(struct xml_parser *p, const char *bytes, size_t n)
{
    struct store_err err = {.code = STORE_OK};
    const struct xml_doc *d = NULL;
    if (xml_parser_feed(p, bytes, n, &err) != 0 || xml_parser_finish(p, &d, &err) != 0) {
        MUST(err.code == STORE_CORRUPT);
        return NULL;
    }
    return d;
}

static void take_answer(struct fuzz_input in)
{
    struct xml_parser *p = xml_parser_new();
    MUST(p);
    const struct xml_doc *d = parse(p, (const char *)in.bytes, in.n);
    for (size_t i = 0; d && i < d->n_key_errors; i++) {
        const struct xml_key_error *e = &d->key_errors[i];
        MUST(d->kind == XML_DELETE_RESULT && e->key && e->version && e->code && e->message);
    }
    xml_parser_free(p);
}

/* The request names the keys as the answer does: <Key> and <VersionId>, escaped. */
static void add_failure(struct buf *answer, const struct failure *f)
{
    struct buf request = BUF_INIT(MAX_ANSWER);
    const char *key = f->key, *version = f->version;
    xml_delete_request(&request, "", &key, &version, 1);
    MUST(!buf_failed(&request));
    const char *begin = strstr(request.data, "<Object>") + strlen("<Object>");
    const char *end = strstr(begin, "</Object></Delete>");
    MUST(end && end + strlen("</Object></Delete>") == request.data + request.len);
    buf_adds(answer, "<Error>");
    buf_add(answer, begin, (size_t)(end - begin));
    buf_addf(answer, "<Code>%s</Code></Error>", f->code);
    buf_cleanup(&request);
}

static bool is_plain(const char *s)
{
    return strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz") == strlen(s);
}

static bool is_carried(const struct failure *f)
{
    return xml_can_carry(f->key) && xml_can_carry(f->version) && strlen(f->key) <= MAX_TEXT &&
           strlen(f->version) <= MAX_TEXT && is_plain(f->code) && strlen(f->code) <= MAX_TEXT;
}

static void check_failure(const struct xml_key_error *e, const struct failure *f)
{
    MUST(strcmp(e->key, f->key) == 0);
    MUST(strcmp(e->version, f->version) == 0);
    MUST(strcmp(e->code, f->code) == 0);
    MUST(*e->message == '\0');
}

static void make_answer(struct fuzz_input in)
{
    struct failure all[MAX_KEYS];
    size_t n = 0;
    bool carried = true;
    struct buf answer = BUF_INIT(MAX_ANSWER);
    buf_adds(&answer, "<DeleteResult>");
    for (; in.n && n < MAX_KEYS; n++) {
        all[n].key = fuzz_text(&in);
        all[n].version = fuzz_text(&in);
        all[n].code = fuzz_text(&in);
        carried = carried && is_carried(&all[n]);
        if (is_plain(all[n].code))
            add_failure(&answer, &all[n]);
    }
    buf_adds(&answer, "</DeleteResult>");
    MUST(!buf_failed(&answer));
    struct xml_parser *p = xml_parser_new();
    MUST(p);
    const struct xml_doc *d = parse(p, answer.data, answer.len);
    MUST(!carried || (d && d->kind == XML_DELETE_RESULT && d->n_key_errors == n));
    for (size_t i = 0; i < n; i++) {
        if (carried)
            check_failure(&d->key_errors[i], &all[i]);
        MUST(!d || !is_plain(all[i].code) || xml_can_carry(all[i].key));
        free(all[i].key);
        free(all[i].version);
        free(all[i].code);
    }
    xml_parser_free(p);
    buf_cleanup(&answer);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    if (fuzz_byte(&in) == 'd')
        take_answer(in);
    else
        make_answer(in);
    return 0;
}
