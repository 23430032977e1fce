// What a loss can say besides its value: entropy, the largest class, and whether the target is
// among the k largest. Rows are taken in slices that fit the cache: the loss first, then its
// statistics, so that the logits come from memory once.
#include "row.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// A slice of this many bytes is still in the cache when it is read again.
constexpr int64_t kSliceBytes = 1 << 20;

using D = V<double>;
constexpr int64_t kLength = 1024;

// Which class is the largest, the first among equals, NaN above any number; and how many classes
// come before the target in this order.
class Ranking {
 public:
  Ranking(double target, int64_t y) : target_(target), y_(y) {}

  void add(const double* z, int64_t begin, int64_t n) {
    const D target = all(target_), one = all(1.0), zero{};
    D above = zero, broken = zero, top = all<double>(-INFINITY);
    const auto see = [&](D x) {
      above += x > target ? one : zero;
      broken += x == x ? zero : one;
      top = larger<double>(x, top);
    };
    over_vectors<double>(
        n, [&](int64_t k) { see(load(z + k)); },
        [&](int64_t k, int64_t left) { see(load_part(z + k, left, double{-INFINITY})); });
    double block_top = top[0], block_broken = broken[0];
    before_ += above[0];
    for (int k = 1; k < kLanes<double>; ++k) {
      block_top = top[k] > block_top ? top[k] : block_top;
      block_broken += broken[k];
      before_ += above[k];
    }
    const bool target_is_broken = target_ != target_;
    if (!target_is_broken) before_ += block_broken;
    for (int64_t k = 0; k < n && begin + k < y_; ++k) {
      before_ += z[k] == target_ || (target_is_broken && z[k] != z[k]);
    }
    if (block_broken > 0 && first_broken_ < 0) {
      int64_t k = 0;
      while (z[k] == z[k]) ++k;
      first_broken_ = begin + k;
    }
    if (block_top > best_) {
      best_ = block_top;
      int64_t k = 0;
      while (z[k] != block_top) ++k;
      at_ = begin + k;
    }
  }

  int64_t argmax() const { return first_broken_ < 0 ? at_ : first_broken_; }
  double before() const { return before_; }

 private:
  const double target_;
  const int64_t y_;
  double before_ = 0, best_ = -INFINITY;
  int64_t at_ = 0, first_broken_ = -1;
};

class Stats {
 public:
  Stats(const StatsTask& task)
      : task_(task), loss_(task.loss), scale_{loss_.softcap, loss_.temperature} {}

  void run() const {
    const int64_t rows = loss_.shape.rows;
    parallel(workers_for(rows, 4 * loss_.shape.classes), rows,
             [this](int, int64_t begin, int64_t end) {
               for (int64_t i = begin; i < end; ++i) row(i);
             });
  }

 private:
  void row(int64_t i) const {
    if (loss_.index && loss_.index[i] == loss_.ignore_index) {
      task_.entropy[i] = 0;
      task_.argmax[i] = -1;
      task_.hits[i] = false;
      return;
    }
    const int64_t n = loss_.shape.classes, from = row_offset(loss_.shape, loss_.logits, i);
    const int64_t y = loss_.index ? loss_.index[i] : likeliest(i);
    const Summary summary = loss_.summary[i];
    const Pivot<double> pivot(all(summary.base));
    double z[kLength];
    read(loss_.logits, from + y * loss_.logits.class_stride, 1, z);
    Ranking ranking(z[0], y);
    Sum<double> gap;  // exp(u - max) (max - u): no term is negative
    const D zero{}, max = all(summary.base);
    const auto term = [&](D u) {
      const D e = pivot.exp(u);
      return e == zero ? zero : e * (max - u);
    };
    for (int64_t b = 0; b < n; b += kLength) {
      const int64_t size = n - b < kLength ? n - b : kLength;
      read(loss_.logits, from + b * loss_.logits.class_stride, size, z);
      ranking.add(z, b, size);
      if (!scale_.identity()) scale_.apply(z, size);
      over_vectors<double>(
          size, [&](int64_t k) { gap.add(term(load(z + k))); },
          [&](int64_t k, int64_t left) {
            gap.add(term(load_part(z + k, left, double{-INFINITY})));
          });
    }
    task_.argmax[i] = ranking.argmax();
    task_.hits[i] = ranking.before() < static_cast<double>(task_.k);
    const double mean_gap = gap.total().value() / pivot.exp(max)[0] / (1 + summary.ratio);
    task_.entropy[i] = summary.ratio == summary.ratio ? log1p(summary.ratio) + mean_gap : NAN;
  }

  // The class with the largest probability, the first among equals.
  int64_t likeliest(int64_t i) const {
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

  const StatsTask& task_;
  const CrossEntropyTask& loss_;
  const Scale scale_;
};

// Rows of the outermost batch dimension from `begin` on.
void advance(Array& a, int64_t begin) {
  if (a.data) a.data = element(a, begin * a.batch_stride[0]);
}

}  // namespace

void cross_entropy_stats(const StatsTask& task) {
  const Shape& shape = task.loss.shape;
  const int64_t outer = shape.batch[0];
  if (shape.rows == 0) return;
  if (shape.classes == 0) {
    cross_entropy(task.loss);
    for (int64_t i = 0; i < shape.rows; ++i) {
      const bool ignored = task.loss.index && task.loss.index[i] == task.loss.ignore_index;
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
    StatsTask slice = task;
    slice.loss.from_maximum = true;
    slice.loss.shape.batch[0] = count;
    slice.loss.shape.rows = count * inner;
    advance(slice.loss.logits, begin);
    advance(slice.loss.probabilities, begin);
    if (slice.loss.index) slice.loss.index += first;
    slice.loss.loss += first;
    slice.loss.summary += first;
    slice.entropy += first;
    slice.argmax += first;
    slice.hits += first;
    cross_entropy(slice.loss);
    Stats(slice).run();
  }
}

}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
