// The vector interface with SSE2, which every x86-64 processor has, and without any intrinsics on
// processors that have no file of their own.
#pragma once

#include "vector/generic.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// Two roundings: there is no fused multiply-add.
inline V<float> multiply_add(V<float> a, V<float> b, V<float> c) { return a * b + c; }
inline V<double> multiply_add(V<double> a, V<double> b, V<double> c) { return a * b + c; }

inline double sum_of_lanes(V<double> v) { return sum_of_lanes_portably(v); }

#if defined(__x86_64__)
template <class T>
inline void stream_store(T* p, V<T> v) {
  _mm_stream_si128(reinterpret_cast<__m128i*>(p), reinterpret_cast<__m128i>(v));
}
inline void stream_fence() { _mm_sfence(); }
#else
template <class T>
inline void stream_store(T* p, V<T> v) {
  store(p, v);
}
inline void stream_fence() {}
#endif

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
