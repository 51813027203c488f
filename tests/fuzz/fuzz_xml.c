/* Feeds an answer to the XML parser: whole, and in pieces of as many bytes as the first byte says.
 * Both must come to the same end, and a document that is accepted must keep what xml.h promises. */
#include "tests/fuzz/fuzz.h"
#include "tests/unit/xml_dump.h"

enum { MAX_TEXT = 8 * 1024, MAX_ENTRIES = 10000, MAX_DUMP = 64 << 20 };

static void check_text(const char *s)
{
    MUST(s && strlen(s) <= MAX_TEXT);
}

static void check_entry(const struct xml_doc *d, const struct store_entry *e)
{
    check_text(e->key);
    MUST(e->key[0]);
    check_text(e->etag);
    check_text(e->version);
    MUST(!e->is_marker || (d->kind == XML_VERSIONS && e->size == 0));
    MUST(!e->is_latest || d->kind == XML_VERSIONS);
    MUST(!*e->version == (e->is_prefix || d->kind == XML_LIST));
}

static void check_list(const struct xml_doc *d)
{
    MUST(d->n_entries <= MAX_ENTRIES);
    for (size_t i = 0; i < d->n_entries; i++) {
        check_entry(d, &d->entries[i]);
        MUST(i == 0 || strcmp(d->entries[i - 1].key, d->entries[i].key) <= 0);
    }
    check_text(d->next_key);
    check_text(d->next_version);
    if (d->kind == XML_LIST)
        MUST(d->truncated == (d->next_token != NULL) && !*d->next_key);
    else
        MUST(d->truncated == (*d->next_key != '\0') && !d->next_token);
    if (d->next_token)
        check_text(d->next_token);
}

static void check_delete_result(const struct xml_doc *d)
{
    MUST(d->n_key_errors <= MAX_ENTRIES);
    for (size_t i = 0; i < d->n_key_errors; i++) {
        check_text(d->key_errors[i].key);
        check_text(d->key_errors[i].version);
        check_text(d->key_errors[i].code);
        check_text(d->key_errors[i].message);
    }
}

static void check_credentials(const struct xml_doc *d)
{
    check_text(d->access_key);
    check_text(d->secret_key);
    check_text(d->session_token);
    MUST(*d->access_key && *d->secret_key && *d->session_token);
}

static void check_error(const struct xml_doc *d)
{
    check_text(d->code);
    check_text(d->message);
    check_text(d->region);
    MUST(strspn(d->region, "abcdefghijklmnopqrstuvwxyz0123456789-") == strlen(d->region));
}

static void check(const struct xml_doc *d)
{
    switch (d->kind) {
    case XML_NONE: MUST(!"a document of no kind was accepted"); break;
    case XML_LIST:
    case XML_VERSIONS:
    case XML_UPLOADS: check_list(d); break;
    case XML_DELETE_RESULT: check_delete_result(d); break;
    case XML_UPLOAD_BEGUN:
        check_text(d->upload_id);
        MUST(*d->upload_id);
        break;
    case XML_UPLOAD_DONE:
    case XML_COPIED: check_text(d->etag); break;
    case XML_CREDENTIALS: check_credentials(d); break;
    case XML_ERROR: check_error(d); break;
    }
}

static int parse(struct fuzz_input in, size_t piece, struct buf *out)
{
    struct xml_parser *p = xml_parser_new();
    struct store_err err = {.code = STORE_OK};
    const struct xml_doc *d = NULL;
    int rc = 0;
    MUST(p);
    for (size_t at = 0; at < in.n && rc == 0; at += piece) {
        size_t len = in.n - at < piece ? in.n - at : piece;
        char *copy = malloc(len); /* ends where the piece does, for the address sanitizer */
        MUST(copy);
        rc = xml_parser_feed(p, memcpy(copy, in.bytes + at, len), len, &err);
        free(copy);
    }
    if (rc == 0)
        rc = xml_parser_finish(p, &d, &err);
    MUST(rc == 0 ? d != NULL : err.code == STORE_CORRUPT && err.msg[0]);
    if (rc == 0) {
        check(d);
        dump(d, out);
    }
    xml_parser_free(p);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_input in = {data, size};
    size_t piece = (size_t)fuzz_byte(&in) + 1;
    struct buf whole = BUF_INIT(MAX_DUMP), pieces = BUF_INIT(MAX_DUMP);
    int rc = parse(in, in.n ? in.n : 1, &whole);
    MUST(parse(in, piece, &pieces) == rc);
    MUST(strcmp(buf_str(&whole), buf_str(&pieces)) == 0);
    buf_cleanup(&whole);
    buf_cleanup(&pieces);
    return 0;
}
