/* The XML parser: expat, its bounds, and what it must not be asked. */
#include <expat.h>
#include <stdlib.h>

#include "libstore/s3/xml_build.h"

enum {
    MAX_DOCUMENT = 8 * 1024 * 1024,
    MAX_TOKEN = 16 * 1024, /* of a tag, comment or the like that comes in pieces */
};

struct xml_parser {
    XML_Parser expat;
    size_t fed;    /* bytes, white space before the document included */
    size_t parsed; /* bytes, without it: what expat has seen */
    struct xml_builder builder;
};

/* ---- What expat tells ---- */

static void stop_when_failed(struct xml_parser *p)
{
    if (xml_builder_failed(&p->builder))
        XML_StopParser(p->expat, XML_FALSE);
}

static void XMLCALL on_start(void *user, const XML_Char *name, const XML_Char **attributes)
{
    struct xml_parser *p = user;
    (void)attributes;
    xml_builder_open(&p->builder, name);
    stop_when_failed(p);
}

static void XMLCALL on_text(void *user, const XML_Char *s, int n)
{
    struct xml_parser *p = user;
    xml_builder_text(&p->builder, s, (size_t)n);
    stop_when_failed(p);
}

static void XMLCALL on_end(void *user, const XML_Char *name)
{
    struct xml_parser *p = user;
    (void)name; /* expat has checked that it matches */
    xml_builder_close(&p->builder);
    stop_when_failed(p);
}

/* Without a DOCTYPE there are no entities but the five of XML itself. */
static void XMLCALL on_doctype(void *user, const XML_Char *name, const XML_Char *system_id,
                               const XML_Char *public_id, int has_subset)
{
    struct xml_parser *p = user;
    (void)name;
    (void)system_id;
    (void)public_id;
    (void)has_subset;
    xml_builder_corrupt(&p->builder, "a DOCTYPE");
    stop_when_failed(p);
}

/* ---- Feeding ---- */

struct xml_parser *xml_parser_new(void)
{
    struct xml_parser *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    xml_builder_init(&p->builder);
    p->expat = XML_ParserCreate("UTF-8"); /* whatever the document says */
    if (!p->expat) {
        free(p);
        return NULL;
    }
    XML_SetUserData(p->expat, p);
    XML_SetElementHandler(p->expat, on_start, on_end);
    XML_SetCharacterDataHandler(p->expat, on_text);
    XML_SetStartDoctypeDeclHandler(p->expat, on_doctype);
    return p;
}

void xml_parser_free(struct xml_parser *p)
{
    if (!p)
        return;
    XML_ParserFree(p->expat);
    xml_builder_cleanup(&p->builder);
    free(p);
}

static int report(const struct xml_parser *p, struct store_err *err)
{
    if (err)
        *err = p->builder.err;
    return -1;
}

/* Gives expat some bytes, or the end; leaves what went wrong in the builder's err. */
static void run_expat(struct xml_parser *p, const void *bytes, size_t n, bool is_end)
{
    if (XML_Parse(p->expat, bytes, (int)n, is_end) != XML_STATUS_ERROR)
        return;
    enum XML_Error e = XML_GetErrorCode(p->expat);
    if (e == XML_ERROR_NO_MEMORY)
        xml_builder_no_memory(&p->builder);
    else /* keeps what a handler said when it stopped expat */
        xml_builder_corrupt(&p->builder, XML_ErrorString(e));
}

/* With each piece expat looks anew at all of an incomplete tag or comment: without a bound, the
 * time for small pieces of a large one would grow with the square of its length. The index is
 * negative when a newer expat waits for more before it looks at all. */
static void check_token(struct xml_parser *p)
{
    XML_Index at = XML_GetCurrentByteIndex(p->expat);
    if (at >= 0 && p->parsed - (size_t)at > MAX_TOKEN)
        xml_builder_corrupt(&p->builder, "a tag or comment too long");
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* How many bytes of white space the document begins with. While Amazon puts a large object
 * together it sends spaces, to keep the connection alive; XML allows none before a declaration. */
static size_t leading_space(const struct xml_parser *p, const char *bytes, size_t n)
{
    size_t i = 0;
    while (p->parsed == 0 && i < n && is_space(bytes[i]))
        i++;
    return i;
}

int xml_parser_feed(struct xml_parser *p, const void *bytes, size_t n, struct store_err *err)
{
    if (n > MAX_DOCUMENT - p->fed)
        xml_builder_corrupt(&p->builder, "too large");
    if (xml_builder_failed(&p->builder))
        return report(p, err);
    p->fed += n;
    size_t skip = leading_space(p, bytes, n);
    if (skip == n)
        return 0;
    p->parsed += n - skip;
    run_expat(p, (const char *)bytes + skip, n - skip, false);
    check_token(p);
    return xml_builder_failed(&p->builder) ? report(p, err) : 0;
}

int xml_parser_finish(struct xml_parser *p, const struct xml_doc **out, struct store_err *err)
{
    struct xml_builder *b = &p->builder;
    if (!xml_builder_failed(b))
        run_expat(p, "", 0, true);
    xml_builder_finish(b);
    if (xml_builder_failed(b))
        return report(p, err);
    *out = &b->doc;
    return 0;
}
