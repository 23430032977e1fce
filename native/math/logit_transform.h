// The transformation of logits by temperature and softcap.
#pragma once

#include "math/unshifted_exp.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// u = softcap tanh(z / (temperature softcap)) and du/dz, computed in double for every dtype. An
// infinite z stays infinite: -inf is a masked class, whose probability is 0 with a softcap too.
struct LogitTransform {
  double softcap, temperature;

  bool identity() const { return softcap == 0 && temperature == 1; }

  V<double> value(V<double> z) const {
    if (softcap == 0) return z / temperature;
    const V<double> v = z / temperature / softcap, zero{};
    const V<double> m = expm1<double>(v < zero ? 2 * v : -2 * v);  // tanh|v| = -m / (2 + m)
    const V<double> u = softcap * (m / (2 + m)), size = z < zero ? -z : z;
    return size == INFINITY ? z : v < zero ? u : -u;
  }
  V<double> derivative(V<double> z) const {
    if (softcap == 0) return broadcast<double>(1 / temperature);
    const V<double> v = z / temperature / softcap, zero{};
    const V<double> e = exp_below(v < zero ? 2 * v : -2 * v);
    return 4 * e / ((1 + e) * (1 + e)) / temperature;  // 1 - tanh^2, without cancellation
  }
  // exp(s) for s <= 0; results below the normal numbers are 0.
  static V<double> exp_below(V<double> s) {
    using C = ExpConstants<double>;
    const Exponential<double> e =
        exponential<double>(s, broadcast<double>(C::kRound + C::kExponentZero));
    return s < -708.0 ? V<double>{} : e.value();
  }

  // Replaces z by u, and g by g du/dz.
  void apply(double* z, int64_t n) const {
    for_each_vector<double>(
        n, [&](int64_t i) { store(z + i, value(load(z + i))); },
        [&](int64_t i, int64_t k) { store_part(z + i, value(load_part(z + i, k, 0.0)), k); });
  }
  void apply_derivative(const double* z, double* g, int64_t n) const {
    for_each_vector<double>(
        n, [&](int64_t i) { store(g + i, load(g + i) * derivative(load(z + i))); },
        [&](int64_t i, int64_t k) {
          store_part(g + i, load_part(g + i, k, 0.0) * derivative(load_part(z + i, k, 0.0)), k);
        });
  }
  // Only double is ever transformed. These keep the templates simple.
  void apply(float*, int64_t) const {}
  void apply_derivative(const float*, float*, int64_t) const {}
};

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
