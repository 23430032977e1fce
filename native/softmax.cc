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

// What all threads read for every row lies on pages of its own: beside what one of them writes, it
// would be taken away from the others again and again.
template <class T, class S>
class alignas(4096) SoftmaxRows {
 public:
  explicit SoftmaxRows(const SoftmaxTask& task)
      : task_(task),
        n_(task.shape.classes),
        workers_(workers_for(task.shape.rows, n_)),
        plain_x_(is_plain<S>(task.shape, task.x)),
        plain_out_(is_plain<S>(task.shape, task.out)),
        streamed_(can_stream<T, S>(task.shape, task.x, task.out), &kKind[task.log], task.shape.rows,
                  n_),
        scratch_(workers_, task.log || in_place() ? 0 : slots_of(n_) * room_for<T>(n_)),
        chunks_(workers_, slots_of(n_) * chunks_of(n_)) {}

  void run() const {
    for_each_row(task_.shape, workers_,
                 [this](int worker, int64_t begin, int64_t end, const auto& each) {
                   compute(worker, begin, end, each);
                 });
  }

 private:
  struct Row {
    int64_t i, from, to;  // where it and its result begin
    T* e;                 // its exponentials
    S* out;               // its result where it lies in memory as S
    RowSum<T> sum;
    T log_sum;
  };
  struct Pending {
    T* own;  // where its exponentials may lie
    Chunk<T>* chunks;
    Row row;
    Normaliser<T> normaliser;
  };

  // Exponentials over which nothing else is written lie where the result will.
  bool in_place() const { return plain_out_ && !streamed_ && !Stored<S>::is_half; }

  // Filled in place: a copy of what has just been written field by field waits for all of it.
  void begin_row(Row& row, int64_t i, T* own) const {
    row.i = i;
    row.from = row_offset(task_.shape, task_.x, i);
    row.to = row_offset(task_.shape, task_.out, i);
    row.out = plain_out_ ? static_cast<S*>(task_.out.data) + row.to : nullptr;
    row.e = nullptr;
    if (task_.log) return;
    row.e = row.out ? in_step(own, row.out) : own;
    if constexpr (!Stored<S>::is_half) {
      if (in_place()) row.e = row.out;
    }
  }

  const S* u_of(int64_t from, int64_t begin, int64_t size, S* buffer) const {
    return stage(task_.x, plain_x_, from, begin, size, buffer);
  }

  template <class Each>
  void compute(int worker, int64_t begin, int64_t end, const Each& each) const {
    Stream<Bits<S>> stream;
    const int64_t count = chunks_of(n_);
    Pending pending[2];
    for (int k = 0; k < 2; ++k) {
      pending[k].own = scratch_.of(worker) + k * room_for<T>(n_);
      pending[k].chunks = chunks_.of(worker) + k * count;
    }
    Behind<Pending> behind(pending);
    const auto write = [&](const Pending& last) { finish(last.row, 0, last.normaliser, &stream); };
    for (int64_t i = begin; i < end; ++i) {
      Pending& current = behind.current();
      Chunk<T>* const chunks = current.chunks;
      begin_row(current.row, i, current.own);
      sum(current.row, chunks, each);
      if (count == 1) {
        current.normaliser = normaliser_of(current.row, *chunks);
        behind.advance(write);
        continue;
      }
      const Row row = current.row;
      Stream<Bits<S>>* const past = &stream;
      each(count, [=](int64_t c, bool) {
        // What several threads write, none of them can hold back for another.
        Stream<Bits<S>> own;
        finish(row, c, normaliser_of(row, chunks[c]), Each::kShared ? &own : past);
      });
    }
    behind.flush(write);
  }

  template <class Each>
  void sum(Row& row, Chunk<T>* chunks, const Each& each) const {
    const int64_t from = row.from;
    const S* const u = static_cast<const S*>(task_.x.data) + from;
    const Next<T, S> next{
        plain_x_ ? next_row(task_.shape, task_.x, row.i, u) : nullptr,
        in_place() && row.e ? next_row<T>(task_.shape, task_.out, row.i, row.e) : nullptr};
    row.sum = summarise<NearForResult<S>>(
        n_, row.e, chunks, next, each,
        [this, from](int64_t begin, int64_t size, S* buffer) {
          return u_of(from, begin, size, buffer);
        },
        Nothing{});
    if (task_.log) row.log_sum = static_cast<T>(log1p(row.sum.summary.ratio));
  }

  Normaliser<T> normaliser_of(const Row& row, const Chunk<T>& chunk) const {
    if (task_.log) return {};
    return {row.sum.top, row.sum.summary.ratio, 1, scale_of(chunk, row.sum)};
  }

  // The result of a chunk.
  void finish(const Row& row, int64_t c, const Normaliser<T>& normaliser,
              Stream<Bits<S>>* stream) const {
    const int64_t begin = c * kChunk, size = chunk_size(n_, begin);
    Stream<Bits<S>>* const past = streamed_ ? stream : nullptr;
    S local[kChunk];
    S* const part = row.out ? row.out + begin : local;
    if (!task_.log) {
      normaliser.to_unit(row.e + begin, size);
      normaliser.apply(row.e + begin, part, size, past);
    } else {
      const S* u = u_of(row.from, begin, size, local);
      const T max = static_cast<T>(row.sum.summary.base), log_sum = row.log_sum;
      const auto at = [=](V<T> x) { return (x - max) - log_sum; };
      store_vectors<T>(
          part, size, past, [&](int64_t j) { return at(load_as<T>(u + j)); },
          [&](int64_t j, int64_t left) { return at(load_part_as(u + j, left, T(0))); });
    }
    if (!row.out) write_stored(task_.out, row.to + begin * task_.out.class_stride, size, part);
  }

  static constexpr char kKind[2] = {};  // see Streaming

  const SoftmaxTask task_;
  const int64_t n_;
  const int workers_;
  const bool plain_x_, plain_out_;
  const Streaming streamed_;
  const Scratch<T> scratch_;
  const Scratch<Chunk<T>> chunks_;
};

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
  return summarise<Near<S>, T, S>(
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
  // Enough for double, and twice: while some write the second sum's, another may still read the
  // first's.
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
    lanes ? softmax_lanes<double>(task) : SoftmaxRows<double, double>(task).run();
  } else if (lanes) {
    softmax_lanes<float>(task);
  } else {
    with_stored<float>(task.x.type, [&](auto s) { SoftmaxRows<float, decltype(s)>(task).run(); });
  }
}

void logsumexp(const LogSumExpTask& task) {
  if (use_lanes(task.shape, task.x)) return logsumexp_lanes(task);
  if (task.x.type == Type::kFloat64) return logsumexp_rows<double, double>(task);
  with_stored<float>(task.x.type, [&](auto s) { logsumexp_rows<float, decltype(s)>(task); });
}

}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
