// Which thread computes which part of which row, and in which order rows are written.
#pragma once

#include "arrays/workers.h"
#include "row/chunks.h"
#include "runtime/streaming.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// How many rows have exponentials and chunks at the same time: two short ones, see WritePipeline.
inline int64_t slots_of(int64_t classes) { return chunks_of(classes) == 1 ? 2 : 1; }

// A short row is written after the exponentials of the next row have been computed: the divisions
// between its sum and its factors depend on each other, and the processor needn't wait for them.
// Two rows alternate.
template <class Row>
class WritePipeline {
 public:
  explicit WritePipeline(Row (&rows)[2]) : current_(rows), last_(rows + 1) {}

  Row& current() const { return *current_; }

  // Ends the current row; write(row) writes the one before it.
  template <class Write>
  void advance(const Write& write) {
    flush(write);
    Row* const next = last_;
    last_ = current_;
    current_ = next;
    waits_ = true;
  }
  template <class Write>
  void flush(const Write& write) const {
    if (waits_) write(*last_);
  }

 private:
  Row *current_, *last_;
  bool waits_ = false;
};

// How the chunks of a row are computed: by one thread, or by several. Everything that isn't a
// chunk's, each of the threads computes for itself, to the same bits, and the leader alone writes
// it. The results of other threads may be read after join().
struct SingleWorker {
  static constexpr bool kIsShared = false;
  bool is_leader() const { return true; }
  template <class F>
  void operator()(int64_t count, const F& f) const {
    for (int64_t c = 0; c < count; ++c) f(c, c + 1 < count);
  }
  void join() const {}
};
struct SharedByWorkers {
  static constexpr bool kIsShared = true;
  Worker& worker;
  bool is_leader() const { return worker.id() == 0; }
  template <class F>
  void operator()(int64_t, const F& f) const {
    for (int64_t begin, end; worker.next(&begin, &end);) {
      for (int64_t c = begin; c < end; ++c) {
        f(c, c + 1 < end || (worker.owns(c) && worker.owns(c + 1)));
      }
    }
    stream_fence();
  }
  void join() const { worker.join(); }
};

// Computes ranges of rows in parallel; or, where there are fewer rows than threads and they are
// long, one row after another with all threads. Calls work(worker, begin, end, each), with the
// scratch buffers of `worker`.
template <class Work>
inline void for_each_row(const Shape& shape, int workers, const Work& work) {
  constexpr int64_t kOwnChunks =
      6;  // two microseconds, as long as moving them between caches takes
  constexpr int64_t kLeastChunks =
      4;  // with fewer, waiting for the others takes longer than the work
  const int64_t chunks = chunks_of(shape.classes);
  const int most = workers_for(chunks, kChunk);
  const int sharing = most * kLeastChunks < chunks ? most : static_cast<int>(chunks / kLeastChunks);
  if (shape.rows < get_num_threads() && sharing > 1) {
    for (int64_t i = 0; i < shape.rows; ++i) {
      const auto one = [=](Worker& worker) { work(0, i, i + 1, SharedByWorkers{worker}); };
      run_workers(sharing, chunks, kChunk, kOwnChunks, one);
    }
    return;
  }
  parallel_ranges(workers, shape.rows, shape.classes, [=](int worker, int64_t begin, int64_t end) {
    work(worker, begin, end, SingleWorker());
    stream_fence();
  });
}

// Whether rows may be written to `out` with non-temporal stores. If they are, their exponentials
// are kept elsewhere: stores to lines that a cache holds aren't non-temporal.
template <class T, class S>
inline bool can_stream(const Shape& shape, const Array& in, const Array& out) {
  constexpr int64_t kShortest = 16
                                << 20;  // a shorter result may still be in a cache when it is used
  constexpr int64_t kLongestRow =
      1 << 20;  // of exponentials, so that the second-level cache holds them
  const int64_t row = shape.classes * static_cast<int64_t>(sizeof(S));
  return out.data && out.data != in.data && is_contiguous<S>(shape, out) &&
         shape.classes * static_cast<int64_t>(sizeof(T)) <= kLongestRow &&
         row * shape.rows >= kShortest;
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
