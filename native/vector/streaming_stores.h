// Arrays written in whole vectors, with ordinary or with non-temporal (streaming) stores.
#pragma once

#include "runtime/cache_line.h"
#include "vector/vector.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// Writes with non-temporal stores an array that comes in pieces, each where the last one ended. A
// cache line that two pieces share is buffered until it is complete: written in halves, it would be
// read from memory first. Half types take longer to compute than to write; for them a vector is
// buffered instead of a line, which was measured to be faster.
template <class T>
class StreamWriter {
 public:
  StreamWriter() = default;
  ~StreamWriter() { flush(); }
  StreamWriter(const StreamWriter&) = delete;
  void operator=(const StreamWriter&) = delete;

  // The first n lanes, to p: no further than to the end of the vector that p lies in.
  void add(T* p, V<T> v, int64_t n) {
    if (p != end_) flush();
    if (begin_ == end_) begin_ = p;
    T* const place = buffer_ + place_of(p);
    if (kLine > kLanes<T> && n == kLanes<T>) {
      store(place, v);
    } else {
      store_part(place, v, n);
    }
    end_ = p + n;
    if (place_of(end_) != 0) return;
    if (place_of(begin_) == 0) {
      for (int64_t i = 0; i < kLine; i += kLanes<T>) stream_store(begin_ + i, load(buffer_ + i));
      begin_ = end_;
    } else {
      flush();
    }
  }

  static constexpr int64_t kLine =
      sizeof(T) == 2 ? kLanes<T> : kCacheLine / static_cast<int64_t>(sizeof(T));
  static int64_t place_of(const T* p) {  // in its cache line
    return static_cast<int64_t>(reinterpret_cast<uintptr_t>(p) % (kLine * sizeof(T)) / sizeof(T));
  }

 private:
  void flush() {
    for (; begin_ < end_; ++begin_) *begin_ = buffer_[place_of(begin_)];
  }

  T *begin_ = nullptr, *end_ = nullptr;  // the buffered range
  alignas(64) T buffer_[kLine];
};

// Fills out[0, n) with whole(begin) and, where a vector isn't whole, part(begin, count): before the
// first aligned vector and after the last. With non-temporal stores where a stream is given.
template <class T, class Whole, class Part>
inline void write_vectors(T* out, int64_t n, StreamWriter<T>* stream_or_null, const Whole& whole,
                          const Part& part) {
  constexpr int L = kLanes<T>;
  const auto over = static_cast<int64_t>(reinterpret_cast<uintptr_t>(out) % kVectorBytes);
  const int64_t head = over == 0 ? 0 : L - over / static_cast<int64_t>(sizeof(T));
  const auto some = [&](int64_t i, int64_t count) {
    const V<T> v = part(i, count);
    stream_or_null ? stream_or_null->add(out + i, v, count) : store_part(out + i, v, count);
  };
  int64_t i = 0;
  if (head > 0) {
    i = head < n ? head : n;
    some(0, i);
  }
  if (stream_or_null) {
    constexpr int64_t kLine = StreamWriter<T>::kLine;
    if constexpr (kLine == L) {
      for (; i + L <= n; i += L) stream_store(out + i, whole(i));
    } else {
      const auto hold = [&](int64_t at)
                            SOFTXENT_INLINE { stream_or_null->add(out + at, whole(at), L); };
      for (; i + L <= n && StreamWriter<T>::place_of(out + i) != 0; i += L) hold(i);
      for (; i + kLine <= n; i += kLine) {
#pragma GCC unroll 4
        for (int64_t k = 0; k < kLine; k += L) stream_store(out + i + k, whole(i + k));
      }
      for (; i + L <= n; i += L) hold(i);
    }
  } else {
    for (; i + 4 * L <= n; i += 4 * L) {
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) store(out + i + k * L, whole(i + k * L));
    }
    for (; i + L <= n; i += L) store(out + i, whole(i));
  }
  if (i < n) some(i, n - i);
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
