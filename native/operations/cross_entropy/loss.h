// The loss of a row and the factors of its gradient, from its saved statistics.
#pragma once

#include "kernels.h"
#include "math/compensated_sum.h"
#include "math/log.h"
#include "math/logit_transform.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// loss = sum_j t_j (lse - u_j) + z_loss lse^2, with lse - u_j = log_sum + (max - u_j) >= 0: no term
// is negative. D is double, or V<double> for one row in each lane.
template <class D>
D loss_of(const CrossEntropyTask& task, D lse, D nll) {
  const D zero{}, z_term = task.z_loss == 0 ? zero : task.z_loss * lse * lse;
  return lse != lse ? zero + NAN : nll + z_term;
}
template <class D>
D loss_of(const CrossEntropyTask& task, D max, D log_sum, D target_sum, D gap) {
  const D lse_part = target_sum == 0 ? D{} : target_sum * log_sum;
  return loss_of<D>(task, max + log_sum, lse_part + gap);
}

// t (from - to), with 0 log 0 = 0. Where the difference overflows but the product may not, it is
// computed by halves. D is double or a vector.
template <class D>
D times_distance(D t, D from, D to) {
  const D zero{}, distance = from - to, half = from / 2 - to / 2;
  // half is finite where both numbers are.
  const auto overflows = (distance - distance != zero) & (half - half == zero);
  return t == zero ? zero : overflows ? 2 * (t * half) : t * distance;
}

inline void add_distance(DoubleDouble& sum, DoubleDouble t, double from, double to) {
  const double distance = from - to, half = from / 2 - to / 2;
  const bool overflows = fabs(distance) == INFINITY && fabs(half) < INFINITY;
  const DoubleDouble product = t.times({overflows ? half : distance, 0});
  sum.add(product);
  if (overflows) sum.add(product);
}

// Collects rows until there is a vector of them: one logarithm takes as long as a vector of
// logarithms.
class LossBatch {
 public:
  explicit LossBatch(const CrossEntropyTask& task) : task_(task) {}
  ~LossBatch() { flush(); }
  LossBatch(const LossBatch&) = delete;
  void operator=(const LossBatch&) = delete;

  void add(int64_t row, double max, double tail_sum, double target_sum, double gap) {
    if (!task_.loss) return;
    row_[count_] = row;
    max_[count_] = max;
    tail_sum_[count_] = tail_sum;
    target_sum_[count_] = target_sum;
    gap_[count_] = gap;
    if (++count_ == kLanes<double>) flush();
  }

 private:
  void flush() {
    const V<double> loss = loss_of<V<double>>(task_, load(max_), log1p<double>(load(tail_sum_)),
                                              load(target_sum_), load(gap_));
    for (int k = 0; k < count_; ++k) task_.loss[row_[k]] = loss[k];
    count_ = 0;
  }

  const CrossEntropyTask& task_;
  int count_ = 0;
  int64_t row_[kLanes<double>];
  double max_[kLanes<double>]{}, tail_sum_[kLanes<double>]{};
  double target_sum_[kLanes<double>]{}, gap_[kLanes<double>]{};
};

// The gradient of a row is (p_factor p - t) upstream, with p_factor = s + 2 z_loss lse.
//
// At the maximum, p - 1 = -tail_sum / (1 + tail_sum) keeps its digits where p rounds to 1. There,
// p_factor p - t = p_factor (p - 1) + (s - t) + 2 z_loss lse.
struct GradientFactors {
  double target_sum, p_factor, extra, tail_sum, upstream;

  GradientFactors() = default;
  GradientFactors(const CrossEntropyTask& task, const LogitTransform& transform, double given,
                  double tail_sum_, double lse, double target_sum_)
      : target_sum(target_sum_),
        extra(task.z_loss == 0 ? 0 : 2 * task.z_loss * lse),
        tail_sum(tail_sum_),
        upstream(given * task.scale) {
    p_factor = target_sum + extra;
    if (transform.softcap == 0 && transform.temperature != 1) upstream /= transform.temperature;
  }

  double p_max_minus_1() const { return -tail_sum / (1 + tail_sum); }
  // At the class that has the whole target: s - t = 0.
  double at_one_hot(double p, double p_minus_1) const {
    return upstream * (target_sum * p_minus_1 + extra * p);
  }
  double at_target(bool at_max, double p) const {
    return at_one_hot(p, at_max ? p_max_minus_1() : p - 1);
  }
};

// The same for targets with a probability on every class.
template <class T>
struct DenseFactors {
  V<T> high, low;  // p_factor / sum_j exp(u_j - max)
  V<T> top, p_factor_times_p_minus_1, target_sum_high, target_sum_low, extra, upstream;

  V<T> gradient(V<T> e, V<T> t) const {
    const V<T> below = dot2<T>(e, high, e, low) - t;
    const V<T> half_target_sum = target_sum_high / 2;
    const V<T> at_top =
        p_factor_times_p_minus_1 + (((target_sum_high - t) + target_sum_low) + extra);
    // The form with p - 1 helps only where nearly all of p and of t is on this class.
    return ((e == top) & (t > half_target_sum) ? at_top : below) * upstream;
  }
};

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
