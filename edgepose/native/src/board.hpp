// The board as it was found; only read. The keys are those of edgepose/device/board.py, null where
// nothing could be read.
#pragma once

#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>
#ifdef __ANDROID__
#include <sys/system_properties.h>
#endif

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "json.hpp"

namespace edgepose {

inline std::optional<std::string> read_text(const std::string& path) {
  std::ifstream stream(path, std::ios::binary);
  if (!stream) return std::nullopt;
  std::ostringstream text;
  text << stream.rdbuf();
  const std::string found = text.str();
  const std::string blank("\0 \n\t", 4);
  const std::size_t from = found.find_first_not_of(blank);
  if (from == std::string::npos) return std::nullopt;
  return found.substr(from, found.find_last_not_of(blank) - from + 1);
}

inline std::optional<double> read_number(const std::string& path) {
  const auto text = read_text(path);
  if (!text) return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(text->c_str(), &end);
  if (end == text->c_str() || *end != '\0') return std::nullopt;
  return value;
}

template <class Value>
Json or_null(const std::optional<Value>& value) {
  return value ? Json(*value) : Json(nullptr);
}

// Entries of a folder whose name begins with `prefix`, sorted; none where it may not be listed.
inline std::vector<std::string> entries(const std::string& folder, const std::string& prefix) {
  std::vector<std::string> found;
  std::error_code failed;
  for (std::filesystem::directory_iterator at(folder, failed), end; !failed && at != end;
       at.increment(failed)) {
    if (at->path().filename().string().rfind(prefix, 0) == 0) found.push_back(at->path().string());
  }
  std::sort(found.begin(), found.end());
  return found;
}

// The first value of a key of /proc/cpuinfo, in lower case where `lower`.
inline std::optional<std::string> cpuinfo(const std::string& key) {
  std::ifstream stream("/proc/cpuinfo");
  for (std::string line; std::getline(stream, line);) {
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    std::string name = line.substr(0, colon);
    name.erase(name.find_last_not_of(" \t") + 1);
    std::transform(name.begin(), name.end(), name.begin(), ::tolower);
    const std::size_t from = line.find_first_not_of(" \t", colon + 1);
    if (name == key) return from == std::string::npos ? "" : line.substr(from);
  }
  return std::nullopt;
}

inline std::set<std::string> cpu_flags() {
  std::istringstream words(cpuinfo("flags").value_or("") + " " + cpuinfo("features").value_or(""));
  std::set<std::string> flags;
  for (std::string word; words >> word;) flags.insert(word);
  return flags;
}

// What 8-bit integers are multiplied with; as edgepose/device/cpu.py.
inline std::string instruction_set() {
  static constexpr const char* known[][2] = {
      {"avx512_vnni", "AVX512-VNNI"}, {"avx_vnni", "AVX-VNNI"}, {"avx512bw", "AVX512"},
      {"avx2", "AVX2"},               {"i8mm", "I8MM"},         {"asimddp", "DOTPROD"},
      {"asimd", "NEON"}};
  const std::set<std::string> flags = cpu_flags();
  for (const auto& [flag, name] : known) {
    if (flags.count(flag)) return name;
  }
  utsname system{};
  ::uname(&system);
  return system.machine;
}

inline bool saturating(const std::string& isa) { return isa == "AVX512" || isa == "AVX2"; }

inline std::optional<std::string> android_property(const char* name) {
#ifdef __ANDROID__
  char value[PROP_VALUE_MAX] = "";
  if (__system_property_get(name, value) > 0) return std::string(value);
#else
  (void)name;
#endif
  return std::nullopt;
}

inline std::string os_name() {
  if (const auto release = android_property("ro.build.version.release")) {
    return "Android " + *release + " (" + android_property("ro.build.id").value_or("unknown build") + ")";
  }
  std::ifstream stream("/etc/os-release");
  for (std::string line; std::getline(stream, line);) {
    if (line.rfind("PRETTY_NAME=", 0) == 0) {
      line.erase(0, 12);
      line.erase(std::remove(line.begin(), line.end(), '"'), line.end());
      return line;
    }
  }
  utsname system{};
  ::uname(&system);
  return std::string(system.sysname) + " " + system.release;
}

// What may move while measuring: clocks, temperatures, cooling, load. throttled, gpu_hz: -1: unknown.
struct Clocks {
  std::map<std::string, double> temperature_c, cooling;
  std::vector<double> cpu_mhz, load_average;
  double gpu_hz = -1, throttled = -1;

  Json json() const {
    return Json{{"temperature_c", Fields(temperature_c.begin(), temperature_c.end())},
                {"cpu_mhz", cpu_mhz},
                {"gpu_hz", gpu_hz < 0 ? Json(nullptr) : Json(gpu_hz)},
                {"cooling", Fields(cooling.begin(), cooling.end())},
                {"throttle_count", throttled < 0 ? Json(nullptr) : Json(throttled)},
                {"load_average", load_average}};
  }
};

inline Clocks read_clocks() {
  Clocks clocks;
  for (const std::string& zone : entries("/sys/class/thermal", "thermal_zone")) {
    const auto value = read_number(zone + "/temp");
    if (value && *value > 0 && *value < 150000) {
      clocks.temperature_c[read_text(zone + "/type").value_or(zone)] = *value / 1000;
    }
  }
  for (const std::string& device : entries("/sys/class/thermal", "cooling_device")) {
    const std::string kind = read_text(device + "/type").value_or(device);
    std::string lower = kind;
    std::transform(lower.begin(), lower.end(), lower.begin(), ::tolower);
    const auto state = read_number(device + "/cur_state");
    const bool counts = lower.find("fan") == std::string::npos && lower.find("idle") == std::string::npos;
    if (state && *state > 0 && counts) clocks.cooling[kind] = *state;
  }
  for (const std::string& cpu : entries("/sys/devices/system/cpu", "cpu")) {
    if (const auto khz = read_number(cpu + "/cpufreq/scaling_cur_freq")) {
      clocks.cpu_mhz.push_back(*khz / 1000);
    }
    if (const auto count = read_number(cpu + "/thermal_throttle/core_throttle_count")) {
      clocks.throttled = std::max(clocks.throttled, 0.0) + *count;
    }
  }
  clocks.gpu_hz = read_number("/sys/class/kgsl/kgsl-3d0/gpuclk").value_or(-1);
  if (const auto text = read_text("/proc/loadavg")) {
    std::istringstream words(*text);
    double a, b, c;
    if (words >> a >> b >> c) clocks.load_average = {a, b, c};
  }
  return clocks;
}

// The fields, and into `notes` what a reader must know before trusting a latency of this board.
inline Fields read_board(std::vector<std::string>& notes) {
  utsname system{};
  ::uname(&system);
  cpu_set_t set;
  CPU_ZERO(&set);
  const int cores = static_cast<int>(::sysconf(_SC_NPROCESSORS_CONF));
  const int usable = ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : cores;
  std::optional<std::string> board = read_text("/proc/device-tree/model");
  if (const auto model = android_property("ro.product.model")) {
    board = android_property("ro.product.manufacturer").value_or("") + " " + *model;
  }
  auto cpu = android_property("ro.soc.model");
  for (const char* key : {"model name", "hardware", "model"}) {
    if (!cpu) cpu = cpuinfo(key);
  }
  std::optional<long long> memory;
  std::ifstream meminfo("/proc/meminfo");
  for (std::string line; std::getline(meminfo, line);) {
    if (line.rfind("MemTotal:", 0) == 0) memory = std::atoll(line.c_str() + 9) * 1024;
  }
  std::set<std::string> governors;
  for (const std::string& core : entries("/sys/devices/system/cpu", "cpu")) {
    if (const auto governor = read_text(core + "/cpufreq/scaling_governor")) governors.insert(*governor);
  }
  const std::set<std::string> flags = cpu_flags();
  const std::string isa = instruction_set(), what = board ? *board : cpu.value_or("unknown CPU");
  const Fields not_asked{{"output", nullptr}, {"failed", "not asked by the native runner"}};
  Fields jetson = not_asked;
  jetson["parsed"] = Fields{};
  const Clocks clocks = read_clocks();
  const bool machine = flags.count("hypervisor") > 0;
  for (const std::string& governor : governors) {
    if (governor == "powersave" || governor == "conservative" || governor == "ondemand" ||
        governor == "schedutil") {
      notes.push_back("CPU governor is " + governor + ": the clock may vary while measuring");
      break;
    }
  }
  if (!clocks.load_average.empty() && clocks.load_average[0] > 0.5 * usable) {
    char text[160];
    std::snprintf(text, sizeof text, "the board was busy: load average %.1f on %d cores; treat the latency "
                  "as an upper bound", clocks.load_average[0], usable);
    notes.push_back(text);
  }
  if (machine) notes.push_back("virtual machine: neighbours on the same hardware can slow it unseen");
  return Fields{
      {"name", what + ", " + std::to_string(usable) + " core" + (usable == 1 ? "" : "s") + ", " + isa},
      {"board", or_null(board)},
      {"hostname", system.nodename},
      {"cpu_model", cpu ? *cpu : what},
      {"machine", system.machine},
      {"isa", isa},
      {"cores", cores},
      {"usable_cores", usable},
      {"memory_bytes", or_null(memory)},
      {"os", os_name()},
      {"kernel", system.release},
      {"virtual_machine", flags.count("fpu") ? Json(machine) : Json(nullptr)},
      {"python", "none (native runner)"},
      {"l4t", nullptr},
      {"jetpack", nullptr},
      {"governors", std::vector<std::string>(governors.begin(), governors.end())},
      {"power_mode", nullptr},
      {"nvpmodel", not_asked},
      {"jetson_clocks", jetson},
      {"clocks", clocks.json()}};
}

}  // namespace edgepose
