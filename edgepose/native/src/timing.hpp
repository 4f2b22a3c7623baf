// Latency by a monotonic clock: warm-up until it settles, every raw sample kept. As
// edgepose/device/timing.py.
#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <vector>

namespace edgepose {

constexpr double kSettled = 0.05;  // warm-up ends when two windows' medians differ by less than this

inline std::int64_t now_ns() {
  using std::chrono::steady_clock;
  return std::chrono::duration_cast<std::chrono::nanoseconds>(steady_clock::now().time_since_epoch())
      .count();
}

inline double median(std::vector<std::int64_t> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return 0.5 * (static_cast<double>(values[(n - 1) / 2]) + static_cast<double>(values[n / 2]));
}

struct Timing {
  std::int64_t count = 0;  // timed calls
  int warmup_calls = 0;
  bool settled = true;  // false: the warm-up ended at its limit with the times still drifting
};

// Time calls of `call`, which returns when its work is done. After `warmup` calls more follow, up to
// `max_warmup`, until they settle; timing goes on until `repeats` and `min_seconds` are both reached.
// `keep` gets each timed call's nanoseconds, outside of what is timed.
template <class Call, class Keep>
Timing measure(Call call, int warmup, int max_warmup, int repeats, double min_seconds, Keep keep) {
  const auto one_call = [&] {
    const std::int64_t start = now_ns();
    call();
    return now_ns() - start;
  };
  std::vector<std::int64_t> warm;
  for (int i = 0; i < warmup; ++i) warm.push_back(one_call());
  Timing timing;
  timing.settled = warmup == 0;
  while (!timing.settled && static_cast<int>(warm.size()) < max_warmup) {
    warm.push_back(one_call());
    if (static_cast<int>(warm.size()) >= 2 * warmup) {
      const double before = median({warm.end() - 2 * warmup, warm.end() - warmup});
      const double last = median({warm.end() - warmup, warm.end()});
      timing.settled = std::abs(last - before) <= kSettled * before;
    }
  }
  timing.warmup_calls = static_cast<int>(warm.size());
  const std::int64_t begin = now_ns();
  while (timing.count < repeats || static_cast<double>(now_ns() - begin) < min_seconds * 1e9) {
    keep(one_call());
    ++timing.count;
  }
  return timing;
}

}  // namespace edgepose
