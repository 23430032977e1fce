// log sum exp where the maximum and the logarithm of the sum nearly cancel: in numbers of twice
// double's digits, so that the difference still has all of double's.
//
// A number is a sum of two doubles, hi + lo, |lo| <= ulp(hi) / 2. exp is good to about 2^-88, and
// so the result to 4 ulp down to 2^-35 of the maximum. Such rows take some twenty times as long.
#pragma once

#include "row.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

using D = V<double>;

struct Twofold {
  D hi, lo;
};

inline D fused(D a, D b, D c) {  // a b + c, rounded once on every processor
  D r;
  for (int k = 0; k < kLanes<double>; ++k) r[k] = __builtin_fma(a[k], b[k], c[k]);
  return r;
}
inline Twofold sum_of(D a, D b) {  // exact
  const D s = a + b, t = s - a;
  return {s, (a - (s - t)) + (b - t)};
}
inline Twofold ordered_sum_of(D a, D b) {  // exact where |a| >= |b|
  const D s = a + b;
  return {s, b - (s - a)};
}
inline Twofold operator+(Twofold a, Twofold b) {
  const Twofold s = sum_of(a.hi, b.hi);
  return ordered_sum_of(s.hi, s.lo + (a.lo + b.lo));
}
inline Twofold operator*(Twofold a, Twofold b) {
  const D p = a.hi * b.hi;
  return ordered_sum_of(p, fused(a.hi, b.hi, -p) + (a.hi * b.lo + a.lo * b.hi));
}
inline Twofold operator*(Twofold a, double power_of_2) {
  return {a.hi * power_of_2, a.lo * power_of_2};
}

// exp(s) for s <= 0; 0 below -700.
inline Twofold twofold_exp(Twofold s) {
  const D round = all(0x1.8p52), k = (s.hi * 1.44269504088896340736 + round) - round;
  // ln 2 in three parts: k times each of the first two is exact.
  Twofold r = sum_of(s.hi - k * 0x1.62e42fefa3p-1, -k * 0x1.3de6af278ep-42);
  r = r + Twofold{s.lo, D{}};
  r = r + Twofold{-k * 0x1.9cc01f97b57ap-83, D{}};
  // exp(r) - 1 = ((1 + p)^2)^... - 1 with p = exp(r / 256) - 1.
  r = r * 0x1p-8;
  const D x = r.hi;
  const D tail = x * x * x * x * (1.0 / 24 + x * (1.0 / 120 + x * (1.0 / 720 + x * (1.0 / 5040))));
  const Twofold square = r * r, sixth{all(0x1.5555555555555p-3), all(0x1.5555555555555p-57)};
  Twofold p = r + (square * 0.5 + (square * r * sixth + Twofold{tail, D{}}));
  for (int i = 0; i < 8; ++i) p = p * 2.0 + p * p;
  const Twofold e = p + Twofold{all(1.0), D{}};
  Vector<double>::bits bits;
  const D shifted = k + (round + 1023.0);
  __builtin_memcpy(&bits, &shifted, sizeof bits);
  bits <<= 52;
  D power;
  __builtin_memcpy(&power, &bits, sizeof power);
  const D zero{};
  return {s.hi > -700.0 ? e.hi * power : zero, s.hi > -700.0 ? e.lo * power : zero};
}

// max + log sum_j exp(x_j - max), for finite max; x(j, n, out) writes the n <= kLanes numbers from
// j on.
template <class Read>
double cancelling_logsumexp(int64_t classes, double max, const Read& x) {
  constexpr int L = kLanes<double>;
  Twofold total{};
  for (int64_t j = 0; j < classes; j += L) {
    alignas(64) double numbers[L];
    for (int k = 0; k < L; ++k) numbers[k] = -INFINITY;
    x(j, classes - j < L ? classes - j : L, numbers);
    const D u = load(numbers), lowest = all(max - 1000);
    total = total + twofold_exp(sum_of(u > lowest ? u : lowest, all(-max)));
  }
  // The lanes' sums one after another: the first lane's number is what counts.
  Twofold sum{};
  for (int k = 0; k < L; ++k) sum = sum + Twofold{all(total.hi[k]), all(total.lo[k])};
  // One step of Newton's on y = log(sum): sum exp(-y) = 1 + d.
  const D y = log1p<double>(sum.hi - 1);
  const Twofold ratio = sum * twofold_exp({-y, D{}}) + Twofold{all(-1.0), D{}};
  const double d = ratio.hi[0] + ratio.lo[0];
  const Twofold lse = sum_of(all(max), y);
  return lse.hi[0] + (lse.lo[0] + (d - d * d / 2));
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
