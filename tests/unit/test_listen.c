/* The socket that a service listens on, and what may stand in its way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/xalloc.h"
#include "service/listen.h"

static struct store_err err;
static char bound[LISTEN_ADDRESS_SIZE];

static void bad_addresses_are_told(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",        "127.0.0.1",   "127.0.0.1:", ":",     "[::1]",  "::1:0",    "[::1:0",
        "x:70000", "127.0.0.1:x", "[]x:1",      "unix:", "unix:a", "unix:./a",
    };
    for (size_t i = 0; i < LEN(bad); i++) {
        print_message("'%s'\n", bad[i]);
        assert_int_equal(listen_open(bad[i], bound, &err), -1);
        assert_int_equal(err.code, STORE_INVALID);
        assert_non_null(strstr(err.msg, bad[i]));
    }
}

static void a_port_is_taken_once(void **state)
{
    (void)state;
    int fd = listen_open("127.0.0.1:0", bound, &err);
    assert_true(fd >= 0);
    assert_int_equal(listen_open(bound, NULL, &err), -1); /* nobody may share the port unseen */
    listen_close(fd);
    fd = listen_open("[::1]:0", bound, &err);
    if (fd >= 0) /* a machine may have no IPv6 */
        assert_memory_equal(bound, "[::1]:", 6);
    listen_close(fd);
}

/* ---- Unix-domain sockets ---- */

static char folder[64], path[96], address[128];

static int make_folder(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/listen-XXXXXX");
    if (!mkdtemp(folder))
        return -1;
    snprintf(path, sizeof(path), "%s/socket", folder);
    snprintf(address, sizeof(address), "unix:%s", path);
    return 0;
}

static int remove_folder(void **state)
{
    (void)state;
    unlink(path);
    return rmdir(folder);
}

/* -1, or a connection. */
static int dial(void)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    strcpy(at.sun_path, path);
    if (connect(fd, (struct sockaddr *)&at, sizeof(at)) == 0)
        return fd;
    close(fd);
    return -1;
}

static void a_path_is_for_owner_and_group(void **state)
{
    (void)state;
    struct stat st;
    int fd = listen_open(address, bound, &err);
    assert_true(fd >= 0);
    assert_string_equal(bound, address);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0660);
    int client = dial();
    assert_true(client >= 0);
    close(client);
    listen_close(fd);
    assert_int_equal(access(path, F_OK), -1);
}

static void a_path_in_use_is_left_alone(void **state)
{
    (void)state;
    int fd = listen_open(address, NULL, &err);
    assert_true(fd >= 0);
    assert_int_equal(listen_open(address, NULL, &err), -1);
    assert_non_null(strstr(err.msg, path));
    int client = dial();
    assert_true(client >= 0);
    close(client);
    listen_close(fd);
}

static void what_a_dead_process_left_is_replaced(void **state)
{
    (void)state;
    int fd = listen_open(address, NULL, &err);
    assert_true(fd >= 0);
    close(fd); /* the file stays */
    assert_int_equal(dial(), -1);
    fd = listen_open(address, NULL, &err);
    assert_true(fd >= 0);
    int client = dial();
    assert_true(client >= 0);
    close(client);
    listen_close(fd);
}

static void another_file_stays(void **state)
{
    (void)state;
    int file = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    close(file);
    assert_int_equal(listen_open(address, NULL, &err), -1);
    assert_int_equal(access(path, F_OK), 0);
}

static void a_path_that_is_too_long_is_told(void **state)
{
    (void)state;
    char longest[160] = "unix:";
    memset(longest + 5, '/', 108);
    assert_int_equal(listen_open(longest, NULL, &err), -1);
    assert_int_equal(err.code, STORE_INVALID);
    assert_non_null(strstr(err.msg, "at most 107 bytes"));
}

#define IN_FOLDER(f) cmocka_unit_test_setup_teardown(f, make_folder, remove_folder)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_addresses_are_told),          cmocka_unit_test(a_port_is_taken_once),
        IN_FOLDER(a_path_is_for_owner_and_group),          IN_FOLDER(a_path_in_use_is_left_alone),
        IN_FOLDER(what_a_dead_process_left_is_replaced),   IN_FOLDER(another_file_stays),
        cmocka_unit_test(a_path_that_is_too_long_is_told),
    };
    return cmocka_run_group_tests_name("listen", tests, NULL, NULL);
}
