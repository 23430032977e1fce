#include "runtime/streaming.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "runtime/parallel.h"

namespace softxent {
namespace {

bool similar(const Call& a, const Call& b) {
  return a.kind == b.kind && a.rows == b.rows && a.classes == b.classes && a.threads == b.threads;
}

int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// A lock held for moments. A caller that can't take it goes without: in the child of a fork it
// might wait for ever, because the thread that held it doesn't exist there.
class TryLock {
 public:
  TryLock() : owned_(!flag_.test_and_set(std::memory_order_acquire)) {}
  ~TryLock() {
    if (owned_) flag_.clear(std::memory_order_release);
  }
  TryLock(const TryLock&) = delete;
  void operator=(const TryLock&) = delete;

  explicit operator bool() const { return owned_; }
  AlternatingStores& state() const { return state_; }

 private:
  static std::atomic_flag flag_;
  static AlternatingStores state_;
  const bool owned_;
};
std::atomic_flag TryLock::flag_ = ATOMIC_FLAG_INIT;
AlternatingStores TryLock::state_;

}  // namespace

bool AlternatingStores::streams(const Call& call) {
  if (call.threads != last_.threads) *this = AlternatingStores();
  if (count_ == kComparisons) return decision_;
  return !similar(call, last_) || !last_streamed_;
}

void AlternatingStores::record(const Call& call, bool streamed, double seconds) {
  if (count_ < kComparisons && similar(call, last_) && streamed != last_streamed_) {
    ratios_[count_++] = streamed ? seconds / last_seconds_ : last_seconds_ / seconds;
    if (count_ == kComparisons) {
      std::nth_element(ratios_, ratios_ + kComparisons / 2, ratios_ + kComparisons);
      decision_ = ratios_[kComparisons / 2] <= kWorth;
    }
  }
  last_ = call;
  last_streamed_ = streamed;
  last_seconds_ = seconds;
}

bool AlternatingStores::last_streamed() const { return last_streamed_; }

bool last_streamed() {
  const TryLock lock;
  return lock && lock.state().last_streamed();
}

Streaming::Streaming(bool possible, const void* kind, int64_t rows, int64_t classes)
    : call_{kind, rows, classes, possible ? get_num_threads() : 0}, streams_(possible) {
  if (!possible) return;
  const TryLock lock;
  if (!lock) return;
  streams_ = lock.state().streams(call_);
  measured_ = true;
  begin_ = now();
}

Streaming::~Streaming() {
  if (!measured_) return;
  const double seconds = static_cast<double>(now() - begin_) * 1e-9;
  const TryLock lock;
  if (lock) lock.state().record(call_, streams_, seconds);
}

}  // namespace softxent
