// Double-double arithmetic, exp and log, for differences that must have all digits of a double.
//
// A number is an unevaluated sum of two doubles, hi + lo. A sum has |lo| <= ulp(hi) / 2, so that hi
// is the number rounded; after a product or fast_add, lo may be a few ulp of hi. The algorithms are
// those of Dekker and Knuth.
#pragma once

#include "math/log.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

using D = V<double>;

struct DoubleDoubleVector {
  D hi, lo;
};

SOFTXENT_INLINE inline D fma_vector(D a, D b, D c) {  // a b + c, rounded once on every processor
  if constexpr (kHasFusedMultiplyAdd) {
    return multiply_add(a, b, c);
  } else {
    D r;
    for (int k = 0; k < kLanes<double>; ++k) r[k] = __builtin_fma(a[k], b[k], c[k]);
    return r;
  }
}
SOFTXENT_INLINE inline DoubleDoubleVector two_sum(D a, D b) {  // exact
  const D s = a + b, t = s - a;
  return {s, (a - (s - t)) + (b - t)};
}
SOFTXENT_INLINE inline DoubleDoubleVector fast_two_sum(D a, D b) {  // exact where |a| >= |b|
  const D s = a + b;
  return {s, b - (s - a)};
}
SOFTXENT_INLINE inline DoubleDoubleVector operator+(DoubleDoubleVector a, DoubleDoubleVector b) {
  const DoubleDoubleVector s = two_sum(a.hi, b.hi);
  return fast_two_sum(s.hi, s.lo + (a.lo + b.lo));
}
SOFTXENT_INLINE inline DoubleDoubleVector operator-(DoubleDoubleVector a) { return {-a.hi, -a.lo}; }
SOFTXENT_INLINE inline DoubleDoubleVector operator*(DoubleDoubleVector a, DoubleDoubleVector b) {
  const D p = a.hi * b.hi;
  return {p, fma_vector(a.hi, b.hi, -p) + multiply_add(a.hi, b.lo, a.lo * b.hi)};
}
// a + b for |a| >= |b|, without a final renormalization.
SOFTXENT_INLINE inline DoubleDoubleVector fast_add(DoubleDoubleVector a, DoubleDoubleVector b) {
  const DoubleDoubleVector s = fast_two_sum(a.hi, b.hi);
  return {s.hi, s.lo + (a.lo + b.lo)};
}
SOFTXENT_INLINE inline DoubleDoubleVector operator*(DoubleDoubleVector a, D b) {
  return a * DoubleDoubleVector{b, D{}};
}
SOFTXENT_INLINE inline DoubleDoubleVector operator/(DoubleDoubleVector a, DoubleDoubleVector b) {
  const D q = a.hi / b.hi;
  const DoubleDoubleVector remainder = a + -(b * q);
  return fast_two_sum(q, remainder.hi / b.hi);
}
SOFTXENT_INLINE inline DoubleDoubleVector double_double(double x) { return {broadcast(x), D{}}; }

// Sums in slots.
struct DoubleDoubleSum {
  static constexpr int P = kSlotVectors<double>;
  DoubleDoubleVector part[P]{};

  // Adds the numbers from j on, a multiple of the lanes.
  SOFTXENT_INLINE void add(int64_t j, DoubleDoubleVector x) {
    DoubleDoubleVector& sum = part[j / kLanes<double> % P];
    sum = sum + x;
  }
  // The sum of all slots, in every lane.
  DoubleDoubleVector total() const {
    DoubleDoubleVector sum = double_double(0);
    for (const DoubleDoubleVector& v : part) {
      for (int k = 0; k < kLanes<double>; ++k) {
        sum = sum + DoubleDoubleVector{broadcast(v.hi[k]), broadcast(v.lo[k])};
      }
    }
    return sum;
  }
};

// 2^(k / 32).
struct RootTable {
  double hi[32], lo[32];
};
alignas(64) constexpr RootTable kDoubleDoubleRoots = {{1,
                                                       0x1.059b0d3158574p+0,
                                                       0x1.0b5586cf9890fp+0,
                                                       0x1.11301d0125b51p+0,
                                                       0x1.172b83c7d517bp+0,
                                                       0x1.1d4873168b9aap+0,
                                                       0x1.2387a6e756238p+0,
                                                       0x1.29e9df51fdee1p+0,
                                                       0x1.306fe0a31b715p+0,
                                                       0x1.371a7373aa9cbp+0,
                                                       0x1.3dea64c123422p+0,
                                                       0x1.44e086061892dp+0,
                                                       0x1.4bfdad5362a27p+0,
                                                       0x1.5342b569d4f82p+0,
                                                       0x1.5ab07dd485429p+0,
                                                       0x1.6247eb03a5585p+0,
                                                       0x1.6a09e667f3bcdp+0,
                                                       0x1.71f75e8ec5f74p+0,
                                                       0x1.7a11473eb0187p+0,
                                                       0x1.82589994cce13p+0,
                                                       0x1.8ace5422aa0dbp+0,
                                                       0x1.93737b0cdc5e5p+0,
                                                       0x1.9c49182a3f090p+0,
                                                       0x1.a5503b23e255dp+0,
                                                       0x1.ae89f995ad3adp+0,
                                                       0x1.b7f76f2fb5e47p+0,
                                                       0x1.c199bdd85529cp+0,
                                                       0x1.cb720dcef9069p+0,
                                                       0x1.d5818dcfba487p+0,
                                                       0x1.dfc97337b9b5fp+0,
                                                       0x1.ea4afa2a490dap+0,
                                                       0x1.f50765b6e4540p+0},
                                                      {0,
                                                       0x1.d73e2a475b465p-55,
                                                       0x1.8a62e4adc610bp-54,
                                                       -0x1.6c51039449b3ap-54,
                                                       -0x1.19041b9d78a76p-55,
                                                       0x1.e016e00a2643cp-54,
                                                       0x1.9b07eb6c70573p-54,
                                                       0x1.612e8afad1255p-55,
                                                       0x1.6f46ad23182e4p-55,
                                                       -0x1.63aeabf42eae2p-54,
                                                       0x1.ada0911f09ebcp-55,
                                                       0x1.89b7a04ef80d0p-59,
                                                       0x1.d4397afec42e2p-56,
                                                       -0x1.07abe1db13cadp-55,
                                                       0x1.6324c054647adp-54,
                                                       -0x1.383c17e40b497p-54,
                                                       -0x1.bdd3413b26456p-54,
                                                       -0x1.16e4786887a99p-55,
                                                       -0x1.41577ee04992fp-55,
                                                       -0x1.d4c1dd41532d8p-54,
                                                       0x1.6e9f156864b27p-54,
                                                       -0x1.75fc781b57ebcp-57,
                                                       0x1.c7c46b071f2bep-56,
                                                       -0x1.d2f6edb8d41e1p-54,
                                                       0x1.7a1cd345dcc81p-54,
                                                       -0x1.5584f7e54ac3bp-56,
                                                       0x1.11065895048ddp-55,
                                                       0x1.503cbd1e949dbp-56,
                                                       0x1.2ed02d75b3707p-55,
                                                       -0x1.1a5cd4f184b5cp-54,
                                                       -0x1.e9c23179c2893p-54,
                                                       0x1.9d3e12dd8a18bp-54}};

// exp(s) 2^bias for s <= 0, with an error of about 2^-88; 0 where it is below 2^-1000.
SOFTXENT_INLINE inline DoubleDoubleVector exp_double_double(DoubleDoubleVector s, int bias = 0) {
  const D round = broadcast(0x1.8p52),
          t = multiply_add(s.hi, broadcast(0x1.71547652b82fep+5), round);
  const D k = t - round;
  Vector<double>::mask bits;
  __builtin_memcpy(&bits, &t, sizeof bits);
  bits &= 31;
  // ln 2 / 32 in three parts: subtracting k times the first is exact, and so is k times the second.
  DoubleDoubleVector r =
      two_sum(fma_vector(-k, broadcast(0x1.62e42fefa2p-6), s.hi), -k * 0x1.9ef35793cp-46);
  r = fast_two_sum(r.hi, r.lo + (s.lo - k * 0x1.d9cc01f97b57ap-84));
  // exp(r) = 1 + r + r^2 (1/2 + r (1/6 + r (1/24 + tail))), |r| <= ln(2) / 64
  constexpr double kTail[] = {1.0 / 3628800, 1.0 / 362880, 1.0 / 40320,
                              1.0 / 5040,    1.0 / 720,    1.0 / 120};
  D tail = broadcast(1.0 / 39916800);
#pragma GCC unroll 6
  for (int i = 0; i < 6; ++i) tail = multiply_add(tail, r.hi, broadcast(kTail[i]));
  const DoubleDoubleVector sixth{broadcast(0x1.5555555555555p-3), broadcast(0x1.5555555555555p-57)};
  const DoubleDoubleVector fourth{broadcast(0x1.5555555555555p-5),
                                  broadcast(0x1.5555555555555p-59)};
  const DoubleDoubleVector high =
      fast_add(sixth, r * fast_add(fourth, DoubleDoubleVector{tail * r.hi, D{}}));
  const DoubleDoubleVector p = fast_add(r, r * r * fast_add(double_double(0.5), r * high));
  const DoubleDoubleVector root{gather(kDoubleDoubleRoots.hi, bits),
                                gather(kDoubleDoubleRoots.lo, bits)};
  const DoubleDoubleVector e = fast_add(root, root * p);
  // Times 2^n, where k = 32 n + its five low bits.
  const D n = (k - __builtin_convertvector(bits, D)) * 0.03125;
  const D shifted = n + (round + (1023.0 + bias));
  Vector<double>::bits exponent;
  __builtin_memcpy(&exponent, &shifted, sizeof exponent);
  exponent <<= 52;
  D power;
  __builtin_memcpy(&power, &exponent, sizeof power);
  power = n > -1000.0 - bias ? power : D{};
  return {e.hi * power, e.lo * power};
}

// exp(u - max) 2^bias for u <= max; 0 for u = -inf. The difference is what is compared with
// `lowest`: beyond 2^64, max - 2000 would round to max.
SOFTXENT_INLINE inline DoubleDoubleVector exp_of_difference(D u, double max, int bias = 0) {
  const D lowest = broadcast(-2000.0);
  DoubleDoubleVector s = two_sum(u, broadcast(-max));
  const Mask<double> counts = s.hi > lowest;
  s = {counts ? s.hi : lowest, counts ? s.lo : D{}};
  return exp_double_double(s, bias);
}

// log(u) for u >= 1.
SOFTXENT_INLINE inline DoubleDoubleVector log_double_double(DoubleDoubleVector u) {
  // One Newton step on y = log(u): u exp(-y) = 1 + d.
  const D y = log1p<double>(u.hi - 1);
  const DoubleDoubleVector tail_sum = u * exp_double_double({-y, D{}}) + double_double(-1);
  const D d = tail_sum.hi + tail_sum.lo;
  return two_sum(y, d - d * d / 2);
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
