// The gradient of float64 logits,
//
//   grad_j = upstream ((s + 2 z_loss lse) p_j - t_j),
//
// where two numbers are subtracted that may be so near to each other that double's digits cancel:
// with a target mass on many classes, or with z_loss. In numbers of twice as many digits it is
// correctly rounded, but for differences below 2^-38 of the larger term. Float32 logits are
// computed in double, which does the same for them.
#include "twofold.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

class Difference {
 public:
  explicit Difference(const CrossEntropyTask& task)
      : task_(task),
        n_(task.shape.classes),
        weight_(static_cast<const double*>(task.weight)),
        keep_(sum_of(all(1.0), all(-task.label_smoothing))),
        spread_(twofold(task.label_smoothing) / twofold(static_cast<double>(n_))) {}

  void run() const {
    parallel(workers_for(task_.shape.rows, 16 * n_), task_.shape.rows,
             [this](int, int64_t begin, int64_t end) {
               for (int64_t i = begin; i < end; ++i) row(i);
             });
  }

 private:
  static constexpr int L = kLanes<double>;
  static constexpr int kBias = 512;  // terms that are tiny beside the maximum keep their digits

  // A block of a row: its logits, and what makes their target mass; beyond the end it is 0.
  struct Block {
    alignas(64) double u[kBlock], q[kBlock], weight[kBlock];

    void fill(int64_t from, int64_t to) {
      for (int64_t j = from; j < to; ++j) {
        u[j] = -INFINITY;
        q[j] = weight[j] = 0;
      }
    }
  };
  // Calls f(begin, n, block) for the blocks of row i.
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
        const int64_t y = task_.index[i] - begin;
        for (int64_t j = 0; j < n; ++j) block.q[j] = 0;
        if (y >= 0 && y < n) block.q[y] = 1;
      }
      block.fill(n, (n + L - 1) / L * L);
      f(begin, n, block);
    }
  }

  // t of the classes from k on.
  SOFTXENT_INLINE Twofold mass(const Block& block, int64_t k) const {
    const Twofold t = keep_ * load(block.q + k) + spread_;
    const D weight = load(block.weight + k), p = t.hi * weight;
    return ordered_sum_of(p, fused(t.hi, weight, -p) + t.lo * weight);
  }

  // exp(u - max) 2^kBias.
  SOFTXENT_INLINE static Twofold exponential_of(D u, double max) {
    const D lowest = all(max - 2000);
    return twofold_exp(sum_of(u > lowest ? u : lowest, all(-max)), kBias);
  }

  void row(int64_t i) const {
    if (task_.index && task_.index[i] == task_.ignore_index) return fill(i, 0);
    // The first maximum is left out of the sum: what remains is 1 - p of it.
    double max = -INFINITY;
    int64_t top = 0;
    bool numbers = true;
    each_block(i, [&](int64_t begin, int64_t n, Block& block) {
      const double before = max;
      for (int64_t k = 0; k < n; ++k) {
        const double u = block.u[k];
        numbers &= u == u;
        max = u > max ? u : max;
      }
      if (max > before) top = begin + position(block.u, n, max);
    });
    if (!numbers || !(fabs(max) < INFINITY)) return fill(i, NAN);
    Twofold others = twofold(0), all_mass = twofold(0);
    each_block(i, [&](int64_t begin, int64_t n, Block& block) {
      if (top >= begin && top < begin + n) block.u[top - begin] = -INFINITY;
      for (int64_t k = 0; k < n; k += L) {
        others = others + exponential_of(load(block.u + k), max);
        all_mass = all_mass + mass(block, k);
      }
    });
    others = across(others);
    all_mass = across(all_mass);
    const Twofold sum = twofold(0x1p512) + others, above = -(others / sum);
    Twofold extra = twofold(0);
    if (task_.z_loss != 0) {
      const Twofold lse = twofold(max) + twofold_log(sum * all(0x1p-512));
      extra = lse * all(2 * task_.z_loss);
    }
    const Twofold pull = all_mass + extra, factor = pull / sum;
    const double upstream = (task_.upstream ? task_.upstream[i] : 1) * task_.scale;
    const int64_t to = row_offset(task_.shape, task_.grad, i);
    each_block(i, [&](int64_t begin, int64_t n, Block& block) {
      for (int64_t k = 0; k < n; k += L) {
        const Twofold t = mass(block, k);
        const Twofold below = exponential_of(load(block.u + k), max) * factor + -t;
        D gradient = below.hi;
        if (top >= begin + k && top < begin + k + L) {
          // pull p - t = pull (p - 1) + (s - t) + 2 z_loss lse
          const Twofold at_top = pull * above + (all_mass + -t) + extra;
          gradient = with<double>(gradient, top - begin - k, at_top.hi[top - begin - k]);
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
  const Twofold keep_, spread_;  // 1 - label_smoothing, label_smoothing / classes
};

}  // namespace

void gradient_of_difference(const CrossEntropyTask& task) { Difference(task).run(); }

}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
