// Predicts from the pauses between jobs whether the next one comes soon.
#pragma once

namespace softxent {

// What follows two pauses is expected to be what followed two such pauses the last time. A training
// loop calls in a rhythm: a loss and soon its gradient, and then nothing for a while.
class Rhythm {
 public:
  // Records whether the pause before this job was short, and returns whether the next one will be.
  bool add(bool is_short) {
    followed_by_short_[last_two_] = is_short;
    last_two_ = (2 * last_two_ + (is_short ? 1 : 0)) % 4;
    return followed_by_short_[last_two_];
  }

 private:
  bool followed_by_short_[4] = {};
  int last_two_ = 0;
};

}  // namespace softxent
