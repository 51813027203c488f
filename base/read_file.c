#include "base/read_file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

ssize_t read_file_head(const char *path, char *out, size_t cap)
{
    size_t len = 0;
    ssize_t n = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    while (len < cap && ((n = read(fd, out + len, cap - len)) > 0 || (n < 0 && errno == EINTR)))
        len += n > 0 ? (size_t)n : 0;
    int saved_errno = errno;
    close(fd);
    errno = saved_errno;
    return n < 0 ? -1 : (ssize_t)len;
}
