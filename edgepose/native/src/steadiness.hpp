// Were the times steady? Drift, throttling and outliers, in the words of edgepose/device/steadiness.py.
#pragma once

#include <algorithm>
#include <cstdio>
#include <string>
#include <vector>

#include "board.hpp"

namespace edgepose {

inline double median_ms(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return 0.5 * (values[(values.size() - 1) / 2] + values[values.size() / 2]);
}

inline std::vector<std::string> throttling(const Clocks& before, const Clocks& after) {
  std::vector<std::string> found;
  char text[200];
  if (before.throttled >= 0 && after.throttled > before.throttled) {
    std::snprintf(text, sizeof text, "the CPU was throttled %.0f times", after.throttled - before.throttled);
    found.push_back(text);
  }
  for (const auto& [name, state] : after.cooling) {
    const auto was = before.cooling.find(name);
    if (state > (was == before.cooling.end() ? 0 : was->second)) {
      std::snprintf(text, sizeof text, "cooling by %.100s rose to step %.0f", name.c_str(), state);
      found.push_back(text);
    }
  }
  if (before.gpu_hz > 0 && after.gpu_hz > 0 && after.gpu_hz < 0.9 * before.gpu_hz) {
    std::snprintf(text, sizeof text, "the GPU clock fell from %.0f to %.0f MHz", before.gpu_hz / 1e6,
                  after.gpu_hz / 1e6);
    found.push_back(text);
  }
  return found;
}

inline std::vector<std::string> steadiness_notes(const std::string& what, const std::vector<double>& ms,
                                                 const Clocks& before, const Clocks& after) {
  std::vector<std::string> notes;
  std::string causes;
  for (const std::string& cause : throttling(before, after)) causes += (causes.empty() ? "" : "; ") + cause;
  if (!causes.empty()) notes.push_back("throttling (" + what + "): " + causes);
  char text[240];
  const auto third = static_cast<std::ptrdiff_t>(ms.size() / 3);
  if (third >= 10) {
    const double change =
        median_ms({ms.end() - third, ms.end()}) / median_ms({ms.begin(), ms.begin() + third}) - 1;
    if (std::abs(change) > 0.05) {
      std::snprintf(text, sizeof text, "drift (%s): the last third of the calls was %.0f%% %s than the first%s",
                    what.c_str(), 100 * std::abs(change), change > 0 ? "slower" : "faster",
                    causes.empty() ? "; the machine throttled, or other work came and went" : "");
      notes.push_back(text);
    }
  }
  if (!ms.empty()) {
    const double limit = 3 * median_ms(ms);
    const auto far = std::count_if(ms.begin(), ms.end(), [&](double value) { return value > limit; });
    const double share = static_cast<double>(far) / static_cast<double>(ms.size());
    if (share > 0.01) {
      std::snprintf(text, sizeof text, "outliers (%s): %.1f%% of the calls took over 3 times the median",
                    what.c_str(), 100 * share);
      notes.push_back(text);
    }
  }
  return notes;
}

}  // namespace edgepose
