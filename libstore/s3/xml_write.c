/* The XML bodies that we send. */
#include <stdint.h>
#include <string.h>

#include "base/utf8.h"
#include "libstore/s3/xml.h"

#define DECLARATION "<?xml version=\"1.0\" encoding=\"UTF-8\"?>"
#define NAMESPACE   " xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\""

/* The production Char of XML 1.0, of what UTF-8 can hold: no surrogates, nothing above U+10FFFF. */
static bool is_xml_char(uint32_t v)
{
    if (v < 0x20)
        return v == '\t' || v == '\n' || v == '\r';
    return v != 0xfffe && v != 0xffff;
}

bool xml_can_carry(const char *key)
{
    const char *end = key + strlen(key);
    while (key < end) {
        uint32_t v = 0;
        size_t n = utf8_decode(key, (size_t)(end - key), &v);
        if (n == 0 || !is_xml_char(v))
            return false;
        key += n;
    }
    return true;
}

/* What a parser would change or misread goes as a reference; the rest in runs as it is. */
static void add_escaped(struct buf *out, const char *s)
{
    for (;;) {
        size_t run = strcspn(s, "&<>\r\n\t");
        buf_add(out, s, run);
        s += run;
        switch (*s++) {
        case '\0': return;
        case '&': buf_adds(out, "&amp;"); break;
        case '<': buf_adds(out, "&lt;"); break;
        case '>': buf_adds(out, "&gt;"); break;
        case '\r': buf_adds(out, "&#13;"); break;
        case '\n': buf_adds(out, "&#10;"); break;
        case '\t': buf_adds(out, "&#9;"); break;
        }
    }
}

void xml_delete_request(struct buf *out, const char *prefix, const char *const *keys,
                        const char *const *versions, size_t n)
{
    buf_adds(out, DECLARATION "<Delete" NAMESPACE "><Quiet>true</Quiet>");
    for (size_t i = 0; i < n; i++) {
        buf_adds(out, "<Object><Key>");
        add_escaped(out, prefix);
        add_escaped(out, keys[i]);
        buf_adds(out, "</Key>");
        if (versions) {
            buf_adds(out, "<VersionId>");
            add_escaped(out, versions[i]);
            buf_adds(out, "</VersionId>");
        }
        buf_adds(out, "</Object>");
    }
    buf_adds(out, "</Delete>");
}

void xml_complete_request(struct buf *out, const char *const *etags, size_t n)
{
    buf_adds(out, DECLARATION "<CompleteMultipartUpload" NAMESPACE ">");
    for (size_t i = 0; i < n; i++) {
        buf_addf(out, "<Part><PartNumber>%zu</PartNumber><ETag>\"", i + 1);
        add_escaped(out, etags[i]);
        buf_adds(out, "\"</ETag></Part>");
    }
    buf_adds(out, "</CompleteMultipartUpload>");
}
