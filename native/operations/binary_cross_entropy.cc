// Binary cross-entropy with logits, and its gradient: a softmax over [0, x].
//
//  loss = w (v y log(1 + exp(-x)) + (1 - y) log(1 + exp(x)))
//  grad = upstream w ((1 - y) p - v y (1 - p)),  p = 1 / (1 + exp(-x))
//
// Both logarithms are log(1 + exp(-|x|)), one of them plus |x|: no term is negative, so that
// nothing cancels. Computed in double for every dtype.
#include "arrays/strided.h"
#include "arrays/workers.h"
#include "math/compensated_sum.h"
#include "math/logit_transform.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

using D = V<double>;

// The numbers of a block as double: 0 beyond its end, and all 1 for an array that isn't given.
struct Numbers {
  alignas(64) double at[kBinaryBlock];
  bool given = false;

  void read_block(const Array& a, int64_t begin, int64_t n) {
    if (!a.data) return;
    given = true;
    read(a, begin, n, at);
    for (int64_t k = n; k < kBinaryBlock; ++k) at[k] = 0;
  }
  D operator[](int64_t k) const { return given ? load(at + k) : broadcast(1.0); }
};

// log(1 + e) for 0 <= e <= 1, within 2 ulp; or to 2^-32, where the logits have no more digits than
// a float. It is 2 atanh(e / (2 + e)), a series whose terms shrink by a factor of 9 or more.
template <bool wide>
D log1p_of_share(D e) {
  constexpr int kTerms = wide ? 17 : 9;
  const D z = e / (2 + e), w = z * z;
  D q = broadcast(1.0 / (2 * kTerms + 1));
#pragma GCC unroll 17
  for (int k = kTerms - 1; k > 0; --k) q = multiply_add(q, w, broadcast(1.0 / (2 * k + 1)));
  const D twice = 2 * z;
  return multiply_add(twice, w * q, twice);
}

D cost_of(D weight, D cost) { return weight == 0 ? D{} : weight * cost; }  // 0 log 0 = 0

// How far outside [0, 1] rounding may move a target: 16 ulp of 1, less in half
// precision. ops/checks.py has the same number.
double rounding_of(Type type) {
  switch (type) {
    case Type::kFloat64:
      return 0x1p-48;
    case Type::kFloat32:
      return 0x1p-19;
    default:
      return 0x1p-6;
  }
}

template <bool wide>
BinarySum block(const BinaryTask& task, int64_t begin, int64_t n) {
  constexpr int L = kLanes<double>;
  Numbers x, y, positive, weight, upstream;
  x.read_block(task.logits, begin, n);
  y.read_block(task.target, begin, n);
  positive.read_block(task.positive_weight, begin, n);
  weight.read_block(task.weight, begin, n);
  if (task.grad.data) upstream.read_block(task.upstream, begin, n);
  const D zero{}, one = broadcast(1.0);
  SlotSum<double> sum;
  const double rounding = rounding_of(task.target.type);
  const D lowest = broadcast(-rounding), highest = broadcast(1 + rounding);
  D inside = one;
  for (int64_t k = 0; k < n; k += L) {
    const D t = y[k], w = weight[k];
    inside = (t >= lowest) & (t <= highest) ? inside : zero;
    const D yes = w * (positive[k] * t), no = w * (1 - t);
    const D given = x[k];
    const D z =
        given == INFINITY ? broadcast<double>(NAN) : given;  // no loss; -inf is a masked class
    const D e = LogitTransform::exp_below(z < zero ? z : -z);
    if (task.grad.data) {
      const D large = 1 / (1 + e), small = e * large;
      const D p = z < zero ? small : large, one_minus_p = z < zero ? large : small;
      store(y.at + k, multiply_add(no, p, -(yes * one_minus_p)) * upstream[k] * task.scale);
    }
    if (task.loss.data || task.sums) {
      const D tail = log1p_of_share<wide>(e);
      const D p_max_minus_1 = z < zero ? tail : tail + z, below = z < zero ? tail - z : tail;
      const D loss = cost_of(no, p_max_minus_1) + cost_of(yes, below);
      sum.part[k / L % sum.P].add(k + L <= n ? loss : keep_first<double>(loss, n - k));
      store(x.at + k, loss);
    }
  }
  if (task.loss.data) write(task.loss, begin, n, x.at);
  if (task.grad.data) write(task.grad, begin, n, y.at);
  return {sum.total().value(), find_lane<double>(inside, 0) < L};
}

}  // namespace

void binary_cross_entropy(const BinaryTask& task) {
  const int64_t blocks = (task.count + kBinaryBlock - 1) / kBinaryBlock;
  // An element costs several times as much as a class of a softmax.
  constexpr int64_t kCost = 4 * kBinaryBlock;
  parallel_ranges(workers_for(blocks, kCost), blocks, kCost, [=](int, int64_t from, int64_t to) {
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
