// logsumexp of rows.
#include "arrays/side_by_side.h"
#include "lanes/sums.h"
#include "math/double_double.h"
#include "row/scheduling.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// max + log sum_j exp(x_j - max) in double-double arithmetic, for finite max. It keeps 4 ulp where
// the maximum and the logarithm nearly cancel, down to 2^-35 of the maximum. x(j, n, out) writes
// the n <= kLanes logits from j on.
template <class Read>
double logsumexp_double_double(int64_t classes, double max, const Read& x) {
  constexpr int L = kLanes<double>;
  DoubleDoubleSum sum;
  for (int64_t j = 0; j < classes; j += L) {
    alignas(64) double numbers[L];
    for (int k = 0; k < L; ++k) numbers[k] = -INFINITY;
    x(j, classes - j < L ? classes - j : L, numbers);
    sum.add(j, exp_of_difference(load(numbers), max));
  }
  const DoubleDoubleVector lse = double_double(max) + log_double_double(sum.total());
  return lse.hi[0];
}

// The base and tail sum of row i. T is float or double, for every dtype of x.
template <class T, class S, class Each>
SavedStatistics statistics_of(const LogSumExpTask& task, int64_t i, Chunk<T>* chunks,
                              const Each& each) {
  const bool plain = is_contiguous<S>(task.shape, task.x);
  const int64_t from = row_offset(task.shape, task.x, i);
  const S* const u = static_cast<const S*>(task.x.data) + from;
  const NextRow<T, S> next{plain ? next_row(task.shape, task.x, i, u) : nullptr, nullptr};
  return sum_row<UnshiftedExp<S>, T, S>(
             task.shape.classes, nullptr, chunks, next, each,
             [=, x = task.x](int64_t begin, int64_t size, S* buffer) {
               return stage(x, plain, from, begin, size, buffer);
             },
             Nothing{})
      .saved;
}

// The result where the maximum isn't finite: NaN if there is one, else +inf if there is one, else
// -inf.
double special_logsumexp(const LogSumExpTask& task, int64_t i, double max) {
  for (int64_t j = 0; j < task.shape.classes; ++j) {
    double x;
    read(task.x, row_offset(task.shape, task.x, i) + j * task.x.class_stride, 1, &x);
    if (x != x) return NAN;
  }
  return max;
}

// Where the maximum and the logarithm cancel, float64 logits need double-double arithmetic.
double logsumexp_of(const LogSumExpTask& task, int64_t i, double max, double log_sum) {
  const double lse = max + log_sum, larger = -max > log_sum ? -max : log_sum;
  const bool cancels = max < 0 && fabs(lse) <= larger / 2;  // false for NaN
  if (task.x.type != Type::kFloat64 || !cancels) return lse;
  const int64_t from = row_offset(task.shape, task.x, i), stride = task.x.class_stride;
  return logsumexp_double_double(task.shape.classes, max, [&](int64_t j, int64_t n, double* out) {
    read(task.x, from + j * stride, n, out);
  });
}

template <class T, class S>
void logsumexp_rows(const LogSumExpTask task) {
  const Shape shape = task.shape;
  const int64_t n = shape.classes;
  const int workers = workers_for(shape.rows, n);
  // Two sets of chunks, large enough for double: while some threads write the chunks of the second
  // sum, another may still read those of the first.
  const Scratch<Chunk<double>> chunks(workers, 2 * chunks_of(n));
  const auto store_result = [=](int64_t i, Chunk<double>* parts, SavedStatistics s, double log_sum,
                                const auto& each) {
    double lse = s.base + log_sum;
    if (sizeof(T) == 4 && s.base < 0 && fabs(lse) < 1) {
      // The maximum and the logarithm cancel: double has the digits that a float lost.
      s = statistics_of<double, double>(task, i, parts + chunks_of(n), each);
      log_sum = log1p(s.tail_sum);
    }
    if (!each.is_leader()) return;
    task.out[i] = fabs(s.base) < INFINITY ? logsumexp_of(task, i, s.base, log_sum)
                                          : special_logsumexp(task, i, s.base);
  };
  const auto own_chunks = chunks.buffers();
  for_each_row(shape, workers, [=](int worker, int64_t begin, int64_t end, const auto& each) {
    constexpr int L = kLanes<double>;
    Chunk<double>* parts = own_chunks.of(worker);
    for (int64_t from = begin; from < end; from += L) {
      const int count = end - from < L ? static_cast<int>(end - from) : L;
      SavedStatistics s[L];
      double tail_sum[L] = {};
      for (int k = 0; k < count; ++k) {
        s[k] = statistics_of<T, S>(task, from + k, reinterpret_cast<Chunk<T>*>(parts), each);
        tail_sum[k] = s[k].tail_sum;
      }
      const V<double> log_sum = log1p<double>(load(tail_sum));
      for (int k = 0; k < count; ++k) store_result(from + k, parts, s[k], log_sum[k], each);
    }
  });
}

// In double throughout, so that a float result has all its digits where the maximum and the
// logarithm cancel.
void logsumexp_lanes(const LogSumExpTask task) {
  const Shape shape = task.shape;
  const int64_t width = tile_width<double>(shape, task.x);
  const int workers = tile_workers(shape, width);
  const Scratch<double> scratch(workers, width * shape.classes);
  for_each_tile<double>(shape, width, scratch, workers, [=](int, const Tile<double>& tile) {
    read_tile(shape, task.x, tile);
    const TilePrefetch next = prefetch_after(shape, task.x, tile);
    double max[kMaxWidth], log_sum[kMaxWidth];
    LaneSums<double> sums[kMaxWidth / kLanes<double>];
    sum_lanes<double, false>(tile, next, next, sums);
    for (int64_t l = 0; l < width; l += kLanes<double>) {
      const LaneSums<double>& lanes = sums[l / kLanes<double>];
      store(max + l, lanes.base);
      store(log_sum + l, lanes.log_sum());
    }
    for (int64_t l = 0; l < tile.rows; ++l) {
      const int64_t i = tile.row + l;
      task.out[i] = fabs(max[l]) < INFINITY ? logsumexp_of(task, i, max[l], log_sum[l])
                                            : special_logsumexp(task, i, max[l]);
    }
  });
}

void logsumexp_transposed(const LogSumExpTask task) {
  const Shape shape = task.shape;
  const int64_t n = shape.classes;
  for_each_part_of_rows(shape, n * size_of(task.x.type),
                        [=](int64_t row, int64_t count, char* buffer) {
                          logsumexp({{count, n, 1, {count}},
                                     transposed(rows_of(shape, task.x, row), count, n, buffer),
                                     task.out + row});
                        });
}

}  // namespace

void logsumexp(const LogSumExpTask& task) {
  if (use_lanes(task.shape)) return logsumexp_lanes(task);
  if (lie_side_by_side(task.shape, task.x)) return logsumexp_transposed(task);
  if (task.x.type == Type::kFloat64) return logsumexp_rows<double, double>(task);
  with_stored<float>(task.x.type, [&](auto s) { logsumexp_rows<float, decltype(s)>(task); });
}

}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
