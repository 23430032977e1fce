// Every function of the vector interface in portable C++. The file of an instruction set defines
// what is only declared here and specialises what has an instruction of its own.
#pragma once

#include "vector/half.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// ---- Memory

template <class T>
inline V<T> load(const T* p) {
  V<T> v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
inline void store(T* p, V<T> v) {
  __builtin_memcpy(p, &v, sizeof v);
}
template <class T>
inline V<T> broadcast(T x) {
  return x - V<T>{};  // x - 0 and not x + 0, which would turn -0 into 0
}

// The first n lanes, n < kLanes; the others are the filler.
template <class T>
inline V<T> load_part(const T* p, int64_t n, T filler) {
  T lanes[kLanes<T>];
  for (int k = 0; k < kLanes<T>; ++k) lanes[k] = k < n ? p[k] : filler;
  return load(lanes);
}
template <class T>
inline void store_part(T* p, V<T> v, int64_t n) {
  for (int k = 0; k < n; ++k) p[k] = v[k];
}

// Lane k is from[at[k]]; scatter writes in the same way.
template <class T>
inline V<T> gather(const T* from, Mask<T> at) {
  V<T> v;
  for (int k = 0; k < kLanes<T>; ++k) v[k] = from[at[k]];
  return v;
}
template <class T>
inline void scatter(T* to, Mask<T> at, V<T> v) {
  for (int k = 0; k < kLanes<T>; ++k) to[at[k]] = v[k];
}

// A non-temporal store: to memory without the caches, and without reading the cache line first. p
// is aligned to the vector.
template <class T>
inline void stream_store(T* p, V<T> v);
// Makes the streamed results visible to other threads.
inline void stream_fence();

// Calls f(begin) for the whole vectors of [0, n) and f(begin, count) for the remainder.
template <class T, class Whole, class Part>
inline void for_each_vector(int64_t n, const Whole& whole, const Part& part) {
  int64_t i = 0;
  for (; i + kLanes<T> <= n; i += kLanes<T>) whole(i);
  if (i < n) part(i, n - i);
}

// ---- Lanes

// v with 0 in lane `at`, if there is such a lane.
template <class T>
inline V<T> clear_lane(V<T> v, int64_t at) {
  Mask<T> lane;
  for (int k = 0; k < kLanes<T>; ++k) lane[k] = k;
  return lane == static_cast<typename Vector<T>::index>(at) ? V<T>{} : v;
}

// v with x in lane `at`.
template <class T>
inline V<T> set_lane(V<T> v, int64_t at, T x) {
  Mask<T> lane;
  for (int k = 0; k < kLanes<T>; ++k) lane[k] = k;
  return lane == static_cast<typename Vector<T>::index>(at) ? broadcast(x) : v;
}

// The first n lanes of v, 0 in the others.
template <class T>
inline V<T> keep_first(V<T> v, int64_t n) {
  Mask<T> lane;
  for (int k = 0; k < kLanes<T>; ++k) lane[k] = k;
  return lane < static_cast<typename Vector<T>::index>(n) ? v : V<T>{};
}

// Lane k is lane which[k] of a and b, counted through both.
template <class T>
inline V<T> shuffle(V<T> a, V<T> b, Mask<T> which) {
#if defined(__clang__)
  V<T> result;
  for (int k = 0; k < kLanes<T>; ++k) {
    result[k] = which[k] < kLanes<T> ? a[which[k]] : b[which[k] - kLanes<T>];
  }
  return result;
#else
  return __builtin_shuffle(a, b, which);
#endif
}

// Lane k is v[which[k]].
template <class T>
inline V<T> permute(V<T> v, Mask<T> which) {
  return shuffle<T>(v, v, which);
}

// ---- Arithmetic

// a * b + c, rounded once where there is an instruction for it. The plain expression is always
// rounded twice.
inline V<float> multiply_add(V<float> a, V<float> b, V<float> c);
inline V<double> multiply_add(V<double> a, V<double> b, V<double> c);

// The rounding error of `product`, which is a * b rounded. Without a fused multiply-add it is
// computed by Dekker's splitting: the halves can be multiplied exactly.
template <class T>
inline V<T> product_error(V<T> a, V<T> b, V<T> product) {
  if constexpr (kHasFusedMultiplyAdd) {
    return multiply_add(a, b, -product);
  } else {
    constexpr T kSplit = sizeof(T) == 4 ? T(4097) : T(134217729);
    const V<T> far_a = a * kSplit, a_high = far_a - (far_a - a), a_low = a - a_high;
    const V<T> far_b = b * kSplit, b_high = far_b - (far_b - b), b_low = b - b_high;
    return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
  }
}

// a - b * c, rounded once.
template <class T>
inline V<T> subtract_product(V<T> a, V<T> b, V<T> c) {
  if constexpr (kHasFusedMultiplyAdd) {
    return multiply_add(-b, c, a);
  } else {
    const V<T> product = b * c;
    return (a - product) - product_error<T>(b, c, product);
  }
}

// v itself. The compiler must compute it here and can't merge it into a later expression.
template <class T>
inline V<T> force_evaluation(V<T> v) {
#if defined(__x86_64__)
  __asm__("" : "+x"(v));
#elif defined(__aarch64__)
  __asm__("" : "+w"(v));
#endif
  return v;
}

// a * b + c * d. c * d is rounded on its own; with a fused multiply-add the rest is rounded once.
template <class T>
inline V<T> dot2(V<T> a, V<T> b, V<T> c, V<T> d) {
  return multiply_add(a, b, c * d);
}

// 1 / d, within 1 ulp.
template <class T>
inline V<T> reciprocal(V<T> d) {
  return 1 / d;
}

template <class T>
inline V<T> maximum(V<T> a, V<T> b) {  // b where either is NaN
  return a > b ? a : b;
}
template <class T>
inline V<T> minimum(V<T> a, V<T> b) {  // b where either is NaN
  return a < b ? a : b;
}
// The larger of |a| and b.
template <class T>
inline V<T> max_magnitude(V<T> a, V<T> b) {
  return maximum<T>(a < 0 ? -a : a, b);
}

// ---- Reductions over the lanes, pairwise so that the chains of dependent operations are short

template <class T>
inline T largest_lane(V<T> v) {  // no lane is NaN
  for (int half = kLanes<T> / 2; half > 0; half /= 2) {
    for (int k = 0; k < half; ++k) v[k] = v[k] > v[k + half] ? v[k] : v[k + half];
  }
  return v[0];
}

inline double sum_of_lanes(V<double> v);
inline double sum_of_lanes_portably(V<double> v) {
  for (int half = kLanes<double> / 2; half > 0; half /= 2) {
    for (int k = 0; k < half; ++k) v[k] += v[k + half];
  }
  return v[0];
}

template <class T>
inline bool all_lanes(Mask<T> mask) {
  int64_t parts[kVectorBytes / 8], set = -1;
  __builtin_memcpy(parts, &mask, sizeof parts);
  for (int64_t part : parts) set &= part;
  return set == -1;
}

// The first lane that holds x; kLanes where none does.
template <class T>
inline int find_lane(V<T> v, T x) {
  const Mask<T> found = v == x;
  int64_t parts[kVectorBytes / 8], set = 0;
  __builtin_memcpy(parts, &found, sizeof parts);
  for (int64_t part : parts) set |= part;
  int k = set != 0 ? 0 : kLanes<T>;
  while (k < kLanes<T> && found[k] == 0) ++k;
  return k;
}

// ---- Conversions

// kLanes<double> numbers as double, and back.
inline V<double> load_as_double(const double* p) { return load(p); }
inline V<double> load_as_double(const float* p) {
  typedef float half __attribute__((vector_size(kVectorBytes / 2)));
  half v;
  __builtin_memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, V<double>);
}
inline void store_from_double(double* p, V<double> v) { store(p, v); }
inline void store_from_double(float* p, V<double> v) {
  typedef float half __attribute__((vector_size(kVectorBytes / 2)));
  const half narrow = __builtin_convertvector(v, half);
  __builtin_memcpy(p, &narrow, sizeof narrow);
}

// One half of v as double: the first (0) or the second (1).
template <int half>
inline V<double> widen(V<float> v) {
  float lanes[kLanes<float>];
  store(lanes, v);
  return load_as_double(lanes + half * kLanes<double>);
}
template <int>
inline V<double> widen(V<double> v) {
  return v;
}

// Calls f(DoublePart<k>()) for each of the kParts<T> vectors of double that a V<T> fills.
template <int k>
struct DoublePart {
  static constexpr int index = k;
  static constexpr int64_t begin = k * kLanes<double>;
};
template <class T, class F>
inline void for_each_part(const F& f) {
  f(DoublePart<0>());
  if constexpr (kParts<T> == 2) f(DoublePart<1>());
}

// The parts as one vector of T.
template <class T>
inline V<T> narrow(const V<double>* parts) {
  T lanes[kLanes<T>];
  for (int k = 0; k < kParts<T>; ++k) store_from_double(lanes + k * kLanes<double>, parts[k]);
  return load(lanes);
}

// Numbers of the half type S as float, and back.
inline V<uint16_t> concatenate(HalfVector a, HalfVector b) {
  const HalfVector parts[2] = {a, b};
  V<uint16_t> v;
  __builtin_memcpy(&v, parts, sizeof v);
  return v;
}
template <class S>
inline V<float> widen_half(HalfVector v) {
  return S::widen_portably(v);
}
template <class S>
inline V<uint16_t> narrow_half(V<float> a, V<float> b) {
  return concatenate(S::narrow_portably(a), S::narrow_portably(b));
}
// The first n numbers as float, n < kLanes<float>; the other lanes are the filler.
template <class S>
inline V<float> load_part_half(const S* p, int64_t n, float filler) {
  float lanes[kLanes<float>];
  for (int k = 0; k < kLanes<float>; ++k) lanes[k] = k < n ? S::decode(p[k].bits) : filler;
  return load(lanes);
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
