// The vector interface with NEON (64-bit Arm): what differs from the portable code so far. It has
// been written but not measured; gather, permute and the float16 conversions are likely candidates
// for specialisations.
#pragma once

#include "vector/generic.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

inline V<float> multiply_add(V<float> a, V<float> b, V<float> c) { return vfmaq_f32(c, a, b); }
inline V<double> multiply_add(V<double> a, V<double> b, V<double> c) { return vfmaq_f64(c, a, b); }

inline double sum_of_lanes(V<double> v) { return sum_of_lanes_portably(v); }

// NEON has no non-temporal store that takes one vector.
template <class T>
inline void stream_store(T* p, V<T> v) {
  store(p, v);
}
inline void stream_fence() {}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
