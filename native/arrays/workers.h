// Work shared by several threads, and the buffers of each of them.
#pragma once

#include <stddef.h>

#include <new>

#include "levels.h"
#include "runtime/cache_line.h"
#include "runtime/parallel.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// One buffer of `count` T for each worker. They are aligned to cache lines and lie pages apart: a
// prefetch beyond the end of one would otherwise take cache lines away from the next worker.
template <class T>
class Scratch {
 public:
  struct Buffers {
    char* first;
    int64_t stride;
    T* of(int worker) const { return reinterpret_cast<T*>(first + stride * worker); }
  };

  Scratch(int workers, int64_t count)
      : stride_(workers > 1 ? (count * kSize + 2 * kPage - 1) / kPage * kPage : count * kSize),
        data_(count > 0 ? static_cast<char*>(
                              ::operator new(static_cast<size_t>(stride_ * workers + kCacheLine)))
                        : nullptr) {}
  ~Scratch() { ::operator delete(data_); }
  Scratch(const Scratch&) = delete;
  void operator=(const Scratch&) = delete;

  Buffers buffers() const {
    constexpr uintptr_t kLine = kCacheLine;
    const uintptr_t begin = (reinterpret_cast<uintptr_t>(data_) + kLine - 1) / kLine * kLine;
    return {reinterpret_cast<char*>(begin), stride_};
  }
  T* of(int worker) const { return buffers().of(worker); }

 private:
  static constexpr int64_t kPage = 4096, kSize = sizeof(T);
  int64_t stride_;
  char* data_;
};

// Runs f(worker) in several threads, for `count` items of `cost` elements. Each works on a copy of
// f, which therefore holds values: whenever the caller writes to its own stack, the other threads
// would lose the cache lines they read from it.
template <class F>
inline void run_workers(int workers, int64_t count, int64_t cost, int64_t kept, const F& f) {
  const auto body = [](void* context, Worker& worker) {
    const F own = *static_cast<const F*>(context);
    own(worker);
  };
  parallel_for(workers, {count, cost, kept, const_cast<F*>(&f), body});
}

// Runs f(worker, begin, end) in several threads, for ranges that cover [0, count).
template <class F>
inline void parallel_ranges(int workers, int64_t count, int64_t cost, const F& f) {
  run_workers(workers, count, cost, 0, [=](Worker& worker) {
    for (int64_t begin, end; worker.next(&begin, &end);) f(worker.id(), begin, end);
  });
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
