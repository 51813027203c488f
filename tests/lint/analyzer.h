/* analyzer.h - included before each file that clang-tidy looks at: what the analyzer, which sees
 * one file at a time, cannot know. Without it each "return store_err_set(…)" might be a success. */
#ifndef TESTS_LINT_ANALYZER_H
#define TESTS_LINT_ANALYZER_H

#include <store/error.h>

#define store_err_set(...)   ((void)store_err_set(__VA_ARGS__), -1)
#define store_err_errno(...) ((void)store_err_errno(__VA_ARGS__), -1)

#endif
