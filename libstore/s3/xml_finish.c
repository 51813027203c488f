/* What can only be done with the whole document: decoding and sorting lists, finding a region. */
#include <stdlib.h>
#include <string.h>

#include "base/codec.h"
#include "libstore/s3/xml_build.h"

enum { MAX_REGION = 63 };

/* ---- Lists ---- */

/* Undoes encoding-type=url in place. Amazon and MinIO write a space as '+', Ceph as "%20"; all
 * write a plus sign as "%2B". */
static bool decode_key(char *key)
{
    for (char *s = key; (s = strchr(s, '+')); s++)
        *s = ' ';
    size_t n;
    return percent_decode(key, strlen(key), key, &n);
}

/* Stores that send all versions and then all delete markers still get the latest first. */
static int compare_entries(const struct store_entry *x, const struct store_entry *y)
{
    int order = strcmp(x->key, y->key);
    return order ? order : (int)y->is_latest - (int)x->is_latest;
}

static void merge(const struct store_entry *a, size_t n_a, const struct store_entry *b, size_t n_b,
                  struct store_entry *out)
{
    while (n_a || n_b) {
        bool take_a = !n_b || (n_a && compare_entries(a, b) <= 0);
        *out++ = take_a ? *a++ : *b++;
        n_a -= take_a;
        n_b -= !take_a;
    }
}

static size_t at_most(size_t n, size_t bound)
{
    return n < bound ? n : bound;
}

/* Merge sort from the bottom up: the versions of a key must stay in their order, which qsort() does
 * not promise. */
static int sort_entries(struct xml_builder *b)
{
    struct xml_doc *d = &b->doc;
    size_t n = d->n_entries;
    struct store_entry *from = d->entries, *to = malloc(n * sizeof(*to));
    if (!to)
        return xml_builder_no_memory(b);
    for (size_t width = 1; width < n; width *= 2) {
        for (size_t at = 0; at < n; at += 2 * width) {
            size_t n_a = at_most(width, n - at), n_b = at_most(width, n - at - n_a);
            merge(from + at, n_a, from + at + n_a, n_b, to + at);
        }
        struct store_entry *sorted = to;
        to = from;
        from = sorted;
    }
    d->entries = from;
    free(to);
    return 0;
}

/* Objects and common prefixes come one after the other, each in order. */
static bool is_sorted(const struct xml_doc *d)
{
    for (size_t i = 1; i < d->n_entries; i++)
        if (compare_entries(&d->entries[i - 1], &d->entries[i]) > 0)
            return false;
    return true;
}

/* Keys are decoded only now, since <EncodingType> may come behind the entries. They are our own
 * memory: see xml_builder_keep_text(). */
static int finish_entries(struct xml_builder *b)
{
    struct xml_doc *d = &b->doc;
    for (size_t i = 0; b->url_encoded && i < d->n_entries; i++)
        if (!decode_key((char *)d->entries[i].key))
            return xml_builder_corrupt(b, "a key with a malformed escape");
    return is_sorted(d) ? 0 : sort_entries(b);
}

static int finish_list(struct xml_builder *b)
{
    struct xml_doc *d = &b->doc;
    bool has_token = d->next_token && *d->next_token;
    if (d->truncated && !has_token)
        return xml_builder_corrupt(b, "a truncated list without a continuation token");
    if (!d->truncated)
        d->next_token = NULL;
    return finish_entries(b);
}

/* Ceph encodes the keys but not this one; it is the last key then. */
static bool is_last_key(const struct xml_doc *d, const char *key)
{
    return d->n_entries && strcmp(d->entries[d->n_entries - 1].key, key) == 0;
}

/* ListObjectVersions and ListMultipartUploads. Amazon's examples have markers on last pages too. */
static int finish_marked_list(struct xml_builder *b)
{
    struct xml_doc *d = &b->doc;
    if (finish_entries(b) != 0)
        return -1;
    if (!d->truncated) {
        d->next_key = d->next_version = "";
        return 0;
    }
    if (!*d->next_key)
        return xml_builder_corrupt(b, "a truncated list without a next key");
    if (b->url_encoded && !is_last_key(d, d->next_key) && !decode_key((char *)d->next_key))
        return xml_builder_corrupt(b, "a next key with a malformed escape");
    return 0;
}

/* ---- Errors ---- */

static bool is_region(const char *s, size_t n)
{
    if (n == 0 || n > MAX_REGION)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789-", s[i]))
            return false;
    return true;
}

/* The region in "bucket.s3.eu-west-1.amazonaws.com" or "bucket.s3-eu-west-1.amazonaws.com": the
 * last label before the domain. Returns its length, 0: none. */
static size_t region_in_endpoint(const char *endpoint, const char **at)
{
    const char *end = strstr(endpoint, ".amazonaws.com");
    if (!end)
        return 0;
    const char *begin = memrchr(endpoint, '.', (size_t)(end - endpoint));
    begin = begin ? begin + 1 : endpoint;
    if (end - begin > 3 && strncmp(begin, "s3-", 3) == 0)
        begin += 3;
    *at = begin;
    size_t n = (size_t)(end - begin);
    return n == 2 && strncmp(begin, "s3", 2) == 0 ? 0 : n;
}

/* The region goes into our next signature, so it must look like one. Like keys, the text that it is
 * cut out of is our own. */
static void finish_error(struct xml_builder *b)
{
    struct xml_doc *d = &b->doc;
    const char *at = d->region;
    size_t n = strlen(at);
    if (n == 0)
        n = region_in_endpoint(b->endpoint, &at);
    d->region = "";
    if (!is_region(at, n))
        return;
    ((char *)at)[n] = '\0';
    d->region = at;
}

void xml_builder_finish(struct xml_builder *b)
{
    if (!b->ended)
        xml_builder_corrupt(b, "incomplete");
    if (xml_builder_failed(b))
        return;
    switch (b->doc.kind) {
    case XML_LIST: finish_list(b); break;
    case XML_VERSIONS:
    case XML_UPLOADS: finish_marked_list(b); break;
    case XML_ERROR: finish_error(b); break;
    default: break;
    }
}
