// The size of a cache line.
#pragma once

#include <cstdint>

namespace softxent {

// What one thread writes and another one uses lies at least this far apart, and lines are completed
// before non-temporal stores write them. One size for a whole architecture, because a build runs on
// all of its processors: the largest that they have. 64-bit Arm has lines of 64 bytes mostly, 128
// in Apple's processors and 256 in the A64FX.
#if defined(__aarch64__) && defined(__APPLE__)
constexpr int64_t kCacheLine = 128;
#elif defined(__aarch64__) || defined(__s390x__)
constexpr int64_t kCacheLine = 256;
#elif defined(__powerpc64__)
constexpr int64_t kCacheLine = 128;
#else
constexpr int64_t kCacheLine = 64;
#endif

}  // namespace softxent
