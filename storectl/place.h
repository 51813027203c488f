/* place.h - where objects and files are: the words of the command line.
 *
 *     s3://BUCKET/KEY       store s3://BUCKET, and everything behind the '/' is the key
 *     file:///FOLDER//KEY   store file:///FOLDER: the first "//" ends its name
 *     :KEY                  in the store that --store named
 *     -                     standard input or output
 *     all else              a local file
 *
 * Keys are taken byte by byte: nothing is decoded, and nothing made of "//" or "..": libstore
 * refuses keys with such parts. */
#ifndef STORECTL_PLACE_H
#define STORECTL_PLACE_H

#include <store/store.h>

struct opened {
    char *url;
    store *store;
};

/* Stores that were opened in this run, each once: two places in one store have the same store. */
struct places {
    const char *default_url; /* of ":KEY"; NULL: none */
    const struct store_conf *conf;
    struct opened opened[8];
    size_t n;
};

struct place {
    store *store; /* NULL: a local file */
    char *name;   /* the key, maybe ""; or the path; "-": standard input or output */
};

/* Opens the store where it is not open. create: a folder that is missing is made. *p is the
 * caller's: place_cleanup(). Returns 0, or -1 with STORE_INVALID, STORE_NOT_FOUND (the folder) or
 * what store_open() says. */
int place_parse(struct places *all, const char *word, bool create, struct place *p,
                struct store_err *err);
void place_cleanup(struct place *p);
void places_close(struct places *all); /* after the loop was freed */

/* Whether the word is of a store, without opening it. */
bool place_is_store(const char *word);
static inline bool place_is_stdio(const struct place *p)
{
    return !p->store && p->name[0] == '-' && p->name[1] == '\0';
}
/* Makes a prefix of the name: puts a '/' behind it, unless it is "" or has one. */
void place_make_prefix(struct place *p);
/* "a/b/c" to "c". */
const char *name_base(const char *name);

#endif
