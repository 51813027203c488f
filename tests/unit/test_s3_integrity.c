/* The S3 driver's sums: what a put carries, what it learns from the store's ETags, and that a get
 * never delivers a whole object whose bytes are not the ones that were put. */
#include "libstore/checksum.h"
#include "tests/unit/s3_fixture.h"

#define NINE      "123456789"
#define NINE_MD5  "25f9e794323b453885f5181f1b624d0b"
#define NINE_BY_4 "393e928fcf5925fcbd3a06aaf20b2d38" /* the MD5 of the MD5s of its parts */
#define NINE_BY_3 "a8dd1c5498a84913e3d6e7b59d4b4f8f"
#define EMPTY_MD5 "d41d8cd98f00b204e9800998ecf8427e"
#define OTHER_MD5 "00000000000000000000000000000000"

#define ETAG(tag)    "ETag: \"" tag "\"\r\n"
#define SUM(sum)     "x-amz-meta-store-sum: " sum "\r\n"
#define RANGE(range) "Content-Range: bytes " range "\r\n"
#define KMS          "x-amz-server-side-encryption: aws:kms\r\n"
#define AES          "x-amz-server-side-encryption: AES256\r\n"
#define SUM_HEADER   "x-amz-meta-store-sum"
#define ANSWER(headers_)                   \
    {                                      \
        .status = 200, .headers = headers_ \
    }

enum { TEXT = 64 };

/* ---- Sums of the tests' own ---- */

static void md5_hex(const void *bytes, size_t n, char out[TEXT])
{
    unsigned char md5[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    assert_true(EVP_Digest(bytes, n, md5, &len, EVP_md5(), NULL));
    hex_encode(md5, len, out);
}

static void md5_of_parts(const char *bytes, size_t n, size_t part, char out[TEXT])
{
    struct buf sums = BUF_INIT(4096);
    size_t parts = 0;
    for (size_t at = 0; at < n; at += part, parts++) {
        unsigned char md5[EVP_MAX_MD_SIZE];
        unsigned len = 0;
        size_t piece = n - at < part ? n - at : part;
        assert_true(EVP_Digest(bytes + at, piece, md5, &len, EVP_md5(), NULL));
        buf_add(&sums, md5, len);
    }
    md5_hex(buf_str(&sums), sums.len, out);
    snprintf(out + strlen(out), 16, "-%zu", parts);
    buf_cleanup(&sums);
}

/* ---- Gets ---- */

struct got {
    const char *headers, *body, *checksum; /* checksum: what is told of it */
    enum store_code code;
};

/* All bytes of an object come in one piece here: none is delivered when they are wrong. */
static void check_get(const struct got *g, size_t number)
{
    const struct step script[] = {{200, g->headers, g->body, .sent = 0}};
    OPEN(script);
    enum store_code code = get("k", NULL);
    const char *delivered = g->code == STORE_OK ? g->body : "";
    if (code != g->code || strcmp(buf_str(&o.data), delivered) != 0)
        fail_msg("case %zu: %s %s, '%s'", number, store_code_name(code), o.err.msg,
                 buf_str(&o.data));
    if (code == STORE_CORRUPT) {
        assert_non_null(strstr(o.err.msg, "get k: the bytes do not fit the sum"));
        assert_non_null(strstr(o.err.msg, g->checksum));
    }
    close_after(1);
    peer_cleanup(&b.peer);
}

#define CHECK_GETS(cases)                     \
    for (size_t i = 0; i < LEN(cases); i++) { \
        check_get(&(cases)[i], i);            \
    }

static void a_get_that_fits_its_sum_is_delivered(void **state)
{
    (void)state;
    static const struct got cases[] = {
        {ETAG("e") SUM("crc32c:e3069283"), NINE, "", STORE_OK},
        {ETAG(NINE_MD5) SUM("md5"), NINE, "", STORE_OK},
        {ETAG(NINE_MD5) AES SUM("md5"), NINE, "", STORE_OK},
        {ETAG(NINE_BY_4 "-3") SUM("md5:4"), NINE, "", STORE_OK},
        {ETAG(NINE_BY_3 "-3") SUM("md5:3"), NINE, "", STORE_OK},
    };
    CHECK_GETS(cases);
}

static void a_get_that_does_not_fit_its_sum_is_corrupt(void **state)
{
    (void)state;
    static const struct got cases[] = {
        {ETAG("e") SUM("crc32c:e3069283"), "123456780", "crc32c:e3069283", STORE_CORRUPT},
        {ETAG("e") SUM("crc32c:e3069282"), NINE, "crc32c:e3069282", STORE_CORRUPT},
        {ETAG(NINE_MD5) SUM("md5"), "123456780", "md5", STORE_CORRUPT},
        {ETAG(OTHER_MD5) SUM("md5"), NINE, "md5", STORE_CORRUPT},
        {ETAG(NINE_BY_4 "-3") SUM("md5:4"), "123456780", "md5:4", STORE_CORRUPT},
        {ETAG(NINE_BY_4 "-3") SUM("md5:4"), "023456789", "md5:4", STORE_CORRUPT},
        {ETAG(NINE_BY_4 "-4") SUM("md5:4"), NINE, "md5:4", STORE_CORRUPT},
        {ETAG(NINE_BY_4 "-") SUM("md5:4"), NINE, "md5:4", STORE_CORRUPT},
        {ETAG(NINE_BY_4 "-3") SUM("md5:3"), NINE, "md5:3", STORE_CORRUPT},
        {ETAG(NINE_BY_3 "-4") SUM("md5:3"), NINE, "md5:3", STORE_CORRUPT},
    };
    CHECK_GETS(cases);
}

/* There is no last piece to hold back. */
static void an_empty_object_has_a_sum_too(void **state)
{
    (void)state;
    static const struct got cases[] = {
        {ETAG("e") SUM("crc32c:00000000"), "", "", STORE_OK},
        {ETAG("e") SUM("crc32c:e3069283"), "", "crc32c:e3069283", STORE_CORRUPT},
        {ETAG(EMPTY_MD5) SUM("md5"), "", "", STORE_OK},
        {ETAG(NINE_MD5) SUM("md5"), "", "md5", STORE_CORRUPT},
        {ETAG(NINE_BY_4 "-3") SUM("md5:4"), "", "md5:4", STORE_CORRUPT},
    };
    CHECK_GETS(cases);
}

/* Other programs write what they like into metadata; of a sum that is not understood nothing is
 * known, and nothing is told. */
static void a_sum_that_is_not_understood_is_no_sum(void **state)
{
    (void)state;
    static const char *const headers[] = {
        ETAG("e"),
        ETAG("e") "x-amz-meta-store-sum:\r\n",
        ETAG("e") SUM("crc32c"),
        ETAG("e") SUM("crc32c:"),
        ETAG("e") SUM("crc32c:0000000"),
        ETAG("e") SUM("crc32c:000000000"),
        ETAG("e") SUM("crc32c:0000000g"),
        ETAG("e") SUM("crc32c 00000000"),
        ETAG("e") SUM("CRC32C:00000000"),
        ETAG("e") SUM("crc32:00000000"),
        ETAG("e") SUM("sha256:" OTHER_MD5 OTHER_MD5),
        ETAG(OTHER_MD5) SUM("md5:"),
        ETAG(OTHER_MD5) SUM("md5sum"),
        ETAG(OTHER_MD5 "-1") SUM("md5:0"),
        ETAG(OTHER_MD5 "-1") SUM("md5:-4"),
        ETAG(OTHER_MD5 "-1") SUM("md5:4x"),
        ETAG(OTHER_MD5 "-1") SUM("md5:99999999999999999999999999"),
    };
    for (size_t i = 0; i < LEN(headers); i++) {
        check_get(&(struct got){headers[i], NINE, "", STORE_OK}, i);
        assert_string_equal(o.checksum, "");
    }
}

/* The sum is metadata, which other programs' copies take along while the ETag becomes another: it
 * must not make the copy unreadable. */
static void an_etag_that_is_no_md5_is_not_held_against_the_bytes(void **state)
{
    (void)state;
    static const char *const headers[] = {
        ETAG("opaque") SUM("md5"),
        ETAG(OTHER_MD5 "-2") SUM("md5"),
        ETAG(OTHER_MD5) SUM("md5:4"),
        "ETag: W/\"" OTHER_MD5 "\"\r\n" SUM("md5"),
        ETAG(OTHER_MD5) KMS SUM("md5"),
        ETAG(OTHER_MD5 "-3") KMS SUM("md5:4"),
        SUM("md5"),
    };
    for (size_t i = 0; i < LEN(headers); i++) {
        check_get(&(struct got){headers[i], NINE, "", STORE_OK}, i);
        assert_string_equal(o.checksum, "");
    }
}

static void what_is_checked_with_is_told(void **state)
{
    (void)state;
    static const struct step script[] = {
        ANSWER(ETAG("e") SUM("crc32c:e3069283")),
        ANSWER(ETAG(NINE_BY_4 "-3") SUM("md5:4")),
        ANSWER(ETAG(NINE_BY_4 "-3") KMS SUM("md5:4")),
    };
    static const char *const told[] = {"crc32c:e3069283", "md5:4", ""};
    OPEN(script);
    for (size_t i = 0; i < LEN(script); i++) {
        assert_int_equal(head("k"), STORE_OK);
        assert_string_equal(o.checksum, told[i]);
        assert_string_equal(o.meta, ""); /* it is ours, not the user's */
    }
    close_after(LEN(script));
}

static void a_part_is_not_checked(void **state)
{
    (void)state;
    static const struct step script[] = {
        {206, ETAG("e") SUM("crc32c:00000001") RANGE("2-4/9"), "345", .sent = 0},
        {206, ETAG(OTHER_MD5) SUM("md5") RANGE("0-3/9"), "1234", .sent = 0},
        {206, ETAG(OTHER_MD5 "-3") SUM("md5:4") RANGE("4-8/9"), "56789", .sent = 0},
    };
    static const struct store_get_opts parts[] = {
        {.offset = 2, .length = 3}, {.length = 4}, {.offset = 4}};
    OPEN(script);
    for (size_t i = 0; i < LEN(parts); i++) {
        assert_int_equal(get("k", &parts[i]), STORE_OK);
        assert_string_equal(buf_str(&o.data), script[i].body);
    }
    close_after(3);
}

static void a_range_that_is_the_whole_is_checked(void **state)
{
    (void)state;
    static const struct step script[] = {
        {206, ETAG("e") SUM("crc32c:e3069283") RANGE("0-8/9"), NINE, .sent = 0},
        {206, ETAG("e") SUM("crc32c:e3069283") RANGE("0-8/9"), "123456780", .sent = 0},
    };
    OPEN(script);
    assert_int_equal(get("k", &(struct store_get_opts){.length = 9}), STORE_OK);
    assert_int_equal(get("k", &(struct store_get_opts){.length = 100}), STORE_CORRUPT);
    assert_int_equal(o.data.len, 0);
    close_after(2);
}

/* The sum goes on where the first try broke off: wrong bytes of either try are found. */
static void a_resumed_get_is_checked_over_all_tries(void **state)
{
    (void)state;
    static const struct {
        const char *headers, *first, *rest;
        enum store_code code;
    } cases[] = {
        {ETAG("e") SUM("crc32c:e3069283"), "12345", "6789", STORE_OK},
        {ETAG("e") SUM("crc32c:e3069283"), "12345", "6780", STORE_CORRUPT},
        {ETAG("e") SUM("crc32c:e3069283"), "02345", "6789", STORE_CORRUPT},
        {ETAG(NINE_MD5) SUM("md5"), "12345", "6789", STORE_OK},
        {ETAG(NINE_MD5) SUM("md5"), "12345", "6780", STORE_CORRUPT},
        {ETAG(NINE_MD5) SUM("md5"), "02345", "6789", STORE_CORRUPT},
        {ETAG(NINE_BY_4 "-3") SUM("md5:4"), "12345", "6789", STORE_OK},
        {ETAG(NINE_BY_4 "-3") SUM("md5:4"), "12345", "6780", STORE_CORRUPT},
        {ETAG(NINE_BY_4 "-3") SUM("md5:4"), "02345", "6789", STORE_CORRUPT},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        char body[16], headers[256];
        snprintf(body, sizeof(body), "%s%s", cases[i].first, cases[i].rest);
        snprintf(headers, sizeof(headers), "%s" RANGE("5-8/9"), cases[i].headers);
        const struct step script[] = {{200, cases[i].headers, body, CUTS_BODY, 5, 0},
                                      {206, headers, cases[i].rest, .sent = 0}};
        OPEN(script);
        assert_int_equal(get("k", NULL), cases[i].code);
        if (cases[i].code == STORE_OK)
            assert_string_equal(buf_str(&o.data), NINE);
        else
            assert_string_equal(buf_str(&o.data), cases[i].first);
        close_after(2);
        peer_cleanup(&b.peer);
    }
}

/* ---- Puts ---- */

static void a_put_from_memory_carries_its_sum(void **state)
{
    (void)state;
    static const struct step script[] = {ANSWER(ETAG("e")), ANSWER(ETAG("e"))};
    OPEN(script);
    assert_int_equal(put("k", NINE, NULL), STORE_OK);
    assert_string_equal(o.checksum, "crc32c:e3069283");
    assert_int_equal(put("empty", "", NULL), STORE_OK);
    close_after(2);
    assert_header(1, SUM_HEADER, "crc32c:e3069283");
    assert_header(2, SUM_HEADER, "crc32c:00000000");
}

enum { SIZE = 100 };

/* A store that answers puts so, one after the other: what the stream that follows is marked with,
 * and what becomes of it. */
struct learning {
    const char *name;
    const char *seen[3];   /* headers of answers to puts of NINE from memory */
    const char *streamed;  /* headers of the answer to the stream */
    const char *mark;      /* NULL: none */
    enum store_code code;  /* of the stream */
    const char *next_mark; /* of another stream after it */
};

static void assert_marked(const char *name, size_t number, const char *mark)
{
    const char *sent = request_header(request(number), SUM_HEADER);
    if (strcmp(sent ? sent : "none", mark ? mark : "none") != 0)
        fail_msg("%s: request %zu has %s", name, number, sent ? sent : "none");
}

static void check_learning(const struct learning *l)
{
    struct step script[5] = {{0}};
    size_t n = 0;
    for (; n < LEN(l->seen) && l->seen[n]; n++)
        script[n] = (struct step)ANSWER(l->seen[n]);
    script[n] = (struct step)ANSWER(l->streamed);
    script[n + 1] = script[n];
    open_with("s3://bucket/pre", script, n + 2, 10000);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(put("k", NINE, NULL), STORE_OK);
    enum store_code code = stream("k", SIZE);
    if (code != l->code)
        fail_msg("%s: %s %s", l->name, store_code_name(code), o.err.msg);
    bool told = l->mark && !strstr(l->streamed, KMS); /* such an ETag checks nothing */
    if (code == STORE_OK)
        assert_string_equal(o.checksum, told ? l->mark : "");
    else
        assert_non_null(strstr(o.err.msg, "put k: the store has other bytes than were sent"));
    assert_int_equal(stream("k", SIZE), STORE_OK);
    close_after(n + 2);
    assert_marked(l->name, n + 1, l->mark);
    assert_marked(l->name, n + 2, l->next_mark);
    peer_cleanup(&b.peer);
}

static void a_stream_is_marked_where_etags_were_seen_to_be_md5s(void **state)
{
    (void)state;
    char body[SIZE], md5[TEXT], right[128], right_kms[256];
    memset(body, 's', sizeof(body));
    md5_hex(body, sizeof(body), md5);
    snprintf(right, sizeof(right), ETAG("%s"), md5);
    snprintf(right_kms, sizeof(right_kms), ETAG("%s") KMS, md5);
    const char *nine = ETAG(NINE_MD5), *wrong = ETAG(OTHER_MD5), *none = "";
    const struct learning cases[] = {
        {"the first stream teaches", {NULL}, right, NULL, STORE_OK, "md5"},
        {"a put from memory teaches", {nine}, right, "md5", STORE_OK, "md5"},
        {"managed encryption keeps MD5s", {ETAG(NINE_MD5) AES}, right, "md5", STORE_OK, "md5"},
        {"an opaque ETag", {ETAG("opaque")}, right, NULL, STORE_OK, NULL},
        {"an MD5 of something else", {wrong}, right, NULL, STORE_OK, NULL},
        {"no ETag", {none}, right, NULL, STORE_OK, NULL},
        {"once another, for good", {wrong, nine, nine}, right, NULL, STORE_OK, NULL},
        {"a key of its own", {ETAG(NINE_MD5) KMS}, right, NULL, STORE_OK, NULL},
        {"the store has other bytes", {nine}, wrong, "md5", STORE_CORRUPT, NULL},
        {"the store changed its habits", {nine}, none, "md5", STORE_CORRUPT, NULL},
        {"and says so", {nine}, right_kms, "md5", STORE_OK, NULL},
        {"an encrypted one, no MD5", {nine}, ETAG(OTHER_MD5) KMS, "md5", STORE_OK, NULL},
    };
    for (size_t i = 0; i < LEN(cases); i++)
        check_learning(&cases[i]);
}

/* ---- Puts in parts ---- */

enum { PART = 5 * 1024 * 1024, LARGE = PART + 7 };

/* Of two parts: the ETag that they are joined under is checked with the MD5s of what was sent. */
static enum store_code put_large(const char *joined_etag)
{
    char complete[256];
    snprintf(complete, sizeof(complete),
             "<CompleteMultipartUploadResult><ETag>&quot;%s&quot;</ETag>"
             "</CompleteMultipartUploadResult>",
             joined_etag);
    const struct step script[] = {
        ANSWER(ETAG(NINE_MD5)),
        {.status = 200,
         .body = "<InitiateMultipartUploadResult><UploadId>up</UploadId>"
                 "</InitiateMultipartUploadResult>"},
        ANSWER(ETAG("part")),
        ANSWER(ETAG("part")),
        {.status = 200, .body = complete},
        {.status = 204}, /* to the removal of the parts */
    };
    static const struct store_conf in_parts = {
        .multipart_bytes = PART, .part_bytes = PART, .parts_in_flight = 1};
    open_as("s3://bucket/pre", script, LEN(script), 20000, "AKIDTEST", &in_parts);
    assert_int_equal(put("k", NINE, NULL), STORE_OK);
    return stream("k", LARGE);
}

static void a_put_in_parts_is_checked_where_etags_are_md5s(void **state)
{
    (void)state;
    char *bytes = malloc(LARGE), etag[TEXT];
    assert_non_null(bytes);
    memset(bytes, 's', LARGE);
    md5_of_parts(bytes, LARGE, PART, etag);
    free(bytes);
    assert_int_equal(put_large(etag), STORE_OK);
    assert_string_equal(o.checksum, "md5:5242880");
    close_after(5);
    assert_header(2, SUM_HEADER, "md5:5242880");
    peer_cleanup(&b.peer);
    etag[0] ^= 1;
    assert_int_equal(put_large(etag), STORE_CORRUPT);
    close_after(6);
    assert_starts(6, "DELETE /bucket/pre/k?uploadId=up ");
}

/* ---- There and back, with one bit turned ---- */

enum { BODY = 60000, FLIPS = 60, FIRST = 20000 };

static char text[BODY + 1];

static void fill_text(void)
{
    for (size_t i = 0; i < BODY; i++)
        text[i] = (char)('A' + (i * 31 + i / 977) % 26);
}

static void turn_bit(char turned[BODY + 1], size_t number)
{
    size_t bit = number * (8 * (size_t)BODY / FLIPS) + number % 8;
    memcpy(turned, text, BODY + 1);
    turned[bit / 8] ^= (char)(1 << bit % 8);
}

static void get_corrupt(const char *turned, size_t number)
{
    if (get("k", NULL) != STORE_CORRUPT || o.data.len >= BODY)
        fail_msg("flip %zu: %s after %zu bytes", number, store_code_name(o.err.code), o.data.len);
    assert_memory_equal(buf_str(&o.data), turned, o.data.len);
}

static void check_flip(const char *headers, size_t number)
{
    char turned[BODY + 1];
    turn_bit(turned, number);
    const struct step script[] = {{200, headers, turned, .sent = 0}};
    OPEN(script);
    get_corrupt(turned, number);
    close_after(1);
    peer_cleanup(&b.peer);
}

static void check_flip_of_a_resumed_get(const char *headers, size_t number)
{
    char turned[BODY + 1], range_headers[512];
    turn_bit(turned, number);
    snprintf(range_headers, sizeof(range_headers), "%s" RANGE("%d-%d/%d"), headers, FIRST, BODY - 1,
             BODY);
    const struct step script[] = {{200, headers, turned, CUTS_BODY, FIRST, 0},
                                  {206, range_headers, turned + FIRST, .sent = 0}};
    OPEN(script);
    get_corrupt(turned, number);
    assert_true(o.data.len >= FIRST);
    close_after(2);
    peer_cleanup(&b.peer);
}

static void check_flips(const char *headers)
{
    const struct step whole[] = {{200, headers, text, .sent = 0}};
    OPEN(whole);
    assert_int_equal(get("k", NULL), STORE_OK);
    assert_string_equal(buf_str(&o.data), text);
    close_after(1);
    peer_cleanup(&b.peer);
    for (size_t i = 0; i < FLIPS; i++)
        check_flip(headers, i);
    for (size_t i = 0; i < FLIPS; i += FLIPS / 3) /* few: each waits before its second try */
        check_flip_of_a_resumed_get(headers, i);
}

/* As the store tells of it, when it has kept what the put was seen to carry. */
static void no_turned_bit_of_a_checksummed_object_gets_through(void **state)
{
    (void)state;
    static const struct step script[] = {ANSWER(ETAG("e"))};
    char headers[256];
    fill_text();
    OPEN(script);
    assert_int_equal(put("k", text, NULL), STORE_OK);
    close_after(1);
    const char *sum = request_header(request(1), SUM_HEADER);
    assert_non_null(sum);
    snprintf(headers, sizeof(headers), ETAG("e") SUM("%.100s"), sum);
    assert_string_equal(buf_str(&request(1)->body), text);
    peer_cleanup(&b.peer);
    check_flips(headers);
}

static void no_turned_bit_of_an_md5_object_gets_through(void **state)
{
    (void)state;
    char headers[256], etag[TEXT];
    fill_text();
    md5_hex(text, BODY, etag);
    snprintf(headers, sizeof(headers), ETAG("%s") SUM("md5"), etag);
    check_flips(headers);
}

static void no_turned_bit_of_an_object_of_parts_gets_through(void **state)
{
    (void)state;
    char headers[256], etag[TEXT];
    fill_text();
    md5_of_parts(text, BODY, 7000, etag);
    snprintf(headers, sizeof(headers), ETAG("%s") SUM("md5:7000"), etag);
    check_flips(headers);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_get_that_fits_its_sum_is_delivered, clean_up),
        cmocka_unit_test_teardown(a_get_that_does_not_fit_its_sum_is_corrupt, clean_up),
        cmocka_unit_test_teardown(an_empty_object_has_a_sum_too, clean_up),
        cmocka_unit_test_teardown(a_sum_that_is_not_understood_is_no_sum, clean_up),
        cmocka_unit_test_teardown(an_etag_that_is_no_md5_is_not_held_against_the_bytes, clean_up),
        cmocka_unit_test_teardown(what_is_checked_with_is_told, clean_up),
        cmocka_unit_test_teardown(a_part_is_not_checked, clean_up),
        cmocka_unit_test_teardown(a_range_that_is_the_whole_is_checked, clean_up),
        cmocka_unit_test_teardown(a_resumed_get_is_checked_over_all_tries, clean_up),
        cmocka_unit_test_teardown(a_put_from_memory_carries_its_sum, clean_up),
        cmocka_unit_test_teardown(a_stream_is_marked_where_etags_were_seen_to_be_md5s, clean_up),
        cmocka_unit_test_teardown(a_put_in_parts_is_checked_where_etags_are_md5s, clean_up),
        cmocka_unit_test_teardown(no_turned_bit_of_a_checksummed_object_gets_through, clean_up),
        cmocka_unit_test_teardown(no_turned_bit_of_an_md5_object_gets_through, clean_up),
        cmocka_unit_test_teardown(no_turned_bit_of_an_object_of_parts_gets_through, clean_up),
    };
    return cmocka_run_group_tests_name("s3_integrity", tests, NULL, NULL);
}
