// CHECK: an invariant of our own code is broken, and going on could corrupt somebody's bytes. Always on. It is never
// for what a peer, a configuration or the kernel may do: those are values.
#pragma once

#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <type_traits>

namespace ringway::internal {

[[noreturn]] [[gnu::cold]] [[gnu::noinline]] inline void CheckFailed(const char* file, int line,
                                                                     const char* expression) {
  const int saved_errno = errno;
  std::fprintf(stderr, "%s:%d: CHECK(%s) failed (errno %d: %s)\n", file, line, expression, saved_errno,
               std::strerror(saved_errno));
  std::fflush(stderr);
  std::abort();
}

template <typename T>
long long CheckValue(const T& value) {
  if constexpr (std::is_pointer_v<T>) {
    return static_cast<long long>(reinterpret_cast<intptr_t>(value));
  } else {
    return static_cast<long long>(value);
  }
}

[[noreturn]] [[gnu::cold]] [[gnu::noinline]] inline void CheckOpFailed(const char* file, int line,
                                                                       const char* expression, long long left,
                                                                       long long right) {
  const int saved_errno = errno;
  std::fprintf(stderr, "%s:%d: CHECK(%s) failed: %lld vs. %lld (errno %d: %s)\n", file, line, expression, left, right,
               saved_errno, std::strerror(saved_errno));
  std::fflush(stderr);
  std::abort();
}

}  // namespace ringway::internal

// These names are for code in headers: a test's CHECK is doctest's.
#define RINGWAY_CHECK(condition)                                        \
  do {                                                                  \
    if (!(condition)) [[unlikely]]                                      \
      ::ringway::internal::CheckFailed(__FILE__, __LINE__, #condition); \
  } while (false)

#define RINGWAY_CHECK_OP(op, left, right)                                                 \
  do {                                                                                    \
    const auto& ringway_left = (left);                                                    \
    const auto& ringway_right = (right);                                                  \
    if (!(ringway_left op ringway_right)) [[unlikely]]                                    \
      ::ringway::internal::CheckOpFailed(__FILE__, __LINE__, #left " " #op " " #right,    \
                                         ::ringway::internal::CheckValue(ringway_left),   \
                                         ::ringway::internal::CheckValue(ringway_right)); \
  } while (false)

// Only where a CHECK would cost on a hot path; compiled but not run under NDEBUG.
#ifdef NDEBUG
#define DCHECK(condition)           \
  do {                              \
    if (false) {                    \
      static_cast<void>(condition); \
    }                               \
  } while (false)
#else
#define DCHECK(condition) RINGWAY_CHECK(condition)
#endif
#define DCHECK_EQ(left, right) DCHECK((left) == (right))
#define DCHECK_LT(left, right) DCHECK((left) < (right))
#define DCHECK_LE(left, right) DCHECK((left) <= (right))

#ifndef DOCTEST_LIBRARY_INCLUDED
#define CHECK(condition) RINGWAY_CHECK(condition)
// For integers, enums and pointers: both values are printed.
#define CHECK_EQ(left, right) RINGWAY_CHECK_OP(==, left, right)
#define CHECK_NE(left, right) RINGWAY_CHECK_OP(!=, left, right)
#define CHECK_LT(left, right) RINGWAY_CHECK_OP(<, left, right)
#define CHECK_LE(left, right) RINGWAY_CHECK_OP(<=, left, right)
#define CHECK_GT(left, right) RINGWAY_CHECK_OP(>, left, right)
#define CHECK_GE(left, right) RINGWAY_CHECK_OP(>=, left, right)
#endif
