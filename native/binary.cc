// Cross-entropy of one logit against a class of two, and its gradient: softmax over [0, x].
//
//   loss = w (v y log(1 + exp(-x)) + (1 - y) log(1 + exp(x)))
//   grad = upstream w ((1 - y) p - v y (1 - p)),  p = 1 / (1 + exp(-x))
//
// Both logarithms are log(1 + exp(-|x|)), one of them with |x| added: no term is negative, so that
// nothing cancels. Computed in double whatever the logits.
#include "row.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

using D = V<double>;

// Numbers of a block as double; beyond its end they are 0, and of an array that isn't given all 1.
struct Numbers {
  alignas(64) double at[kBinaryBlock];
  bool given = false;

  void read_block(const Array& a, int64_t begin, int64_t n) {
    if (!a.data) return;
    given = true;
    read(a, begin, n, at);
    for (int64_t k = n; k < kBinaryBlock; ++k) at[k] = 0;
  }
  D operator[](int64_t k) const { return given ? load(at + k) : all(1.0); }
};

// log(1 + e) for 0 <= e <= 1, within 2 ulp; or to 2^-32, where the logits have no more than float's
// digits. It is 2 atanh(e / (2 + e)), whose terms fall by a factor of 9 and more from one to the
// next.
template <bool wide>
D log1p_of_share(D e) {
  constexpr int kTerms = wide ? 17 : 9;
  const D z = e / (2 + e), w = z * z;
  D q = all(1.0 / (2 * kTerms + 1));
#pragma GCC unroll 17
  for (int k = kTerms - 1; k > 0; --k) q = q * w + 1.0 / (2 * k + 1);
  const D twice = 2 * z;
  return twice * (w * q) + twice;
}

D share(D mass, D cost) { return mass == 0 ? D{} : mass * cost; }  // 0 log 0 = 0

template <bool wide>
BinarySum block(const BinaryTask& task, int64_t begin, int64_t n) {
  constexpr int L = kLanes<double>;
  Numbers x, y, positive, weight, upstream;
  x.read_block(task.logits, begin, n);
  y.read_block(task.target, begin, n);
  positive.read_block(task.positive_weight, begin, n);
  weight.read_block(task.weight, begin, n);
  if (task.grad.data) upstream.read_block(task.upstream, begin, n);
  const D zero{}, one = all(1.0);
  Sum<double> sum;
  D inside = one;
  for (int64_t k = 0; k < n; k += L) {
    const D t = y[k], w = weight[k];
    inside = (t >= zero) & (t <= one) ? inside : zero;
    const D yes = w * (positive[k] * t), no = w * (1 - t);
    const D given = x[k];
    const D z = given == INFINITY ? all<double>(NAN) : given;  // no loss; -inf is a masked class
    const D e = Scale::exp_below(z < zero ? z : -z);
    if (task.grad.data) {
      const D large = 1 / (1 + e), small = e * large;
      const D p = z < zero ? small : large, rest = z < zero ? large : small;
      store(y.at + k, (no * p - yes * rest) * upstream[k] * task.scale);
    }
    if (task.loss.data || task.sums) {
      const D tail = log1p_of_share<wide>(e);
      const D above = z < zero ? tail : tail + z, below = z < zero ? tail - z : tail;
      const D loss = share(no, above) + share(yes, below);
      if (k + L <= n) {
        sum.add(loss);
      } else {
        Mask<double> lane;
        for (int i = 0; i < L; ++i) lane[i] = i;
        sum.add(lane < n - k ? loss : zero);
      }
      store(x.at + k, loss);
    }
  }
  if (task.loss.data) write(task.loss, begin, n, x.at);
  if (task.grad.data) write(task.grad, begin, n, y.at);
  return {sum.total().value(), first_lane<double>(inside, 0) < L};
}

}  // namespace

void binary_cross_entropy(const BinaryTask& task) {
  const int64_t blocks = (task.count + kBinaryBlock - 1) / kBinaryBlock;
  // An element costs several times as much as a class of a softmax.
  parallel(workers_for(blocks, 4 * kBinaryBlock), blocks, [=](int, int64_t from, int64_t to) {
    for (int64_t b = from; b < to; ++b) {
      const int64_t begin = b * kBinaryBlock, left = task.count - begin;
      const int64_t n = left < kBinaryBlock ? left : kBinaryBlock;
      const bool wide = task.logits.type == Type::kFloat64;
      const BinarySum sum = wide ? block<true>(task, begin, n) : block<false>(task, begin, n);
      if (task.sums) task.sums[b] = sum;
    }
  });
}

}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
