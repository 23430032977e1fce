#include "runtime/processors.h"

#ifdef __linux__
#include <pthread.h>
#include <sched.h>
#endif

#include <algorithm>
#include <fstream>
#include <thread>

namespace softxent {
namespace {

// Processor time divided by its period; 0 for no limit. Version 1 of control groups writes -1 for
// none and version 2 "max"; both give 0.
double share(std::istream& quota_text, std::istream& period_text) {
  double quota = 0, period = 0;
  if (!(quota_text >> quota) || !(period_text >> period) || quota <= 0 || period <= 0) return 0;
  return quota / period;
}

double version_2(const std::string& folder) {
  std::ifstream limit(folder + "/cpu.max");  // "200000 100000", or "max 100000"
  return share(limit, limit);
}

double version_1(const std::string& folder) {
  std::ifstream quota(folder + "/cpu.cfs_quota_us"), period(folder + "/cpu.cfs_period_us");
  return share(quota, period);
}

// The lowest limit of a group and of the groups that contain it.
template <class Limit>
double tightest(const std::string& mount, std::string group, const Limit& limit) {
  double least = 0;
  for (;;) {
    const double found = limit(mount + (group == "/" ? "" : group));
    if (found > 0 && (least == 0 || found < least)) least = found;
    const size_t slash = group.find_last_of('/');
    if (group.empty() || slash == std::string::npos) return least;
    group.erase(slash);
  }
}

}  // namespace

int processors_granted(const std::string& root) {
  std::ifstream groups(root + "/proc/self/cgroup");  // lines like "0::/user.slice" or "4:cpu:/a"
  double least = 0;
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
    const std::string group = line.substr(second + 1), mounts = root + "/sys/fs/cgroup";
    double found = 0;
    if (controllers == ",,") {
      found = tightest(mounts, group, version_2);
    } else if (controllers.find(",cpu,") != std::string::npos) {
      found = tightest(mounts + "/cpu", group, version_1);
    }
    if (found > 0 && (least == 0 || found < least)) least = found;
  }
  if (least == 0) return 0;
  const double whole = std::min(least, 1e6);
  return std::max(1, static_cast<int>(whole) + (whole > static_cast<int>(whole) ? 1 : 0));
}

int usable_processors() {
  int count = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
#ifdef __linux__
  cpu_set_t set;
  if (pthread_getaffinity_np(pthread_self(), sizeof(set), &set) == 0) count = CPU_COUNT(&set);
  const int granted = processors_granted("");
  if (granted > 0) count = std::min(count, granted);
#endif
  return std::max(1, count);
}

}  // namespace softxent
