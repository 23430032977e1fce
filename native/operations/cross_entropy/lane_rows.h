// What is known of each row of a tile, one number to a lane: its target, statistics and loss; and
// the sum of the losses of a group of tiles.
#pragma once

#include "kernels.h"
#include "lanes/sums.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// Fields that a call doesn't need aren't filled.
template <class T>
struct LaneRows {
  static constexpr int L = kLanes<T>;
  using Index = typename Vector<T>::index;

  alignas(64) Index target[kMaxWidth];  // 0 for an ignored row
  alignas(64) Index counts[kMaxWidth];  // whether the lane holds a row that isn't ignored
  bool ignored;                         // whether some row is ignored
  alignas(64) T logit[kMaxWidth];       // of the target
  alignas(64) T e[kMaxWidth];           // of the target: its exponential
  alignas(64) T max[kMaxWidth];
  alignas(64) Index unshifted[kMaxWidth];  // whether the base is the target: all logits near 0
  alignas(64) double target_sum[kMaxWidth], gap[kMaxWidth], upstream[kMaxWidth], loss[kMaxWidth];
  alignas(64) SavedStatistics saved[kMaxWidth];

  // The positions of the targets of the lanes from l on: in the tile, and in rows that lie one
  // after another.
  Mask<T> tile_positions(int64_t l, int64_t width) const {
    return targets(l) * static_cast<Index>(width) + (lane_indices() + static_cast<Index>(l));
  }
  Mask<T> row_positions(int64_t l, int64_t classes) const {
    return targets(l) + lane_indices() * static_cast<Index>(classes);
  }
  static Mask<T> load_numbers(const Index* from) {
    Mask<T> numbers;
    __builtin_memcpy(&numbers, from, sizeof numbers);
    return numbers;
  }
  static void store_numbers(Index* to, Mask<T> numbers) {
    __builtin_memcpy(to, &numbers, sizeof numbers);
  }
  Mask<T> targets(int64_t l) const { return load_numbers(target + l); }
  static Mask<T> lane_indices() {
    Mask<T> lane;
    for (int k = 0; k < L; ++k) lane[k] = k;
    return lane;
  }

  // Rows whose loss is the logarithm of the whole sum, minus the logit. For a target with less than
  // half of the sum, log1p(tail_sum) would also have the error of its exponential.
  Mask<T> is_unlikely(const LaneSums<T>& lanes, int64_t l) const {
    return load_numbers(unshifted + l) & ~(lanes.tail_sum.hi < 1);
  }

  // Reads the saved statistics of the lanes from l on.
  void load_saved(int64_t l, LaneSums<T>& lanes) const {
    V<double> max[kParts<T>];
    alignas(64) double tail_sum[L];
    for (int p = 0; p < kParts<T>; ++p) {
      const double* const from = &saved[l + p * kLanes<double>].base;
      const V<double> a = load(from), b = load(from + kLanes<double>);
      Mask<double> even;
      for (int k = 0; k < kLanes<double>; ++k) even[k] = 2 * k;
      max[p] = shuffle<double>(a, b, even);
      store(tail_sum + p * kLanes<double>, shuffle<double>(a, b, even + 1));
    }
    lanes.base = narrow<T>(max);
    lanes.tail_sum = split_doubles<T>(tail_sum);
  }

  // Writes the saved statistics of the lanes from l on.
  void store_saved(const LaneSums<T>& lanes, int64_t l) {
    for_each_part<T>([&](auto part) {
      constexpr int p = decltype(part)::index;
      const V<double> r = widen<p>(lanes.tail_sum.hi) + widen<p>(lanes.tail_sum.lo);
      const V<double> base = r == r ? widen<p>(lanes.base) : r;
      Mask<double> interleaved;
      for (int i = 0; i < kLanes<double>; ++i) interleaved[i] = i / 2 + i % 2 * kLanes<double>;
      double* const to = &saved[l + part.begin].base;
      store(to, shuffle<double>(base, r, interleaved));
      store(to + kLanes<double>, shuffle<double>(base, r, interleaved + kLanes<double> / 2));
    });
  }
};

// The sum of the losses of a group: kMaxWidth rows, in slots. The tiles of a group are added in
// their order, so that the bits don't depend on the width of a tile.
template <class T>
class GroupLoss {
 public:
  // Adds the losses log(sum / exp(target)) of a tile's rows near 0, as the logarithm of a product:
  // one logarithm for each slot instead of one for each row. Powers of two are taken out of the
  // factors and summed separately.
  void add_near_0(const LaneRows<T>& rows, const LaneSums<T>* lanes, const CompensatedSum<T>* sums,
                  int64_t width) {
    for (int64_t l = 0; l < width; l += L) {
      const LaneSums<T>& lane = lanes[l / L];
      const Mask<T> counts =
          rows.load_numbers(rows.counts + l) & rows.load_numbers(rows.unshifted + l);
      const Mask<T> by_sum = rows.is_unlikely(lane, l) & counts;
      const NormalizedSum<T> sum(sums[l / L]);
      const V<T> zero{};
      Slots& s = slots_[l / L % P];
      const V<T> hi = by_sum ? sum.y.hi : lane.tail_sum.hi,
                 lo = by_sum ? sum.y.lo : lane.tail_sum.lo;
      s.product.times({counts ? hi : zero, counts ? lo : zero});
      s.exponents += by_sum ? sum.exponent : zero;
      s.logits.add(by_sum ? -load(rows.logit + l) : zero);
    }
  }

  // Adds losses.
  void add(const double* loss, int64_t width) {
    constexpr int64_t step = kLanes<double>;
    for (int64_t l = 0; l < width; l += step)
      losses_.part[l / step % losses_.P].add(load(loss + l));
  }

  DoubleDouble total() const {
    SlotSum<T> sum;
    double exponents = 0;  // integers: their sum is exact
    for (int p = 0; p < P; ++p) {
      const Slots& s = slots_[p];
      const OnePlus<T> whole(s.product.y.hi, s.product.y.lo);
      const LogParts<T> log = log_in_parts<T>(whole.u, whole.error, s.product.y.hi, s.product.y.lo);
      sum.part[p] = s.logits;
      sum.part[p].add(log.large);
      sum.part[p].lo += log.small;
      for_each_part<T>(
          [&](auto part) { exponents += sum_of_lanes(widen<part.index>(s.exponents)); });
    }
    DoubleDouble total = sum.total();
    total.add(exponents * 0.69314718055994530942);
    total.add(losses_.total());
    return total;
  }

 private:
  static constexpr int L = kLanes<T>, P = kSlotVectors<T>;
  struct Slots {
    ProductOfOnePlus<T> product;
    CompensatedSum<T> logits;
    V<T> exponents{};
  };
  Slots slots_[P];
  SlotSum<double> losses_;
};

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
