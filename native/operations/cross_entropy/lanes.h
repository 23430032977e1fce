// Cross-entropy with one row in each lane of a vector, for few classes.
//
// Rows that lie one after another and near 0 take the fast path (compute_adjacent): exponentials
// are computed in place, and only the sums need a row to a lane. All others are transposed into a
// tile (compute_transposed). Both give a row the same bits.
#pragma once

#include "lanes/adjacent.h"
#include "operations/cross_entropy/lane_rows.h"
#include "operations/cross_entropy/loss.h"
#include "operations/cross_entropy/target.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// A call. `dense` targets have a probability on every class: soft targets and label smoothing.
template <class T, bool dense>
class alignas(4096) CrossEntropyLanes {
 public:
  CrossEntropyLanes(const CrossEntropyTask& task, bool from_saved)
      : task_(task),
        transform_{task.softcap, task.temperature},
        from_saved_(from_saved),
        n_(task.shape.classes),
        width_(tile_width<T>(task.shape, task.logits)),
        workers_(workers_for(groups(), kMaxWidth * n_)),
        adjacent_(!dense && !task.from_maximum && transform_.identity() &&
                  rows_are_adjacent<T>(task.shape, task.logits) &&
                  (!task.grad.data || rows_are_adjacent<T>(task.shape, task.grad))),
        row_of_(adjacent_ ? n_ : 0),
        exponentials_(workers_, adjacent_ ? width_ * n_ : 0),
        scratch_(workers_, width_ * n_),
        extra_(workers_, task.probabilities.data || task.softcap != 0 ? width_ * n_ : 0),
        sums_(2, from_saved ? 0 : groups()),
        weight_(task),
        is_plain_nll_(!dense && !task.weight && task.z_loss == 0),
        keep_(static_cast<T>(1 - task.label_smoothing)),
        spread_(static_cast<T>(task.label_smoothing / static_cast<double>(n_))),
        scale_of_grad_(task.softcap == 0 ? task.scale / task.temperature : task.scale),
        scale_high_(static_cast<T>(scale_of_grad_)),
        scale_low_(static_cast<T>(scale_of_grad_ - static_cast<double>(scale_high_))) {}

  // Returns the sum of the losses, added group by group in their order.
  double run() const {
    const int64_t cost = kMaxWidth * n_;
    parallel_ranges(workers_, groups(), cost, [this](int worker, int64_t begin, int64_t end) {
      for (int64_t k = begin; k < end; ++k) compute_group(worker, k);
    });
    return from_saved_ ? NAN : sum(sums_.of(0), groups()) + sum(sums_.of(1), groups());
  }

 private:
  static constexpr int L = kLanes<T>;
  using Index = typename Vector<T>::index;
  using Rows = LaneRows<T>;

  int64_t groups() const { return tiles_of(task_.shape, kMaxWidth); }

  void compute_group(int worker, int64_t k) const {
    const int64_t begin = k * kMaxWidth, end = begin + kMaxWidth, rows = task_.shape.rows;
    GroupLoss<T> loss;
    for_each_tile_of<T>(begin, end < rows ? end : rows, n_, width_, scratch_.of(worker),
                        [&](const Tile<T>& tile) { compute(worker, tile, loss); });
    if (from_saved_) return;
    const DoubleDouble total = loss.total();
    sums_.of(0)[k] = total.hi;
    sums_.of(1)[k] = total.hi - total.hi == 0 ? total.lo : 0;
  }

  void compute(int worker, const Tile<T>& tile, GroupLoss<T>& loss) const {
    Rows rows;
    find_targets(tile, rows);
    for (int64_t l = 0; task_.upstream && l < width_; ++l) {
      rows.upstream[l] = l < tile.rows ? task_.upstream[tile.row + l] * scale_of_grad_ : 0;
    }
    for (int64_t l = 0; from_saved_ && l < width_; ++l) {
      rows.saved[l] = l < tile.rows ? task_.saved[tile.row + l] : SavedStatistics{};
    }
    const bool done = adjacent_ && tile.rows == width_ && is_in_one_run(task_.shape, tile) &&
                      compute_adjacent(tile, exponentials_.of(worker), rows, loss);
    if (!done) compute_transposed(tile, extra_.of(worker), rows, loss);
  }

  // The fast path. Returns false, with nothing written or added, where a row isn't near 0 or a
  // factor is too large or small for T; the general path gives the other rows the same bits.
  bool compute_adjacent(const Tile<T>& tile, T* e, Rows& rows, GroupLoss<T>& loss) const {
    const T* const x = at(task_.logits, tile, task_.shape);
    T* const grad = task_.grad.data ? at(task_.grad, tile, task_.shape) : nullptr;
    if (!exp_unshifted<T>(x, e, n_ * width_)) return false;
    LaneSums<T> lanes[kMaxWidth / L];
    for (int64_t l = 0; l < width_; l += L) {
      LaneSums<T>& lane = lanes[l / L];
      lane.base = gather<T>(x + l * n_, rows.row_positions(l, n_));
      store(rows.logit + l, lane.base);
      store(rows.e + l, gather<T>(e + l * n_, rows.row_positions(l, n_)));
      Rows::store_numbers(rows.unshifted + l, Mask<T>{} == 0);
      lane.top = load(rows.e + l);
      if (from_saved_) {
        rows.load_saved(l, lane);
        lane.top = UnshiftedExp<T>().exp(lane.base);
      } else {
        read_transposed(e + l * n_, n_, n_, tile.data + l, width_);
      }
    }
    CompensatedSum<T> sums[kMaxWidth / L];
    if (!from_saved_) sum_exponentials(tile, rows, lanes, sums);
    if (grad && !write_adjacent_gradient(tile, e, grad, lanes, rows)) return false;
    if (from_saved_) return true;
    if (is_plain_nll_) loss.add_near_0(rows, lanes, sums, width_);
    if (!is_plain_nll_ || task_.loss) store_losses(lanes, sums, rows);
    write_losses(tile, rows, loss);
    return true;
  }

  bool write_adjacent_gradient(const Tile<T>& tile, const T* e, T* grad, const LaneSums<T>* lanes,
                               const Rows& rows) const {
    Gradient gradients[kMaxWidth / L];
    Mask<T> extreme{};
    for (int64_t l = 0; l < width_; l += L) {
      Gradient& g = gradients[l / L];
      gradient_of(lanes[l / L], rows, l, g);
      extreme |= exceeds_range<T>(g.factor.hi, g.given);
    }
    if (!all_lanes<T>(extreme == 0)) return false;
    for (int64_t l = 0; l < width_; l += L) {
      const Gradient& g = gradients[l / L];
      T* const first = grad + l * n_;
      row_of_.multiply(e + l * n_, g.factor, first, n_ * width_);
      alignas(64) Index position[L];
      alignas(64) T at_target[L];
      Rows::store_numbers(position, rows.row_positions(l, n_));
      store(at_target, g.at_target);
#pragma GCC unroll 16
      for (int k = 0; k < L; ++k) first[position[k]] = at_target[k];
    }
    each_ignored(tile, rows, [&](int64_t l) {
      for (int64_t j = 0; j < n_; ++j) grad[l * n_ + j] = 0;
    });
    return true;
  }

  // The general path.
  void compute_transposed(const Tile<T>& tile, T* buffer, Rows& rows, GroupLoss<T>& loss) const {
    read_tile(task_.shape, task_.logits, tile);
    if (!transform_.identity()) transform_.apply(tile.data, n_ * width_);
    Tile<T> extra = tile;  // the target probabilities, or the logits once z_extra
    extra.data = buffer;
    if (task_.probabilities.data) read_tile(task_.shape, task_.probabilities, extra);
    const TilePrefetch in = prefetch_after(task_.shape, task_.logits, tile);
    const TilePrefetch out = prefetch_after(task_.shape, task_.grad, tile);
    // The exponentials overwrite the logits; what needs the logits comes first.
    if (dense) sum_targets(tile, extra, rows);
    LaneSums<T> lanes[kMaxWidth / L];
    if (dense && !from_saved_) {
      task_.grad.data ? sum_lanes<T, true>(tile, in, out, lanes)
                      : sum_lanes<T, false>(tile, in, out, lanes);
    } else {
      compute_exponentials(tile, in, out, rows, lanes);
      if (!from_saved_) {
        CompensatedSum<T> sums[kMaxWidth / L];
        sum_exponentials(tile, rows, lanes, sums);
        if (is_plain_nll_) loss.add_near_0(rows, lanes, sums, width_);
        if (!is_plain_nll_ || task_.loss || !all_near_0(rows)) store_losses(lanes, sums, rows);
      }
    }
    for (int64_t l = 0; l < width_ && dense && !from_saved_; l += L) {
      const LaneSums<T>& lane = lanes[l / L];
      const OnePlus<T> whole(lane.tail_sum.hi, lane.tail_sum.lo);
      store_losses(log_in_parts<T>(whole.u, whole.error, lane.tail_sum.hi, lane.tail_sum.lo),
                   lane.base, rows, l);
      if (task_.saved) rows.store_saved(lane, l);
    }
    for (int64_t l = 0; l < width_ && task_.grad.data; l += L) {
      write_gradient(tile, extra, lanes[l / L], rows, l);
    }
    if (!from_saved_) write_losses(tile, rows, loss);
    if (task_.grad.data) write_tile_gradient(tile, extra, rows);
  }

  // Whether GroupLoss::add_near_0 adds every row.
  bool all_near_0(const Rows& rows) const {
    Mask<T> all = Mask<T>{} == 0;
    for (int64_t l = 0; l < width_; l += L) all &= rows.load_numbers(rows.unshifted + l);
    return all_lanes<T>(all);
  }

  // Replaces the logits by their exponentials. The base of a row is the saved one, or the target
  // where UnshiftedExp covers the row, or else the maximum.
  void compute_exponentials(const Tile<T>& tile, const TilePrefetch& in, const TilePrefetch& out,
                            Rows& rows, LaneSums<T>* lanes) const {
    V<T> most[kMaxWidth / L], least[kMaxWidth / L];
    range_of_lanes(tile, most, least);
    for (int64_t l = 0; l < width_; l += L) {
      const int64_t k = l / L;
      const V<T> logit = dense ? V<T>{} : gather<T>(tile.data, rows.tile_positions(l, width_));
      store(rows.logit + l, logit);
      const Mask<T> unshifted = fits_unshifted<T>(least[k], most[k]);
      store(rows.max + l, most[k]);
      Rows::store_numbers(rows.unshifted + l, unshifted);
      lanes[k].base = unshifted ? logit : most[k];
      if (from_saved_) rows.load_saved(l, lanes[k]);
    }
    exp_lanes<T>(tile, least, most, in, out, lanes);
    for (int64_t l = 0; l < width_ && !dense; l += L) {
      store(rows.e + l, gather<T>(tile.data, rows.tile_positions(l, width_)));
    }
  }

  // Adds the exponentials of a tile: all of them, to `sums`, and the tails beside the bases. Each
  // step is done for all lanes before the next.
  void sum_exponentials(const Tile<T>& tile, Rows& rows, LaneSums<T>* lanes,
                        CompensatedSum<T>* sums) const {
    LaneTotal<T> totals[kMaxWidth / L];
    total_lanes(tile, totals);
    for (int64_t k = 0; k < width_ / L; ++k) {
      const V<T> top = lanes[k].top;
      const CompensatedSum<T> tail = totals[k].tail_without(top);
      lanes[k].tail_sum = relative_tail<T>(tail, top);
      sums[k] = {top, tail.lo};
      sums[k].add(tail.hi);
    }
    for (int64_t k = 0; k < width_ / L && task_.saved; ++k) {
      if (task_.from_maximum) {
        const V<T> top = totals[k].largest, max = load(rows.max + k * L);
        rows.store_saved({max, top, relative_tail<T>(totals[k].tail_without(top), top)}, k * L);
      } else {
        rows.store_saved(lanes[k], k * L);
      }
    }
  }

  void store_losses(const LaneSums<T>* lanes, const CompensatedSum<T>* sums, Rows& rows) const {
    for (int64_t l = 0; l < width_; l += L) {
      const LaneSums<T>& lane = lanes[l / L];
      const Mask<T> by_sum = rows.is_unlikely(lane, l);
      const CompensatedSum<T> sum =
          sums[l / L].scaled(broadcast(ExpConstants<T>::kUndoUnshiftedBias));
      const OnePlus<T> whole(lane.tail_sum.hi, lane.tail_sum.lo);
      const V<T> u = by_sum ? sum.hi : whole.u, error = by_sum ? sum.lo : whole.error;
      const V<T> y = by_sum ? sum.hi - 1 : lane.tail_sum.hi,
                 y_error = by_sum ? sum.lo : lane.tail_sum.lo;
      store_losses(log_in_parts<T>(u, error, y, y_error), by_sum ? V<T>{} : lane.base, rows, l);
    }
  }

  void find_targets(const Tile<T>& tile, Rows& rows) const {
    const int64_t known = task_.index ? tile.rows : 0;
    Index ignored = 0;
    for (int64_t l = 0; l < known; ++l) {
      const int64_t y = task_.index[tile.row + l];
      ignored |= y == task_.ignore_index;
      rows.target[l] = static_cast<Index>(y == task_.ignore_index ? 0 : y);
      rows.counts[l] = y == task_.ignore_index ? 0 : -1;
    }
    rows.ignored = ignored != 0;
    for (int64_t l = known; l < width_; ++l) rows.target[l] = rows.counts[l] = 0;
    // They address memory: see arrays/class_index.h. Behind the barrier the compiler can't read
    // them from the caller's array again.
    __asm__ volatile("" : : "r"(rows.target) : "memory");
    for (int64_t l = 0; l < width_; l += L) {
      const Mask<T> y = rows.targets(l);
      Rows::store_numbers(rows.target + l, y & (y >= 0) & (y < static_cast<Index>(n_)));
    }
    for (int64_t l = 0; !dense && !is_plain_nll_ && l < width_; ++l) {
      rows.target_sum[l] = weight_.data() ? static_cast<double>(weight_.data()[rows.target[l]]) : 1;
    }
  }
  // The address of the tile's first number.
  static T* at(const Array& a, const Tile<T>& tile, const Shape& shape) {
    return static_cast<T*>(a.data) + row_offset(shape, a, tile.row);
  }

  // The target t_j of class j in the lanes from l on.
  V<T> target_of(const Tile<T>& extra, const Rows& rows, int64_t j, int64_t l) const {
    V<T> t;
    if (task_.probabilities.data) {
      t = multiply_add(broadcast(keep_), load(extra.at(j) + l), broadcast(spread_));
    } else {
      t = rows.targets(l) == static_cast<Index>(j) ? broadcast(spread_ + keep_)
                                                   : broadcast(spread_);
    }
    return weight_.data() ? t * weight_.data()[j] : t;
  }

  void sum_targets(const Tile<T>& tile, const Tile<T>& extra, Rows& rows) const {
    for (int64_t l = 0; l < width_; l += L) {
      V<T> max = broadcast(static_cast<T>(-INFINITY));
      for (int64_t j = 0; j < n_; ++j) max = maximum<T>(load(tile.at(j) + l), max);
      CompensatedSum<T> sum, gap;
      for (int64_t j = 0; j < n_; ++j) {
        const V<T> t = target_of(extra, rows, j, l);
        sum.add(t);
        gap.add(times_distance<V<T>>(t, max, load(tile.at(j) + l)));
      }
      const auto total = [](V<double> hi, V<double> lo) {
        return hi - hi == 0 ? hi + lo : hi;  // where hi is infinite, lo is NaN
      };
      for_each_part<T>([&](auto part) {
        constexpr int p = decltype(part)::index;
        store(rows.target_sum + l + part.begin, total(widen<p>(sum.hi), widen<p>(sum.lo)));
        store(rows.gap + l + part.begin, total(widen<p>(gap.hi), widen<p>(gap.lo)));
      });
    }
  }

  // Stores the losses of the lanes from l on, from log_sum = lse - base.
  void store_losses(const LogParts<T>& log_sum, V<T> base, Rows& rows, int64_t l) const {
    const V<T> logit = dense ? V<T>{} : load(rows.logit + l);
    for_each_part<T>([&](auto part) {
      constexpr int p = decltype(part)::index;
      const int64_t k = l + part.begin;
      const V<double> max = widen<p>(base), u = widen<p>(logit);
      const V<double> log = widen<p>(log_sum.large) + widen<p>(log_sum.small);
      // The logarithm may be much larger than the loss: its small part is added last.
      const V<double> tail = widen<p>(log_sum.large) + (max - u);
      const V<double> nll = tail + widen<p>(log_sum.small);
      if (is_plain_nll_) {
        store(rows.loss + k, nll);
        return;
      }
      const V<double> s = load(rows.target_sum + k);
      // Beside an infinite difference the logarithm doesn't count.
      const V<double> product = times_distance<V<double>>(s, nll, V<double>{});
      const V<double> cost = nll - nll == 0 ? product : times_distance<V<double>>(s, max, u);
      store(rows.loss + k, dense ? loss_of<V<double>>(task_, max, log, s, load(rows.gap + k))
                                 : loss_of<V<double>>(task_, max + log, cost));
    });
  }

  CompensatedSum<T> target_sum_at(const Rows& rows, int64_t l) const {
    if (is_plain_nll_) return {broadcast(T(1)), V<T>{}};
    return split_doubles<T>(rows.target_sum + l);
  }
  CompensatedSum<T> upstream_at(const Rows& rows, int64_t l) const {
    if (!task_.upstream) return {broadcast(scale_high_), broadcast(scale_low_)};
    return split_doubles<T>(rows.upstream + l);
  }

  V<T> z_slope(const LaneSums<T>& lanes) const {  // 2 z_loss lse
    if (task_.z_loss == 0) return V<T>{};
    return static_cast<T>(2 * task_.z_loss) * (lanes.base + lanes.log_sum());
  }

  // The gradient of a row: the factor of its exponentials, the value at the target, and what the
  // factor was made of.
  struct Gradient {
    CompensatedSum<T> factor;
    V<T> at_target, given;
  };
  // Filled in place: returning it would copy it through memory.
  SOFTXENT_INLINE void gradient_of(const LaneSums<T>& lanes, const Rows& rows, int64_t l,
                                   Gradient& g) const {
    const CompensatedSum<T> reciprocal_sum = lanes.reciprocal_sum(), tail = lanes.tail(),
                            upstream = upstream_at(rows, l);
    const CompensatedSum<T> weighted =
        is_plain_nll_ ? upstream : upstream.times(target_sum_at(rows, l));
    const V<T> z_extra = z_slope(lanes) * upstream.hi;
    const CompensatedSum<T> factor = reciprocal_sum.times({weighted.hi + z_extra, weighted.lo});
    // p_factor p - t. Where the base is the target, p_factor (p - 1) is computed as -p_factor tail
    // / sum, which keeps its digits.
    const V<T> low = multiply_add(tail.hi, factor.lo, tail.lo * factor.hi);
    const V<T> at_top = z_extra - multiply_add(tail.hi, factor.hi, low);
    const V<T> e = load(rows.e + l);  // of the target
    const V<T> below =
        multiply_add(e, factor.hi, -weighted.hi) + multiply_add(e, factor.lo, -weighted.lo);
    g.factor.hi = factor.hi;
    g.factor.lo = factor.lo;
    g.at_target = e == lanes.top ? at_top : below;
    g.given = weighted.hi;
  }

  // Replaces the exponentials of the lanes from l on by the gradient.
  void write_gradient(const Tile<T>& tile, const Tile<T>& extra, LaneSums<T>& lanes,
                      const Rows& rows, int64_t l) const {
    if (dense) {
      const V<T> z_extra = z_slope(lanes);
      const CompensatedSum<T> reciprocal_sum = lanes.reciprocal_sum(), tail = lanes.tail(),
                              upstream = upstream_at(rows, l);
      const CompensatedSum<T> target_sum = target_sum_at(rows, l),
                              p_factor{target_sum.hi + z_extra, target_sum.lo};
      const V<T> p_factor_times_p_minus_1 = -(tail.times(reciprocal_sum).hi * p_factor.hi);
      CompensatedSum<T> factor = reciprocal_sum.times(p_factor);
      V<T> at_target{};
      recompute_extreme(tile, rows, l, V<T>{}, p_factor.hi, lanes, factor, at_target);
      const DenseFactors<T> factors{
          factor.hi,     factor.lo,     lanes.top, p_factor_times_p_minus_1,
          target_sum.hi, target_sum.lo, z_extra,   upstream.hi};
      for (int64_t j = 0; j < n_; ++j) {
        T* const to = tile.at(j) + l;
        store(to, factors.gradient(load(to), target_of(extra, rows, j, l)));
      }
    } else {
      Gradient g;
      gradient_of(lanes, rows, l, g);
      recompute_extreme(tile, rows, l, load(rows.e + l), g.given, lanes, g.factor, g.at_target);
      multiply_lanes(tile, l, g.factor);
      scatter<T>(tile.data, rows.tile_positions(l, width_), g.at_target);
    }
  }

  // Recomputes factors outside the range in which T holds all their digits: in double, and with
  // exponentials multiplied by a power of two.
  void recompute_extreme(const Tile<T>& tile, const Rows& rows, int64_t l, V<T> e, V<T> given,
                         LaneSums<T>& lanes, CompensatedSum<T>& factor, V<T>& at_target) const {
    const Mask<T> extreme = exceeds_range<T>(factor.hi, given);
    if (all_lanes<T>(extreme == 0)) return;
    for (int k = 0; k < L; ++k) {
      if (extreme[k] == 0 || l + k >= tile.rows) continue;
      const double top = static_cast<double>(lanes.top[k]);
      const double tail_sum =
          static_cast<double>(lanes.tail_sum.hi[k]) + static_cast<double>(lanes.tail_sum.lo[k]);
      const double p_base = 1 / (1 + tail_sum);
      const double lse = static_cast<double>(lanes.base[k]) + log1p(tail_sum);
      const double upstream = task_.upstream ? task_.upstream[tile.row + l + k] : 1;
      const GradientFactors f(task_, transform_, upstream, tail_sum, lse,
                              is_plain_nll_ ? 1 : rows.target_sum[l + k]);
      const Normalizer<T> exact(top, tail_sum, dense ? f.p_factor : f.p_factor * f.upstream);
      factor.hi[k] = static_cast<T>(exact.hi);
      factor.lo[k] = static_cast<T>(exact.hi - static_cast<double>(factor.hi[k]) + exact.lo);
      at_target[k] = static_cast<T>(
          f.at_target(e[k] == lanes.top[k], static_cast<double>(e[k]) / top * p_base));
      if (exact.prescale == 1) continue;
      const T prescale = static_cast<T>(exact.prescale);
      lanes.top[k] *= prescale;
      for (int64_t j = 0; j < n_; ++j) tile.at(j)[l + k] *= prescale;
    }
  }

  template <class F>
  void each_ignored(const Tile<T>& tile, const Rows& rows, const F& f) const {
    for (int64_t l = 0; rows.ignored && l < tile.rows; ++l) {
      if (is_ignored(task_, tile.row + l)) f(l);
    }
  }

  // Writes the tile's losses to the outputs, and adds those that add_near_0 hasn't added.
  void write_losses(const Tile<T>& tile, Rows& rows, GroupLoss<T>& total) const {
    each_ignored(tile, rows, [&](int64_t l) {
      rows.loss[l] = 0;
      rows.saved[l] = {NAN, NAN};
    });
    double* const loss = task_.loss ? task_.loss + tile.row : nullptr;
    for (int64_t l = 0; loss && l < tile.rows; ++l) loss[l] = rows.loss[l];
    SavedStatistics* const saved = task_.saved ? task_.saved + tile.row : nullptr;
    for (int64_t l = 0; saved && l < tile.rows; ++l) saved[l] = rows.saved[l];
    if (is_plain_nll_ && all_near_0(rows)) return;
    for (int64_t l = 0; l < width_; ++l) {
      if (l >= tile.rows || (is_plain_nll_ && rows.unshifted[l] != 0)) rows.loss[l] = 0;
    }
    total.add(rows.loss, width_);
  }
  void write_tile_gradient(const Tile<T>& tile, const Tile<T>& extra, const Rows& rows) const {
    const auto clear = [&](T* data) {
      each_ignored(tile, rows, [&](int64_t l) {
        for (int64_t j = 0; j < n_; ++j) data[j * width_ + l] = 0;
      });
    };
    clear(tile.data);
    if (transform_.softcap != 0) {
      read_tile(task_.shape, task_.logits, extra);
      clear(extra.data);  // NaN would turn the zeros into NaN
      transform_.apply_derivative(extra.data, tile.data, n_ * width_);
    }
    write_tile(task_.shape, task_.grad, tile);
  }

  const CrossEntropyTask task_;
  const LogitTransform transform_;
  const bool from_saved_;
  const int64_t n_, width_;
  const int workers_;
  const bool adjacent_;
  const RowOfElement<T> row_of_;
  const Scratch<T> exponentials_, scratch_, extra_;
  const Scratch<double> sums_;  // of each group's losses, as double-double numbers
  const ClassWeights<T> weight_;
  const bool is_plain_nll_;  // unweighted class indices without z_loss
  const T keep_, spread_;
  const double scale_of_grad_;
  const T scale_high_, scale_low_;
};

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
