/* url.h - where a bucket is: from a store's URL, an endpoint and a region to what requests are made
 * of. Pure. Sources: RFC 3986 sections 3.1 and 3.2; "Bucket naming rules", "Virtual hosting of
 * buckets" and "Amazon S3 endpoints and quotas" of the Amazon S3 user guide and the AWS General
 * Reference. */
#ifndef LIBSTORE_S3_URL_H
#define LIBSTORE_S3_URL_H

#include <stdbool.h>

#include <store/open.h>

struct s3_place { /* all zero, or filled by s3_url_parse() */
    char *bucket;
    char *prefix;      /* "" or "some/prefix/" */
    char *base_url;    /* "https://host[:port]", with the bucket in host style; in lower case */
    char *host;        /* the Host header: base_url without its scheme */
    char *path_prefix; /* "/bucket" in path style, else "" */
    bool is_amazon;    /* the host is one of Amazon's, given or not */
    bool has_region;   /* the host names the region: with another one, parse anew */
};

void s3_place_init(struct s3_place *p);
void s3_place_cleanup(struct s3_place *p); /* frees; p may be used again */

/* location: "bucket[/prefix]", what follows s3:// in a store's URL. The bucket has 3 to 63 letters,
 * digits, '.', '-' or '_'. The prefix is taken literally (nothing is percent-decoded): up to 256
 * bytes without empty segments, "." or "..", or control characters; slashes at its end are dropped.
 *
 * endpoint: http:// or https://, a name or an address (IPv6 in brackets), [:port], nothing else but
 * slashes at its end: a user name, a path or a query is refused. NULL or "": Amazon's of the
 * region, which must then look like one. A port that is the scheme's own is left out of the result.
 *
 * STORE_ADDRESSING_AUTO puts the bucket into the host on Amazon's endpoints, also where one was
 * given, when its name can be a label there: small letters, digits and '-', and no dot, which a
 * certificate's wildcard does not match. STORE_ADDRESSING_HOST does so on any endpoint with a name,
 * also with dots in the bucket, and is refused where it cannot work.
 *
 * Returns 0, or -1 with STORE_INVALID or STORE_NO_MEMORY and *out as after s3_place_init().
 * Whatever *out held before is not freed. Nothing with an '@' is repeated in a message: it may be a
 * secret. */
int s3_url_parse(const char *location, const char *endpoint, const char *region,
                 enum store_addressing addressing, struct s3_place *out, struct store_err *err);

#endif
