// How many processors this process may use.
#pragma once

#include <string>

namespace softxent {

// At least 1, and no more than the affinity mask allows. On Linux also no more than the control
// groups grant in processor time: a container with two processors' worth of it on a machine with
// sixty-four is stopped for most of the time when sixty-four threads share it.
int usable_processors();

// What the control groups grant, in processors, rounded up; 0 where they set no limit. `root` is
// where /proc and /sys are found: the tests bring their own.
int processors_granted(const std::string& root);

}  // namespace softxent
