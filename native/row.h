// What every operation needs of a row: its maximum, and the mass of all classes beside the maximum.
//
// Everything is accumulated in double. The mass beside the maximum, `rest`, is kept apart from the
// maximum's own exp(0) = 1: log1p(rest) keeps its digits where the model is sure, while 1 + rest
// would round them away.
#pragma once

#include <math.h>

#include "kernels.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

struct Row {
  double max;    // of the scaled logits; NaN where a logit is NaN
  int64_t at;    // where the maximum is first reached
  double rest;   // sum of exp(u_j - max) over all j but `at`
};

// exp(a - b) for a <= b. The difference is taken as a two-term sum: for double inputs a - b rounds,
// and exp would turn that rounding into as many wrong digits as the difference is long.
inline double exp_difference(double a, double b) {
  if (a == b) return 1;  // and inf - inf never happens below
  const double high = a - b;
  const double low = (a - (high + b));  // exact where |b| >= |a|, else within rounding
  const double e = exp(high);
  return isfinite(low) ? e + e * low : e;
}

// u = softcap tanh(z / (temperature softcap)), and du/dz.
struct Scale {
  double softcap, temperature;

  double operator()(double z) const {
    if (softcap == 0) return temperature == 1 ? z : z / temperature;
    return softcap * tanh(z / temperature / softcap);
  }
  double slope(double z) const {
    if (softcap == 0) return 1 / temperature;
    const double c = cosh(z / temperature / softcap);
    return 1 / (c * c) / temperature;
  }
};

template <class T>
inline Row summarise(const T* x, int64_t classes, const Scale& scale) {
  Row row{-INFINITY, -1, 0};
  for (int64_t j = 0; j < classes; ++j) {
    const double u = scale(x[j]);
    if (!(u <= row.max)) {  // a NaN becomes the maximum and stays it
      row.max = u;
      row.at = j;
      if (isnan(u)) break;
    }
  }
  // Every result of a row that holds NaN or +inf, or only -inf, is NaN.
  if (classes == 0 || !(fabs(row.max) < INFINITY)) {
    row.max = row.rest = NAN;
    return row;
  }
  // Blocks keep the sum of a million terms as sharp as a sum of a thousand.
  const int64_t block = 1024;
  for (int64_t start = 0; start < classes; start += block) {
    const int64_t end = start + block < classes ? start + block : classes;
    double sum = 0;
    for (int64_t j = start; j < end; ++j) {
      if (j != row.at) sum += exp_difference(scale(x[j]), row.max);
    }
    row.rest += sum;
  }
  return row;
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
