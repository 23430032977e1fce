// Whether results too long for the caches are written past them: found out on the work itself.
//
// It spares the memory a third of what it would move, and where memory is what all of a processor's
// cores wait for, that counts. But a line that is written past the caches occupies its core until
// the memory has taken it: where a few cores of a server work, it costs a sixth of the time
// instead. So calls alike that follow one another take turns, and the way that took less time is
// the one for the calls after them. The bits are the same either way.
#pragma once

#include <cstdint>

namespace softxent {

struct Call {
  const void* kind;  // another address for each way to compute something
  int64_t rows, classes;
  int threads;
};

// The turns and what they came to, without a clock.
class Turns {
 public:
  bool streams(const Call& call);  // whether this one is to
  void took(const Call& call, bool streamed, double seconds);
  bool last_streamed() const;

 private:
  static constexpr int kComparisons = 9;  // two calls that something held up spoil four of them
  static constexpr double kWorth = 1.05;  // streaming leaves the caches to others: it may cost that

  Call last_{};
  bool last_streamed_ = false, decision_ = true;
  double last_seconds_ = 0, ratios_[kComparisons] = {};
  int count_ = 0;
};

// Whether the last call that could be streamed was.
bool last_streamed();

// One call, from its beginning to its end.
class Streaming {
 public:
  Streaming(bool possible, const void* kind, int64_t rows, int64_t classes);
  ~Streaming();
  Streaming(const Streaming&) = delete;
  void operator=(const Streaming&) = delete;

  // Always inlined: a copy that a kernel's file emitted could be one that this processor can't run.
  __attribute__((always_inline)) operator bool() const { return streams_; }

 private:
  const Call call_;
  bool streams_, measured_ = false;
  int64_t begin_ = 0;  // in nanoseconds
};

}  // namespace softxent
