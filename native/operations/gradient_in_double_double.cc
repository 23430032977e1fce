// The gradient of float64 logits in double-double arithmetic,
//
//  grad_j = upstream ((s + 2 z_loss lse) p_j - t_j),
//
// for calls where the difference may cancel all digits of a double: targets with probability on
// many classes, and z_loss. The result is correctly rounded except for differences below 2^-38 of
// the larger term. Float32 logits need only double for the same.
#include "arrays/class_index.h"
#include "arrays/strided.h"
#include "arrays/workers.h"
#include "math/compensated_sum.h"
#include "math/double_double.h"
#include "row/range.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

class GradientInDoubleDouble {
 public:
  explicit GradientInDoubleDouble(const CrossEntropyTask& task)
      : task_(task),
        n_(task.shape.classes),
        weight_(static_cast<const double*>(task.weight)),
        keep_(two_sum(broadcast(1.0), broadcast(-task.label_smoothing))),
        spread_(double_double(task.label_smoothing) / double_double(static_cast<double>(n_))) {}

  void run() const {
    parallel_ranges(workers_for(task_.shape.rows, 16 * n_), task_.shape.rows, 16 * n_,
                    [this](int, int64_t begin, int64_t end) {
                      for (int64_t i = begin; i < end; ++i) row(i);
                    });
  }

 private:
  static constexpr int L = kLanes<double>;
  static constexpr int kBias = 512;  // so that terms far below the maximum keep their digits

  // The logits of a block of a row and what determines their targets. Elements beyond the end of
  // the row have the exponential 0 and the target 0.
  struct Block {
    alignas(64) double u[kBlock], q[kBlock], weight[kBlock];

    void fill(int64_t from, int64_t to) {
      for (int64_t j = from; j < to; ++j) {
        u[j] = -INFINITY;
        q[j] = weight[j] = 0;
      }
    }
  };
  // Calls f(begin, n, block) for each block of row i.
  template <class F>
  void each_block(int64_t i, const F& f) const {
    const int64_t u_at = row_offset(task_.shape, task_.logits, i);
    const Array& q = task_.probabilities;
    const int64_t q_at = q.data ? row_offset(task_.shape, q, i) : 0;
    Block block;
    for (int64_t begin = 0; begin < n_; begin += kBlock) {
      const int64_t n = n_ - begin < kBlock ? n_ - begin : kBlock;
      read(task_.logits, u_at + begin * task_.logits.class_stride, n, block.u);
      for (int64_t j = 0; j < n; ++j) block.weight[j] = weight_ ? weight_[begin + j] : 1;
      if (q.data) {
        read(q, q_at + begin * q.class_stride, n, block.q);
      } else {
        const int64_t y = class_of(task_, i) - begin;
        for (int64_t j = 0; j < n; ++j) block.q[j] = 0;
        if (y >= 0 && y < n) block.q[y] = 1;
      }
      block.fill(n, (n + L - 1) / L * L);
      f(begin, n, block);
    }
  }

  // The targets of the classes from k on.
  SOFTXENT_INLINE DoubleDoubleVector target_of(const Block& block, int64_t k) const {
    const DoubleDoubleVector t = keep_ * load(block.q + k) + spread_;
    const D weight = load(block.weight + k), p = t.hi * weight;
    return fast_two_sum(p, fma_vector(t.hi, weight, -p) + t.lo * weight);
  }

  void row(int64_t i) const {
    if (is_ignored(task_, i)) return fill(i, 0);
    // The first maximum is left out of the sum, which then determines 1 - p of its class.
    double max = -INFINITY;
    int64_t top = 0;
    bool no_nan = true;
    each_block(i, [&](int64_t begin, int64_t n, Block& block) {
      const double before = max;
      for (int64_t k = 0; k < n; ++k) {
        const double u = block.u[k];
        no_nan &= u == u;
        max = u > max ? u : max;
      }
      if (max > before) top = begin + find_first(block.u, n, max);
    });
    if (!no_nan || !(fabs(max) < INFINITY)) return fill(i, NAN);
    DoubleDoubleSum exponentials, targets;
    each_block(i, [&](int64_t begin, int64_t n, Block& block) {
      if (top >= begin && top < begin + n) block.u[top - begin] = -INFINITY;
      for (int64_t k = 0; k < n; k += L) {
        exponentials.add(k, exp_of_difference(load(block.u + k), max, kBias));
        targets.add(k, target_of(block, k));
      }
    });
    const DoubleDoubleVector others = exponentials.total(), all_targets = targets.total();
    const DoubleDoubleVector sum = double_double(0x1p512) + others, p_max_minus_1 = -(others / sum);
    DoubleDoubleVector extra = double_double(0);
    if (task_.z_loss != 0) {
      const DoubleDoubleVector lse =
          double_double(max) + log_double_double(sum * broadcast(0x1p-512));
      extra =
          lse * DoubleDoubleVector{broadcast(2 * task_.z_loss), broadcast(2 * task_.z_loss_low)};
    }
    const DoubleDoubleVector p_factor = all_targets + extra, factor = p_factor / sum;
    const double upstream = (task_.upstream ? task_.upstream[i] : 1) * task_.scale;
    const int64_t to = row_offset(task_.shape, task_.grad, i);
    each_block(i, [&](int64_t begin, int64_t n, Block& block) {
      for (int64_t k = 0; k < n; k += L) {
        const DoubleDoubleVector t = target_of(block, k);
        const DoubleDoubleVector below =
            exp_of_difference(load(block.u + k), max, kBias) * factor + -t;
        D gradient = below.hi;
        if (top >= begin + k && top < begin + k + L) {
          // p_factor p - t = p_factor (p - 1) + (s - t) + 2 z_loss lse
          const DoubleDoubleVector at_top = p_factor * p_max_minus_1 + (all_targets + -t) + extra;
          gradient = set_lane<double>(gradient, top - begin - k, at_top.hi[top - begin - k]);
        }
        store(block.u + k, gradient * upstream);
      }
      write(task_.grad, to + begin * task_.grad.class_stride, n, block.u);
    });
  }

  void fill(int64_t i, double value) const {
    const int64_t to = row_offset(task_.shape, task_.grad, i);
    for (int64_t j = 0; j < n_; ++j) write(task_.grad, to + j * task_.grad.class_stride, 1, &value);
  }

  const CrossEntropyTask task_;
  const int64_t n_;
  const double* const weight_;
  const DoubleDoubleVector keep_, spread_;  // 1 - label_smoothing, label_smoothing / classes
};

}  // namespace

void gradient_in_double_double(const CrossEntropyTask& task) { GradientInDoubleDouble(task).run(); }

}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
