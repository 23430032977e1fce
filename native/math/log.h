// The logarithm, with an argument and a result of more digits than one number has.
#pragma once

#include "math/exp.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// A logarithm as the sum of two numbers, which is rounded once more when they are added.
template <class T>
struct LogParts {
  V<T> large, small;
};

// log(u + error) for u > 2^-64 and |error| < ulp(u). Where u is near 1, y + y_error is used for u +
// error - 1, since it may have more digits. The error is at most 2 ulp as one number; as two, for
// float, half an ulp, and 2^-27 where the logarithm isn't small. u = 2^k m, log m = 2 atanh((m - 1)
// / (m + 1)).
template <class T>
inline LogParts<T> log_in_parts(V<T> u, V<T> error, V<T> y, V<T> y_error) {
  using C = ExpConstants<T>;
  using B = typename Vector<T>::bits;
  B bits;
  __builtin_memcpy(&bits, &u, sizeof bits);
  // m in [sqrt(1/2), sqrt(2)): the exponent is counted from the bits of sqrt(1/2), plus 64, which
  // makes it positive.
  constexpr auto kMore = decltype(C::kBitsOf1){64} << C::kMantissa;
  bits += kMore;
  const B k_bits = (bits - C::kRootOfHalf) >> C::kMantissa;
  const B m_bits = bits - (k_bits << C::kMantissa);
  V<T> m;
  __builtin_memcpy(&m, &m_bits, sizeof m);
  // Converts k to T by way of the bits of 2^kMantissa.
  const V<T> beyond = broadcast(static_cast<T>(int64_t{1} << C::kMantissa));
  B k_magic;
  __builtin_memcpy(&k_magic, &beyond, sizeof k_magic);
  k_magic |= k_bits;
  V<T> k;
  __builtin_memcpy(&k, &k_magic, sizeof k);
  k -= beyond + 64;
  const B down_bits = (C::kBitsOf1 + kMore) - (k_bits << C::kMantissa);
  V<T> down;  // 2^-k
  __builtin_memcpy(&down, &down_bits, sizeof down);
  // f = m - 1 is exact.
  const Mask<T> is_near_1 = k_bits == 64;
  const V<T> f = is_near_1 ? y : m - 1, c = is_near_1 ? y_error : error * down;
  // log(m + c) = log(m) + c / m; where m is far from 1, c contributes next to nothing.
  const V<T> tail = multiply_add(-c * f, 1 - f, c);
  const V<T> d = f + 2, part = reciprocal<T>(d), rough = f * part;
  const V<T> z = multiply_add(multiply_add(-rough, f - (d - 2), subtract_product<T>(f, rough, d)),
                              part, rough);
  const V<T> w = z * z;
  constexpr T kOdd[] = {T(1.0 / 21), T(1.0 / 19), T(1.0 / 17), T(1.0 / 15), T(1.0 / 13),
                        T(1.0 / 11), T(1.0 / 9),  T(1.0 / 7),  T(1.0 / 5),  T(1.0 / 3)};
  constexpr int kFirst = sizeof(T) == 4 ? 6 : 0;
  V<T> q = V<T>{} + kOdd[kFirst];
#pragma GCC unroll 16
  for (int i = kFirst + 1; i < 10; ++i) q = multiply_add(q, w, broadcast(kOdd[i]));
  // log m = 2 z + 2 z^3 q, with 2 z = f - z f: the leading terms f and k log(2) are exact.
  const V<T> whole = k * C::kLog2High, large = whole + f;
  const V<T> small =
      (f - (large - whole)) +
      subtract_product<T>(multiply_add(k, broadcast(C::kLog2Low), multiply_add(2 * z * w, q, tail)),
                          z, f);
  const Mask<T> finite = u < static_cast<T>(__builtin_inf());
  return {finite ? large : u, finite ? small : V<T>{}};
}

// u + error = 1 + y.
template <class T>
struct OnePlus {
  V<T> u, error;

  OnePlus(V<T> y, V<T> y_error) : u(y + 1) {
    const V<T> back = u - 1;
    error = ((y - back) + (1 - (u - back))) + y_error;
  }
};

// log(1 + y + y_error) for y >= 0.
template <class T>
inline V<T> log1p(V<T> y, V<T> y_error = V<T>{}) {
  const OnePlus<T> whole(y, y_error);
  const LogParts<T> log = log_in_parts<T>(whole.u, whole.error, y, y_error);
  return log.large + log.small;
}
inline double log1p(double y) { return log1p<double>(broadcast(y))[0]; }

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
