// The statistics of a loss: entropy, the largest class, and whether the target is among the k
// largest. Rows are processed in slices that fit the cache, the loss first and then the statistics,
// so that the logits come from memory once.
#include "arrays/class_index.h"
#include "arrays/strided.h"
#include "arrays/workers.h"
#include "math/compensated_sum.h"
#include "math/log.h"
#include "math/logit_transform.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// A slice of this many bytes is still in the cache when it is read again.
constexpr int64_t kSliceBytes = 1 << 20;

using D = V<double>;
constexpr int64_t kLength = 1024;

// Finds the largest class, and how many classes rank before the target. Equal logits are ordered by
// class, and NaN ranks before any number.
class Ranking {
 public:
  Ranking(double target, int64_t y) : target_logit_(target), y_(y) {}

  void add(const double* z, int64_t begin, int64_t n) {
    const D target = broadcast(target_logit_), one = broadcast(1.0), zero{};
    D p_max_minus_1 = zero, nans = zero, top = broadcast<double>(-INFINITY);
    const auto count = [&](D x) {
      p_max_minus_1 += x > target ? one : zero;
      nans += x == x ? zero : one;
      top = maximum<double>(x, top);
    };
    for_each_vector<double>(
        n, [&](int64_t k) { count(load(z + k)); },
        [&](int64_t k, int64_t left) { count(load_part(z + k, left, double{-INFINITY})); });
    double block_top = top[0], block_nans = nans[0];
    before_ += p_max_minus_1[0];
    for (int k = 1; k < kLanes<double>; ++k) {
      block_top = top[k] > block_top ? top[k] : block_top;
      block_nans += nans[k];
      before_ += p_max_minus_1[k];
    }
    const bool target_is_nan = target_logit_ != target_logit_;
    if (!target_is_nan) before_ += block_nans;
    for (int64_t k = 0; k < n && begin + k < y_; ++k) {
      before_ += z[k] == target_logit_ || (target_is_nan && z[k] != z[k]);
    }
    if (block_nans > 0 && first_nan_ < 0) {
      int64_t k = 0;
      while (z[k] == z[k]) ++k;
      first_nan_ = begin + k;
    }
    if (block_top > best_) {
      best_ = block_top;
      int64_t k = 0;
      while (z[k] != block_top) ++k;
      at_ = begin + k;
    }
  }

  int64_t argmax() const { return first_nan_ < 0 ? at_ : first_nan_; }
  double before() const { return before_; }

 private:
  const double target_logit_;
  const int64_t y_;
  double before_ = 0, best_ = -INFINITY;
  int64_t at_ = 0, first_nan_ = -1;
};

class Statistics {
 public:
  Statistics(const StatisticsTask& task)
      : task_(task), loss_(task.loss), transform_{loss_.softcap, loss_.temperature} {}

  void run() const {
    const int64_t rows = loss_.shape.rows;
    const int64_t cost = 4 * loss_.shape.classes;
    parallel_ranges(workers_for(rows, cost), rows, cost, [this](int, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) row(i);
    });
  }

 private:
  void row(int64_t i) const {
    if (is_ignored(loss_, i)) {
      task_.entropy[i] = 0;
      task_.argmax[i] = -1;
      task_.hits[i] = false;
      return;
    }
    const int64_t n = loss_.shape.classes, from = row_offset(loss_.shape, loss_.logits, i);
    const int64_t y = loss_.index ? class_of(loss_, i) : most_probable(i);
    const SavedStatistics saved = loss_.saved[i];
    const ShiftedExp<double> pivot(broadcast(saved.base));
    double z[kLength];
    read(loss_.logits, from + y * loss_.logits.class_stride, 1, z);
    Ranking ranking(z[0], y);
    SlotSum<double> gap;  // exp(u - max) (max - u): no term is negative
    const D zero{}, max = broadcast(saved.base);
    const auto term = [&](D u) {
      const D e = pivot.exp(u);
      return e == zero ? zero : e * (max - u);
    };
    for (int64_t b = 0; b < n; b += kLength) {
      const int64_t size = n - b < kLength ? n - b : kLength;
      read(loss_.logits, from + b * loss_.logits.class_stride, size, z);
      ranking.add(z, b, size);
      if (!transform_.identity()) transform_.apply(z, size);
      gap.add(
          size, [&](int64_t k) { return term(load(z + k)); },
          [&](int64_t k, int64_t left) { return term(load_part(z + k, left, double{-INFINITY})); });
    }
    task_.argmax[i] = ranking.argmax();
    task_.hits[i] = ranking.before() < static_cast<double>(task_.k);
    const double mean_gap = gap.total().value() / pivot.exp(max)[0] / (1 + saved.tail_sum);
    task_.entropy[i] = saved.tail_sum == saved.tail_sum ? log1p(saved.tail_sum) + mean_gap : NAN;
  }

  // The class with the largest probability, the first among equals.
  int64_t most_probable(int64_t i) const {
    const Array& q = loss_.probabilities;
    const int64_t n = loss_.shape.classes, from = row_offset(loss_.shape, q, i);
    double best = -1, t[kLength];
    int64_t at = 0;
    for (int64_t b = 0; b < n; b += kLength) {
      const int64_t size = n - b < kLength ? n - b : kLength;
      read(q, from + b * q.class_stride, size, t);
      for (int64_t k = 0; k < size; ++k) {
        if (t[k] > best) best = t[k], at = b + k;
      }
    }
    return at;
  }

  const StatisticsTask& task_;
  const CrossEntropyTask& loss_;
  const LogitTransform transform_;
};

// Skips the first `begin` rows of the outermost batch dimension.
void advance(Array& a, int64_t begin) {
  if (a.data) a.data = element(a, begin * a.batch_stride[0]);
}

}  // namespace

void cross_entropy_statistics(const StatisticsTask& task) {
  const Shape& shape = task.loss.shape;
  const int64_t outer = shape.batch[0];
  if (shape.rows == 0) return;
  if (shape.classes == 0) {
    cross_entropy(task.loss);
    for (int64_t i = 0; i < shape.rows; ++i) {
      const bool ignored = is_ignored(task.loss, i);
      task.entropy[i] = ignored ? 0 : NAN;
      task.argmax[i] = -1;
      task.hits[i] = false;
    }
    return;
  }
  const int64_t inner = shape.rows / outer;
  const int64_t bytes = inner * shape.classes * size_of(task.loss.logits.type);
  const int64_t at_once = bytes < kSliceBytes ? kSliceBytes / bytes : 1;
  for (int64_t begin = 0; begin < outer; begin += at_once) {
    const int64_t count = outer - begin < at_once ? outer - begin : at_once;
    const int64_t first = begin * inner;
    StatisticsTask slice = task;
    slice.loss.from_maximum = true;
    slice.loss.shape.batch[0] = count;
    slice.loss.shape.rows = count * inner;
    advance(slice.loss.logits, begin);
    advance(slice.loss.probabilities, begin);
    if (slice.loss.index) slice.loss.index += first;
    slice.loss.loss += first;
    slice.loss.saved += first;
    slice.entropy += first;
    slice.argmax += first;
    slice.hits += first;
    cross_entropy(slice.loss);
    Statistics(slice).run();
  }
}

}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
