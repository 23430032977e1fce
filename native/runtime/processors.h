// How many processors this process may use.
#pragma once

#include <string>

namespace softxent {

// At least 1, and no more than the affinity mask allows. On Linux also no more than the processor
// time that control groups grant: a container with the time of two processors on a machine of
// sixty-four would be paused most of the time if sixty-four threads shared it.
int usable_processors();

// The limit of the control groups in processors, rounded up; 0 where there is none. `root` is the
// directory that contains /proc and /sys: tests use their own.
int processors_granted(const std::string& root);

}  // namespace softxent
