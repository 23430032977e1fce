// Passes over the targets or losses of a batch: whether the class indices are valid, what a mean
// divides by, and the sum of the losses.
//
// The rows are reduced in blocks that don't depend on the number of threads, and the blocks are
// added in their order. A worker gets the rows that its cache already holds.
#include "arrays/class_index.h"
#include "arrays/strided.h"
#include "arrays/workers.h"
#include "math/compensated_sum.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

constexpr int64_t kRows = 1024;  // in a block

struct BlockSum {
  DoubleDouble sum;
  bool valid;
  int64_t kept;
};

// The sum of f(begin, count) over the blocks, and whether all are valid.
template <class F>
TargetCheck reduce_blocks(int64_t rows, const F& f) {
  const int64_t blocks = (rows + kRows - 1) / kRows;
  const Scratch<BlockSum> scratch(1, blocks);
  BlockSum* const parts = scratch.of(0);
  parallel_ranges(workers_for(blocks, kRows), blocks, kRows, [=](int, int64_t from, int64_t to) {
    for (int64_t b = from; b < to; ++b) {
      const int64_t begin = b * kRows;
      parts[b] = f(begin, rows - begin < kRows ? rows - begin : kRows);
    }
  });
  DoubleDouble total;
  bool valid = true;
  int64_t kept = 0;
  for (int64_t b = 0; b < blocks; ++b) {
    total.add(parts[b].sum);
    valid &= parts[b].valid;
    kept += parts[b].kept;
  }
  return {valid, kept, total.value()};
}

DoubleDouble sum_of(const double* x, int64_t n) {
  constexpr int64_t step = kSlots<double>;
  SlotSum<double> sums[4];  // independent chains
  const auto from = [=](int64_t i) { return [=](int64_t j) { return load(x + i + j); }; };
  const auto last = [=](int64_t i) {
    return [=](int64_t j, int64_t left) { return load_part(x + i + j, left, 0.0); };
  };
  int64_t i = 0;
  for (; i + 4 * step <= n; i += 4 * step) {
    for (int64_t k = 0; k < 4; ++k) sums[k].add(step, from(i + k * step), last(i + k * step));
  }
  sums[0].add(n - i, from(i), last(i));
  DoubleDouble total;
  for (const SlotSum<double>& sum : sums) total.add(sum.total());
  return total;
}

}  // namespace

double sum(const double* x, int64_t n) {
  const auto block = [=](int64_t begin, int64_t count) -> BlockSum {
    return {sum_of(x + begin, count), true, count};
  };
  return reduce_blocks(n, block).denominator;
}

TargetCheck check_targets(const CrossEntropyTask& task) {
  const int64_t* const index = task.index;
  const int64_t classes = task.shape.classes, ignored = task.ignore_index;
  const void* const weight = task.weight;
  const bool wide = task.logits.type == Type::kFloat64;
  if (!index) return {true, task.shape.rows, static_cast<double>(task.shape.rows)};
  return reduce_blocks(task.shape.rows, [=](int64_t begin, int64_t count) -> BlockSum {
    int64_t outside = 0, kept = 0;
    for (int64_t i = begin; i < begin + count; ++i) {
      const int64_t y = index[i], is_kept = y != ignored;
      kept += is_kept;
      outside |= is_kept & ((y < 0) | (y >= classes));
    }
    if (outside != 0 || !weight) return {{static_cast<double>(kept), 0}, outside == 0, kept};
    double each[kRows];
    for (int64_t i = 0; i < count; ++i) {
      const int64_t given = read_once(index + begin + i), y = within(given, classes);
      each[i] = given == ignored ? 0
                : wide           ? static_cast<const double*>(weight)[y]
                                 : static_cast<double>(static_cast<const float*>(weight)[y]);
    }
    return {sum_of(each, count), true, kept};
  });
}

}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
