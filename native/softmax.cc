// softmax, log_softmax and logsumexp of rows.
#include "cancel.h"
#include "lanes.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

struct Nothing {
  template <class S, class T>
  void operator()(int64_t, const S*, int64_t, T) const {}
};

// Classes [begin, begin + size) of x as S: where they lie, or else in the buffer.
template <class S>
const S* stage(const Array& x, bool plain, int64_t from, int64_t begin, int64_t size, S* buffer) {
  const int64_t at = from + begin * x.class_stride;
  if (plain) return static_cast<const S*>(x.data) + at;
  read_stored(x, at, size, buffer);
  return buffer;
}

template <class T, class S>
void softmax_rows(const SoftmaxTask task) {
  const Shape shape = task.shape;
  const int64_t n = shape.classes;
  const int workers = workers_for(shape.rows, n);
  const bool plain_x = is_plain<S>(shape, task.x), plain_out = is_plain<S>(shape, task.out);
  const bool streamed = is_streamed<T, S>(shape, task.x, task.out);
  // Exponentials over which nothing else is written lie where the result will.
  const bool in_place = plain_out && !streamed && !Stored<S>::is_half;
  const Scratch<T> scratch(workers, task.log || in_place ? 0 : room_for<T>(n));
  const Scratch<Chunk<T>> chunks(workers, chunks_of(n));
  const auto row = [=](T* buffer_of_row, Chunk<T>* parts, int64_t i, Stream<Bits<S>>* stream,
                       const auto& each) {
    const int64_t from = row_offset(shape, task.x, i), to = row_offset(shape, task.out, i);
    S* const out = plain_out ? static_cast<S*>(task.out.data) + to : nullptr;
    T* e = task.log ? nullptr : out ? in_step(buffer_of_row, out) : buffer_of_row;
    if constexpr (!Stored<S>::is_half) {
      if (in_place && !task.log) e = out;
    }
    const auto u_of = [=](int64_t begin, int64_t size, S* buffer) {
      return stage(task.x, plain_x, from, begin, size, buffer);
    };
    const S* const u_of_row = static_cast<const S*>(task.x.data) + from;
    const Next<T, S> next{plain_x ? next_row(shape, task.x, i, u_of_row) : nullptr,
                          in_place && e ? next_row<T>(shape, task.out, i, e) : nullptr};
    const RowSum<T> sum = summarise(n, e, parts, next, each, u_of, Nothing{});
    const T max = static_cast<T>(sum.summary.base);
    const T log_sum = task.log ? static_cast<T>(log1p(sum.summary.ratio)) : 0;
    each(chunks_of(n), [=](int64_t c, bool) {
      const int64_t begin = c * kChunk, size = chunk_size(n, begin);
      S local[kChunk];
      Stream<Bits<S>> own;  // what several threads write, none of them can hold back for another
      Stream<Bits<S>>* const past = !streamed ? nullptr : is_shared(each) ? &own : stream;
      S* const part = out ? out + begin : local;
      if (!task.log) {
        const Normaliser<T> normaliser(sum.top, sum.summary.ratio, 1, scale_of(parts[c], sum));
        normaliser.to_unit(e + begin, size);
        normaliser.apply(e + begin, part, size, past);
      } else {
        const S* u = u_of(begin, size, local);
        const auto at = [&](V<T> x) { return (x - max) - log_sum; };
        store_vectors<T>(
            part, size, past, [&](int64_t j) { return at(load_as<T>(u + j)); },
            [&](int64_t j, int64_t left) { return at(load_part_as(u + j, left, T(0))); });
      }
      if (!out) write_stored(task.out, to + begin * task.out.class_stride, size, part);
    });
  };
  const auto own = scratch.buffers();
  const auto own_chunks = chunks.buffers();
  for_each_row(shape, workers, [=](int worker, int64_t begin, int64_t end, const auto& each) {
    Stream<Bits<S>> stream;
    for (int64_t i = begin; i < end; ++i) {
      row(own.of(worker), own_chunks.of(worker), i, &stream, each);
    }
  });
}

template <class T>
void softmax_lanes(const SoftmaxTask task) {
  const Shape shape = task.shape;
  const int64_t width = tile_width<T>(shape, task.x);
  const int workers = tile_workers(shape, width);
  const Scratch<T> scratch(workers, width * shape.classes);
  for_each_tile<T>(shape, width, 0, scratch, workers, [=](int, const Tile<T>& tile) {
    read_tile(shape, task.x, tile);
    const Ahead in = ahead_of(shape, task.x, tile), out = ahead_of(shape, task.out, tile);
    Lanes<T> sums[kMaxWidth / kLanes<T>];
    task.log ? sum_lanes<T, false>(tile, in, out, sums) : sum_lanes<T, true>(tile, in, out, sums);
    for (int64_t l = 0; l < width; l += kLanes<T>) {
      const Lanes<T>& lanes = sums[l / kLanes<T>];
      if (task.log) {
        const V<T> max = lanes.max, log_sum = lanes.log_sum();
        for (int64_t j = 0; j < tile.classes; ++j) {
          T* const x = tile.at(j) + l;
          store(x, (load(x) - max) - log_sum);
        }
      } else if (tile.classes > 1) {
        multiply_lanes(tile, l, lanes.share());
      } else {
        store(tile.data + l, lanes.top - lanes.top + 1);  // not e times 1 / e
      }
    }
    write_tile(shape, task.out, tile);
  });
}

// T is float or double, whatever x is made of.
template <class T, class S, class Each>
Summary summary_of(const LogSumExpTask& task, int64_t i, Chunk<T>* chunks, const Each& each) {
  const bool plain = is_plain<S>(task.shape, task.x);
  const int64_t from = row_offset(task.shape, task.x, i);
  const S* const u = static_cast<const S*>(task.x.data) + from;
  const Next<T, S> next{plain ? next_row(task.shape, task.x, i, u) : nullptr, nullptr};
  return summarise<T, S>(
             task.shape.classes, nullptr, chunks, next, each,
             [=, x = task.x](int64_t begin, int64_t size, S* buffer) {
               return stage(x, plain, from, begin, size, buffer);
             },
             Nothing{})
      .summary;
}

// Over exp(-inf) alone, or over nothing, -inf; +inf where there is one; NaN wins over both.
double special_logsumexp(const LogSumExpTask& task, int64_t i, double max) {
  for (int64_t j = 0; j < task.shape.classes; ++j) {
    double x;
    read(task.x, row_offset(task.shape, task.x, i) + j * task.x.class_stride, 1, &x);
    if (x != x) return NAN;
  }
  return max;
}

// Where the maximum and the logarithm cancel, double logits need more than double's digits.
double logsumexp_of(const LogSumExpTask& task, int64_t i, double max, double log_sum) {
  const double lse = max + log_sum, larger = -max > log_sum ? -max : log_sum;
  const bool cancels = max < 0 && fabs(lse) <= larger / 2;  // not where it is NaN
  if (task.x.type != Type::kFloat64 || !cancels) return lse;
  const int64_t from = row_offset(task.shape, task.x, i), stride = task.x.class_stride;
  return cancelling_logsumexp(task.shape.classes, max, [&](int64_t j, int64_t n, double* out) {
    read(task.x, from + j * stride, n, out);
  });
}

template <class T, class S>
void logsumexp_rows(const LogSumExpTask task) {
  const Shape shape = task.shape;
  const int64_t n = shape.classes;
  const int workers = workers_for(shape.rows, n);
  // Enough for double: see below.
  const Scratch<Chunk<double>> chunks(workers, 2 * chunks_of(n));
  const auto conclude = [=](int64_t i, Chunk<double>* parts, Summary s, double log_sum,
                            const auto& each) {
    double lse = s.base + log_sum;
    if (sizeof(T) == 4 && s.base < 0 && fabs(lse) < 1) {
      // The maximum and the logarithm cancel: double has the digits that float lost.
      s = summary_of<double, double>(task, i, parts + chunks_of(n), each);
      log_sum = log1p(s.ratio);
    }
    if (!each.leads()) return;
    task.out[i] = fabs(s.base) < INFINITY ? logsumexp_of(task, i, s.base, log_sum)
                                          : special_logsumexp(task, i, s.base);
  };
  const auto own_chunks = chunks.buffers();
  for_each_row(shape, workers, [=](int worker, int64_t begin, int64_t end, const auto& each) {
    constexpr int L = kLanes<double>;
    Chunk<double>* parts = own_chunks.of(worker);
    for (int64_t from = begin; from < end; from += L) {
      const int count = end - from < L ? static_cast<int>(end - from) : L;
      Summary s[L];
      double ratio[L] = {};
      for (int k = 0; k < count; ++k) {
        s[k] = summary_of<T, S>(task, from + k, reinterpret_cast<Chunk<T>*>(parts), each);
        ratio[k] = s[k].ratio;
      }
      const V<double> log_sum = log1p<double>(load(ratio));
      for (int k = 0; k < count; ++k) conclude(from + k, parts, s[k], log_sum[k], each);
    }
  });
}

// In double throughout, so that a float result has all of its digits where the maximum and the
// logarithm cancel.
void logsumexp_lanes(const LogSumExpTask task) {
  const Shape shape = task.shape;
  const int64_t width = tile_width<double>(shape, task.x);
  const int workers = tile_workers(shape, width);
  const Scratch<double> scratch(workers, width * shape.classes);
  for_each_tile<double>(shape, width, 0, scratch, workers, [=](int, const Tile<double>& tile) {
    read_tile(shape, task.x, tile);
    const Ahead next = ahead_of(shape, task.x, tile);
    double max[kMaxWidth], log_sum[kMaxWidth];
    Lanes<double> sums[kMaxWidth / kLanes<double>];
    sum_lanes<double, false>(tile, next, next, sums);
    for (int64_t l = 0; l < width; l += kLanes<double>) {
      const Lanes<double>& lanes = sums[l / kLanes<double>];
      store(max + l, lanes.max);
      store(log_sum + l, lanes.log_sum());
    }
    for (int64_t l = 0; l < tile.rows; ++l) {
      const int64_t i = tile.row + l;
      task.out[i] = fabs(max[l]) < INFINITY ? logsumexp_of(task, i, max[l], log_sum[l])
                                            : special_logsumexp(task, i, max[l]);
    }
  });
}

}  // namespace

void softmax(const SoftmaxTask& task) {
  const bool lanes = use_lanes(task.shape, task.x);
  if (task.x.type == Type::kFloat64) {
    lanes ? softmax_lanes<double>(task) : softmax_rows<double, double>(task);
  } else if (lanes) {
    softmax_lanes<float>(task);
  } else {
    with_stored<float>(task.x.type, [&](auto s) { softmax_rows<float, decltype(s)>(task); });
  }
}

void logsumexp(const LogSumExpTask& task) {
  if (use_lanes(task.shape, task.x)) return logsumexp_lanes(task);
  if (task.x.type == Type::kFloat64) return logsumexp_rows<double, double>(task);
  with_stored<float>(task.x.type, [&](auto s) { logsumexp_rows<float, decltype(s)>(task); });
}

}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
