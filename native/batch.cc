// What goes over the rows of a batch once more: are its class indices classes, what does a mean
// divide by, what do the losses come to.
//
// In blocks of rows, the same whatever the number of threads, and put together in their order. A
// worker gets the rows that it has in its cache.
#include "row.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

constexpr int64_t kRows = 1024;  // of a block

struct Part {
  Pair sum;
  bool valid;
};

// The sum of f(begin, count) for each block, and whether all are valid.
template <class F>
Targets over_blocks(int64_t rows, const F& f) {
  const int64_t blocks = (rows + kRows - 1) / kRows;
  const Scratch<Part> scratch(1, blocks);
  Part* const parts = scratch.of(0);
  parallel(workers_for(blocks, kRows), blocks, [=](int, int64_t from, int64_t to) {
    for (int64_t b = from; b < to; ++b) {
      const int64_t begin = b * kRows;
      parts[b] = f(begin, rows - begin < kRows ? rows - begin : kRows);
    }
  });
  Pair total;
  bool valid = true;
  for (int64_t b = 0; b < blocks; ++b) {
    total.add(parts[b].sum);
    valid &= parts[b].valid;
  }
  return {valid, total.value()};
}

Pair sum_of(const double* x, int64_t n) {
  constexpr int L = kLanes<double>;
  Sum<double> sums[4];  // side by side they don't wait for each other
  int64_t i = 0;
  for (; i + 4 * L <= n; i += 4 * L) {
    for (int k = 0; k < 4; ++k) sums[k].add(load(x + i + k * L));
  }
  over_vectors<double>(
      n - i, [&](int64_t j) { sums[0].add(load(x + i + j)); },
      [&](int64_t j, int64_t left) { sums[0].add(load_part(x + i + j, left, 0.0)); });
  Pair total;
  for (const Sum<double>& sum : sums) total.add(sum.total());
  return total;
}

}  // namespace

double sum(const double* x, int64_t n) {
  const auto block = [=](int64_t begin, int64_t count) -> Part {
    return {sum_of(x + begin, count), true};
  };
  return over_blocks(n, block).denominator;
}

Targets targets_of(const CrossEntropyTask& task) {
  const int64_t* const index = task.index;
  const int64_t classes = task.shape.classes, ignored = task.ignore_index;
  const void* const weight = task.weight;
  const bool wide = task.logits.type == Type::kFloat64;
  if (!index) return {true, static_cast<double>(task.shape.rows)};
  return over_blocks(task.shape.rows, [=](int64_t begin, int64_t count) -> Part {
    int64_t outside = 0, kept = 0;
    for (int64_t i = begin; i < begin + count; ++i) {
      const int64_t y = index[i], is_kept = y != ignored;
      kept += is_kept;
      outside |= is_kept & ((y < 0) | (y >= classes));
    }
    if (outside != 0 || !weight) return {{static_cast<double>(kept), 0}, outside == 0};
    double each[kRows];
    for (int64_t i = 0; i < count; ++i) {
      const int64_t y = index[begin + i];
      each[i] = y == ignored ? 0
                : wide       ? static_cast<const double*>(weight)[y]
                             : static_cast<double>(static_cast<const float*>(weight)[y]);
    }
    return {sum_of(each, count), true};
  });
}

}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
