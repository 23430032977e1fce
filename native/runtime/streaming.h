// Decides by timing whether results too large for the caches are written with non-temporal stores.
//
// They spare the memory a third of the traffic, which counts where all cores of a processor wait
// for memory. But each such store occupies its core until the memory has taken the line: where few
// cores of a server work, it costs a sixth of the time instead. So successive similar calls
// alternate between both kinds of store, and the faster one is used from then on. The bits are the
// same either way.
#pragma once

#include <cstdint>

namespace softxent {

struct Call {
  const void* kind;  // a different address for each kind of computation
  int64_t rows, classes;
  int threads;
};

// The alternation and its result, without a clock.
class AlternatingStores {
 public:
  bool streams(const Call& call);  // whether this call is to stream
  void record(const Call& call, bool streamed, double seconds);
  bool last_streamed() const;

 private:
  static constexpr int kComparisons = 9;  // two delayed calls spoil four of them
  static constexpr double kWorth = 1.05;  // streaming spares the caches: it may cost 5 % more

  Call last_{};
  bool last_streamed_ = false, decision_ = true;
  double last_seconds_ = 0, ratios_[kComparisons] = {};
  int count_ = 0;
};

// Whether the last call that could stream did so.
bool last_streamed();

// One call, timed from construction to destruction.
class Streaming {
 public:
  Streaming(bool possible, const void* kind, int64_t rows, int64_t classes);
  ~Streaming();
  Streaming(const Streaming&) = delete;
  void operator=(const Streaming&) = delete;

  // Always inlined: a copy emitted by a kernel file could be one that this processor can't run.
  __attribute__((always_inline)) operator bool() const { return streams_; }

 private:
  const Call call_;
  bool streams_, measured_ = false;
  int64_t begin_ = 0;  // in nanoseconds
};

}  // namespace softxent
