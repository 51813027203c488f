/* What the folder driver knows of its objects, and what it does when the disk knows better. */
#include "tests/unit/file_fixture.h"

#include <errno.h>
#include <sys/xattr.h>

#include "base/xalloc.h"

static void checksums_are_those_of_the_rfc(void **state)
{
    struct fixture *f = *state;
    needs_xattrs(f);
    char zeroes[32] = "", ones[32];
    memset(ones, 0xff, sizeof(ones));
    const struct {
        const char *bytes;
        size_t size;
        const char *checksum;
    } cases[] = {
        {"", 0, "crc32c:00000000"},
        {"123456789", 9, "crc32c:e3069283"},
        {zeroes, 32, "crc32c:8a9136aa"}, /* RFC 3720 section B.4 */
        {ones, 32, "crc32c:62a8ab43"},
    };
    for (size_t i = 0; i < LEN(cases); i++) {
        struct outcome o;
        assert_int_equal(put(f, "k", cases[i].bytes, cases[i].size, NULL, &o), STORE_OK);
        assert_string_equal(o.checksum, cases[i].checksum);
        assert_int_equal(o.info.stored_size, cases[i].size);
        outcome_cleanup(&o);
        assert_int_equal(head(f, "k", &o), STORE_OK);
        assert_string_equal(o.checksum, cases[i].checksum);
        assert_int_equal(o.info.stored_size, cases[i].size);
        outcome_cleanup(&o);
        assert_int_equal(get(f, "k", NULL, &o), STORE_OK);
        assert_string_equal(o.checksum, cases[i].checksum);
        outcome_cleanup(&o);
    }
}

/* Whichever byte it is, the last piece does not come. */
static void flipped_bytes_never_come_out_whole(void **state)
{
    struct fixture *f = *state;
    needs_xattrs(f);
    static const struct {
        size_t size;
        off_t at;
    } cases[] = {{1, 0},
                 {100, 99},
                 {FILE_CHUNK, 0},
                 {FILE_CHUNK + 1, 5},
                 {FILE_CHUNK + 1, FILE_CHUNK},
                 {5 * FILE_CHUNK, 2 * FILE_CHUNK}};
    char *bytes = pattern(5 * FILE_CHUNK);
    for (size_t i = 0; i < LEN(cases); i++) {
        struct outcome o;
        assert_int_equal(put(f, "k", bytes, cases[i].size, NULL, &o), STORE_OK);
        outcome_cleanup(&o);
        flip_byte(disk_path(f, "k%o"), cases[i].at);
        assert_int_equal(get(f, "k", NULL, &o), STORE_CORRUPT);
        assert_true(o.data.len < cases[i].size);
        outcome_cleanup(&o);
        /* A range that happens to be everything is everything. */
        const struct store_get_opts all = {.length = cases[i].size};
        assert_int_equal(code_of_get(f, "k", &all), STORE_CORRUPT);
        flip_byte(disk_path(f, "k%o"), cases[i].at);
        assert_int_equal(code_of_get(f, "k", NULL), STORE_OK);
    }
    free(bytes);
}

static void parts_are_not_verified(void **state)
{
    struct fixture *f = *state;
    struct outcome o;
    assert_int_equal(put_text(f, "k", "0123456789"), STORE_OK);
    flip_byte(disk_path(f, "k%o"), 0);
    assert_int_equal(get(f, "k", &(struct store_get_opts){.offset = 5}, &o), STORE_OK);
    assert_string_equal(buf_str(&o.data), "56789");
    outcome_cleanup(&o);
}

static void write_record(struct fixture *f, const char *name, const void *bytes, size_t n)
{
    assert_int_equal(setxattr(disk_path(f, name), FILE_XATTR_NAME, bytes, n, 0), 0);
}

static void old_records_are_read(void **state)
{
    struct fixture *f = *state;
    needs_xattrs(f);
    struct outcome o;
    static const char record[] = "1\0"
                                 "4\0tag\0text/plain\0name\0value";
    make_file(disk_path(f, "old%o"), "text");
    write_record(f, "old%o", record, sizeof(record));
    assert_int_equal(get(f, "old", NULL, &o), STORE_OK);
    assert_string_equal(buf_str(&o.data), "text");
    assert_string_equal(o.etag, "tag");
    assert_string_equal(o.checksum, "");
    assert_string_equal(o.content_type, "text/plain");
    assert_string_equal(buf_str(&o.meta), "name=value;");
    outcome_cleanup(&o);
    /* A copy is described anew, but has no checksum either. */
    assert_int_equal(copy(f, "old", "new", NULL, &o), STORE_OK);
    outcome_cleanup(&o);
    assert_int_equal(head(f, "new", &o), STORE_OK);
    assert_string_equal(o.etag, "tag");
    assert_string_equal(o.checksum, "");
    assert_string_equal(buf_str(&o.meta), "name=value;");
    outcome_cleanup(&o);
}

static void damaged_descriptions_are_told(void **state)
{
    struct fixture *f = *state;
    needs_xattrs(f);
    struct outcome o;
    assert_int_equal(put_text(f, "k", "text"), STORE_OK);
    write_record(f, "k%o", "9\0garbage", 10);
    assert_int_equal(code_of_get(f, "k", NULL), STORE_CORRUPT);
    assert_int_equal(head(f, "k", &o), STORE_CORRUPT);
    outcome_cleanup(&o);
    assert_int_equal(copy(f, "k", "b", NULL, &o), STORE_CORRUPT);
    outcome_cleanup(&o);
    assert_int_equal(count_keys(f, ""), 1);              /* it can be found, */
    assert_int_equal(put_text(f, "k", "new"), STORE_OK); /* and replaced */
    assert_content(f, "k", "new");
    char huge[FILE_RECORD_MAX + 1] = "2";
    write_record(f, "k%o", huge, sizeof(huge));
    assert_int_equal(code_of_get(f, "k", NULL), STORE_CORRUPT);
    assert_int_equal(remove_object(f, "k"), STORE_OK);
}

/* The caller's limits, and those of libstore's own pairs on top. */
static void largest_descriptions_fit(void **state)
{
    struct fixture *f = *state;
    needs_xattrs(f);
    static struct file_record r, back;
    char etag[STORE_ETAG_SIZE] = "", type[FILE_MAX_TYPE + 1] = "";
    char names[FILE_MAX_META][16], value[FILE_MAX_META_BYTES] = "";
    memset(etag, 'e', sizeof(etag) - 1);
    memset(type, 't', sizeof(type) - 1);
    size_t bytes = 0;
    for (size_t i = 0; i < FILE_MAX_META; i++) {
        snprintf(names[i], sizeof(names[i]), "name-%zu", i);
        bytes += strlen(names[i]);
        r.meta[i] = (struct store_meta){names[i], ""};
    }
    memset(value, 'v', FILE_MAX_META_BYTES - bytes);
    r.meta[7].value = value;
    r.n_meta = FILE_MAX_META;
    r.etag = etag;
    r.checksum = "crc32c:00000000";
    r.content_type = type;
    r.size = UINT64_MAX - 1;
    struct store_err err;
    struct stat st = {0};
    make_file(disk_path(f, "k%o"), "");
    int fd = open(disk_path(f, "k%o"), O_RDWR);
    if (file_record_write(fd, &r, &err) != 0 || file_record_read(fd, &st, &back, &err) != 0)
        fail_msg("%s", err.msg);
    close(fd);
    assert_true(back.stored);
    assert_int_equal(back.n_meta, FILE_MAX_META);
    assert_string_equal(back.meta[7].value, value);
    assert_string_equal(back.meta[FILE_MAX_META - 1].name, names[FILE_MAX_META - 1]);
    assert_string_equal(back.content_type, type);
    assert_int_equal(back.size, r.size);
}

static void full_metadata_comes_back(void **state)
{
    struct fixture *f = *state;
    needs_xattrs(f);
    struct store_meta meta[STORE_MAX_META];
    char names[STORE_MAX_META][8], value[100] = "";
    memset(value, 'v', sizeof(value) - 1);
    for (size_t i = 0; i < STORE_MAX_META; i++) {
        snprintf(names[i], sizeof(names[i]), "n%02zu", i);
        meta[i] = (struct store_meta){names[i], value};
    }
    struct outcome o;
    const struct store_put_opts opts = {.meta = meta, .n_meta = STORE_MAX_META};
    assert_int_equal(put(f, "k", "x", 1, &opts, &o), STORE_OK);
    outcome_cleanup(&o);
    assert_int_equal(head(f, "k", &o), STORE_OK);
    assert_int_equal(o.info.n_meta, STORE_MAX_META);
    assert_int_equal(o.meta.len, STORE_MAX_META * (3 + 1 + 99 + 1));
    outcome_cleanup(&o);
}

/* ---- Kinds of listings, and what is removed by them ---- */

static void objects_are_their_only_versions(void **state)
{
    struct fixture *f = *state;
    struct listing l;
    assert_int_equal(put_text(f, "a/1", "x"), STORE_OK);
    assert_int_equal(put_text(f, "a/2", "x"), STORE_OK);
    list_all(f, "a/", (struct store_list_opts){.kind = STORE_LIST_VERSIONS}, &l);
    assert_int_equal(l.n, 2);
    assert_true(l.all_latest && l.no_versions);
    listing_cleanup(&l);
    list_all(f, "", (struct store_list_opts){.kind = STORE_LIST_UPLOADS}, &l);
    assert_int_equal(l.n, 0);
    assert_true(l.server_time_s > 0);
    listing_cleanup(&l);
}

static enum store_code delete_listed(struct fixture *f, enum store_list_kind kind,
                                     const struct store_entry *entries, size_t n)
{
    struct outcome o;
    outcome_init(&o);
    enum store_code code = finish(
        f, store_delete_listed(f->s, f->loop, kind, entries, n, 0, outcome_done, &o, NULL), &o);
    outcome_cleanup(&o);
    return code;
}

static void only_listed_objects_are_removed(void **state)
{
    struct fixture *f = *state;
    const struct store_entry entries[] = {
        {.key = "a/1", .version = ""},
        {.key = "a/2", .version = NULL},
        {.key = "a/3", .version = "v1"}, /* there is no such version of it */
        {.key = "a/4", .version = ""},
    };
    for (size_t i = 0; i < LEN(entries); i++)
        assert_int_equal(put_text(f, entries[i].key, "x"), STORE_OK);
    assert_int_equal(delete_listed(f, STORE_LIST_UPLOADS, entries, 4), STORE_OK);
    assert_int_equal(count_keys(f, ""), 4);
    assert_int_equal(delete_listed(f, STORE_LIST_VERSIONS, entries, 3), STORE_OK);
    assert_int_equal(code_of_get(f, "a/1", NULL), STORE_NOT_FOUND);
    assert_int_equal(code_of_get(f, "a/2", NULL), STORE_NOT_FOUND);
    assert_content(f, "a/3", "x");
    assert_int_equal(delete_listed(f, STORE_LIST_OBJECTS, entries, 4), STORE_OK);
    assert_int_equal(count_on_disk(f, ""), 2);
}

/* ---- Health ---- */

static void only_the_disk_is_blamed(void **state)
{
    struct fixture *f = *state;
    needs_xattrs(f);
    struct store_stats s;
    struct outcome o;
    assert_int_equal(put_text(f, "k", "text"), STORE_OK);
    assert_int_equal(code_of_get(f, "none", NULL), STORE_NOT_FOUND);
    assert_int_equal(put(f, "k", "x", 1, &(struct store_put_opts){.if_absent = true}, &o),
                     STORE_PRECONDITION);
    outcome_cleanup(&o);
    assert_int_equal(symlink("k%o", disk_path(f, "link%o")), 0);
    assert_int_equal(code_of_get(f, "link", NULL), STORE_FAILED);
    assert_int_equal(put(f, "k", "x", 1, &(struct store_put_opts){.expires_in_s = 1}, &o),
                     STORE_EXPIRED); /* not even tried */
    outcome_cleanup(&o);
    store_stats(f->s, &s);
    assert_int_equal(s.requests, 4);
    assert_int_equal(s.failures, 0);
    flip_byte(disk_path(f, "k%o"), 0);
    assert_int_equal(code_of_get(f, "k", NULL), STORE_CORRUPT);
    store_stats(f->s, &s);
    assert_int_equal(s.requests, 5);
    assert_int_equal(s.failures, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(checksums_are_those_of_the_rfc, setup, teardown),
        cmocka_unit_test_setup_teardown(flipped_bytes_never_come_out_whole, setup, teardown),
        cmocka_unit_test_setup_teardown(parts_are_not_verified, setup, teardown),
        cmocka_unit_test_setup_teardown(old_records_are_read, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_descriptions_are_told, setup, teardown),
        cmocka_unit_test_setup_teardown(largest_descriptions_fit, setup, teardown),
        cmocka_unit_test_setup_teardown(full_metadata_comes_back, setup, teardown),
        cmocka_unit_test_setup_teardown(objects_are_their_only_versions, setup, teardown),
        cmocka_unit_test_setup_teardown(only_listed_objects_are_removed, setup, teardown),
        cmocka_unit_test_setup_teardown(only_the_disk_is_blamed, setup, teardown),
    };
    return cmocka_run_group_tests_name("file_integrity", tests, NULL, NULL);
}
