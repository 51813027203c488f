#include "http/message.h"

#include <string.h>

static const struct {
    int status;
    const char *reason;
} reasons[] = {
    {100, "Continue"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {204, "No Content"},
    {206, "Partial Content"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {422, "Unprocessable Content"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
};

const char *http_reason(int status)
{
    for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Unknown";
}

void http_put_request(struct buf *b, const char *method, const char *target)
{
    buf_adds(b, method);
    buf_addc(b, ' ');
    buf_adds(b, target);
    buf_adds(b, " HTTP/1.1\r\n");
}

void http_put_status(struct buf *b, int status)
{
    char code[] = {(char)('0' + status / 100 % 10), (char)('0' + status / 10 % 10),
                   (char)('0' + status % 10), ' '};
    buf_adds(b, "HTTP/1.1 ");
    buf_add(b, code, sizeof(code));
    buf_adds(b, http_reason(status));
    buf_adds(b, "\r\n");
}

void http_put_field(struct buf *b, const char *name, const char *value)
{
    if (value[strcspn(value, "\r\n")])
        return;
    buf_adds(b, name);
    buf_add(b, ": ", 2);
    buf_adds(b, value);
    buf_add(b, "\r\n", 2);
}

void http_put_length(struct buf *b, uint64_t length)
{
    char digits[20];
    size_t at = sizeof(digits);
    do
        digits[--at] = (char)('0' + length % 10);
    while (length /= 10);
    buf_adds(b, "Content-Length: ");
    buf_add(b, digits + at, sizeof(digits) - at);
    buf_add(b, "\r\n", 2);
}

void http_put_end(struct buf *b)
{
    buf_add(b, "\r\n", 2);
}
