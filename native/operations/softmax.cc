// softmax and log_softmax of rows.
#include "arrays/side_by_side.h"
#include "lanes/sums.h"
#include "row/normalizer.h"
#include "row/scheduling.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// What all threads read for every row is on pages of its own: beside data that one of them writes,
// its cache lines would be taken away from the others again and again.
template <class T, class S>
class alignas(4096) SoftmaxRows {
 public:
  explicit SoftmaxRows(const SoftmaxTask& task)
      : task_(task),
        n_(task.shape.classes),
        workers_(workers_for(task.shape.rows, n_)),
        plain_x_(is_contiguous<S>(task.shape, task.x)),
        plain_out_(is_contiguous<S>(task.shape, task.out)),
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
    int64_t i, from, to;  // where the row and its result begin
    T* e;                 // its exponentials
    S* out;               // its result where that is contiguous, else null
    RowSum<T> sum;
    T log_sum;
  };
  struct Pending {
    T* own;  // a buffer for its exponentials
    Chunk<T>* chunks;
    Row row;
    Normalizer<T> normalizer;
  };

  // Whether the exponentials are written to the result and then multiplied there.
  bool in_place() const { return plain_out_ && !streamed_ && !Storage<S>::is_half; }

  // Filled in place: copying a struct that has just been written field by field waits for all its
  // stores.
  void begin_row(Row& row, int64_t i, T* own) const {
    row.i = i;
    row.from = row_offset(task_.shape, task_.x, i);
    row.to = row_offset(task_.shape, task_.out, i);
    row.out = plain_out_ ? static_cast<S*>(task_.out.data) + row.to : nullptr;
    row.e = nullptr;
    if (task_.log) return;
    row.e = row.out ? align_like(own, row.out) : own;
    if constexpr (!Storage<S>::is_half) {
      if (in_place()) row.e = row.out;
    }
  }

  const S* u_of(int64_t from, int64_t begin, int64_t size, S* buffer) const {
    return stage(task_.x, plain_x_, from, begin, size, buffer);
  }

  template <class Each>
  void compute(int worker, int64_t begin, int64_t end, const Each& each) const {
    StreamWriter<Bits<S>> stream;
    const int64_t count = chunks_of(n_);
    Pending pending[2];
    for (int k = 0; k < 2; ++k) {
      pending[k].own = scratch_.of(worker) + k * room_for<T>(n_);
      pending[k].chunks = chunks_.of(worker) + k * count;
    }
    WritePipeline<Pending> pipeline(pending);
    const auto write = [&](const Pending& last) {
      write_result(last.row, 0, last.normalizer, &stream);
    };
    for (int64_t i = begin; i < end; ++i) {
      Pending& current = pipeline.current();
      Chunk<T>* const chunks = current.chunks;
      begin_row(current.row, i, current.own);
      sum(current.row, chunks, each);
      if (count == 1) {
        current.normalizer = normalizer_of(current.row, *chunks);
        pipeline.advance(write);
        continue;
      }
      const Row row = current.row;
      StreamWriter<Bits<S>>* const stream_or_null = &stream;
      each(count, [=](int64_t c, bool) {
        // One thread can't buffer a cache line that another thread completes.
        StreamWriter<Bits<S>> own;
        write_result(row, c, normalizer_of(row, chunks[c]),
                     Each::kIsShared ? &own : stream_or_null);
      });
    }
    pipeline.flush(write);
  }

  template <class Each>
  void sum(Row& row, Chunk<T>* chunks, const Each& each) const {
    const int64_t from = row.from;
    const S* const u = static_cast<const S*>(task_.x.data) + from;
    const NextRow<T, S> next{
        plain_x_ ? next_row(task_.shape, task_.x, row.i, u) : nullptr,
        in_place() && row.e ? next_row<T>(task_.shape, task_.out, row.i, row.e) : nullptr};
    row.sum = sum_row<UnshiftedExpForResult<S>>(
        n_, row.e, chunks, next, each,
        [this, from](int64_t begin, int64_t size, S* buffer) {
          return u_of(from, begin, size, buffer);
        },
        Nothing{});
    if (task_.log) row.log_sum = static_cast<T>(log1p(row.sum.saved.tail_sum));
  }

  Normalizer<T> normalizer_of(const Row& row, const Chunk<T>& chunk) const {
    if (task_.log) return {};
    return {row.sum.top, row.sum.saved.tail_sum, 1, scale_of(chunk, row.sum)};
  }

  // Writes the result of a chunk.
  void write_result(const Row& row, int64_t c, const Normalizer<T>& normalizer,
                    StreamWriter<Bits<S>>* stream) const {
    const int64_t begin = c * kChunk, size = chunk_size(n_, begin);
    StreamWriter<Bits<S>>* const stream_or_null = streamed_ ? stream : nullptr;
    S local[kChunk];
    S* const part = row.out ? row.out + begin : local;
    if (!task_.log) {
      normalizer.apply_prescale(row.e + begin, size);
      normalizer.apply(row.e + begin, part, size, stream_or_null);
    } else {
      const S* u = u_of(row.from, begin, size, local);
      const T max = static_cast<T>(row.sum.saved.base), log_sum = row.log_sum;
      const auto at = [=](V<T> x) { return (x - max) - log_sum; };
      write_converted<T>(
          part, size, stream_or_null, [&](int64_t j) { return at(load_as<T>(u + j)); },
          [&](int64_t j, int64_t left) { return at(load_part_as(u + j, left, T(0))); });
    }
    if (!row.out) write_raw(task_.out, row.to + begin * task_.out.class_stride, size, part);
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
  for_each_tile<T>(shape, width, scratch, workers, [=](int, const Tile<T>& tile) {
    read_tile(shape, task.x, tile);
    const TilePrefetch in = prefetch_after(shape, task.x, tile),
                       out = prefetch_after(shape, task.out, tile);
    LaneSums<T> sums[kMaxWidth / kLanes<T>];
    task.log ? sum_lanes<T, false>(tile, in, out, sums) : sum_lanes<T, true>(tile, in, out, sums);
    for (int64_t l = 0; l < width; l += kLanes<T>) {
      const LaneSums<T>& lanes = sums[l / kLanes<T>];
      if (task.log) {
        const V<T> max = lanes.base, log_sum = lanes.log_sum();
        for (int64_t j = 0; j < tile.classes; ++j) {
          T* const x = tile.at(j) + l;
          store(x, (load(x) - max) - log_sum);
        }
      } else if (tile.classes > 1) {
        multiply_lanes(tile, l, lanes.reciprocal_sum());
      } else {
        store(tile.data + l, lanes.top - lanes.top + 1);  // not e times 1 / e, which is rounded
      }
    }
    write_tile(shape, task.out, tile);
  });
}

void softmax_transposed(const SoftmaxTask task) {
  const Shape shape = task.shape;
  const int64_t n = shape.classes;
  for_each_part_of_rows(shape, n * size_of(task.x.type),
                        [=](int64_t row, int64_t count, char* buffer) {
                          SoftmaxTask part = task;
                          part.shape = {count, n, 1, {count}};
                          part.x = transposed(rows_of(shape, task.x, row), count, n, buffer);
                          part.out = rows_of(shape, task.out, row);
                          const Array result = part.out;
                          const bool back = lie_side_by_side(shape, task.out);
                          if (back) part.out = part.x;
                          softmax(part);
                          if (back) copy_transposed(result, count, n, buffer, true);
                        });
}

}  // namespace

void softmax(const SoftmaxTask& task) {
  const bool lanes = use_lanes(task.shape);
  if (!lanes && lie_side_by_side(task.shape, task.x)) return softmax_transposed(task);
  if (task.x.type == Type::kFloat64) {
    lanes ? softmax_lanes<double>(task) : SoftmaxRows<double, double>(task).run();
  } else if (lanes) {
    softmax_lanes<float>(task);
  } else {
    with_stored<float>(task.x.type, [&](auto s) { SoftmaxRows<float, decltype(s)>(task).run(); });
  }
}

}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
