#include "streaming.h"

#include <algorithm>
#include <atomic>
#include <chrono>

#include "parallel.h"

namespace softxent {
namespace {

bool alike(const Call& a, const Call& b) {
  return a.kind == b.kind && a.rows == b.rows && a.classes == b.classes && a.threads == b.threads;
}

int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// Held for moments. Who finds it held goes without: a lock could be waited for in the child of a
// fork, where its holder doesn't exist.
class Held {
 public:
  Held() : held_(!flag_.test_and_set(std::memory_order_acquire)) {}
  ~Held() {
    if (held_) flag_.clear(std::memory_order_release);
  }
  Held(const Held&) = delete;
  void operator=(const Held&) = delete;

  explicit operator bool() const { return held_; }
  Turns& turns() const { return turns_; }

 private:
  static std::atomic_flag flag_;
  static Turns turns_;
  const bool held_;
};
std::atomic_flag Held::flag_ = ATOMIC_FLAG_INIT;
Turns Held::turns_;

}  // namespace

bool Turns::streams(const Call& call) {
  if (call.threads != last_.threads) *this = Turns();
  if (count_ == kComparisons) return decision_;
  return !alike(call, last_) || !last_streamed_;
}

void Turns::took(const Call& call, bool streamed, double seconds) {
  if (count_ < kComparisons && alike(call, last_) && streamed != last_streamed_) {
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

bool Turns::last_streamed() const { return last_streamed_; }

bool last_streamed() {
  const Held held;
  return held && held.turns().last_streamed();
}

Streaming::Streaming(bool possible, const void* kind, int64_t rows, int64_t classes)
    : call_{kind, rows, classes, possible ? get_num_threads() : 0}, streams_(possible) {
  if (!possible) return;
  const Held held;
  if (!held) return;
  streams_ = held.turns().streams(call_);
  measured_ = true;
  begin_ = now();
}

Streaming::~Streaming() {
  if (!measured_) return;
  const double seconds = static_cast<double>(now() - begin_) * 1e-9;
  const Held held;
  if (held) held.turns().took(call_, streams_, seconds);
}

}  // namespace softxent
