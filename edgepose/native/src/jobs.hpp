// Jobs that a host starts, asks after and collects: edgepose/device/runner.py. A job runs in a process
// of its own, so the connection is only needed to ask; one benchmark runs on a board at a time.
#pragma once

#include <signal.h>
#include <sys/file.h>
#include <sys/wait.h>

#include <ctime>
#include <filesystem>
#include <memory>
#include <new>
#include <string>
#include <thread>

#include "files.hpp"
#include "json.hpp"
#include "work.hpp"

namespace edgepose {

inline std::string default_lock() {
#ifdef __ANDROID__
  return "/data/local/tmp/edgepose-device.lock";
#else
  const char* folder = std::getenv("TMPDIR");
  return std::string(folder && *folder ? folder : "/tmp") + "/edgepose-device.lock";
#endif
}

// The descriptor of a lock that is held until every process that has it is gone; -1 where it is taken.
inline int try_lock(const std::string& path) {
  int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW, 0666);
  if (fd < 0 && errno == EACCES) fd = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW);  // another user's
  if (fd < 0) disk_error(path, errno);
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
  ::close(fd);
  return -1;
}

inline int take_lock(const std::string& path, const std::string& who) {
  const int fd = try_lock(path);
  if (fd < 0) {
    const auto owner = read_text(path);
    throw Refused("another benchmark runs on the board" + (owner ? ": " + owner->substr(0, 200) : ""),
                  "wait until it has ended; two at once would slow each other");
  }
  // Where it is not ours to write, the lock holds all the same.
  if (::ftruncate(fd, 0) == 0 && ::pwrite(fd, who.data(), who.size(), 0) < 0) return fd;
  return fd;
}

// state.txt: a line each; problem and fix only of a job that failed.
struct State {
  std::string status = "unknown", phase, done = "0", total = "1", problem, fix;

  static State read(const std::string& folder) {
    State state;
    if (!exists(folder + "/state.txt")) return state;
    std::istringstream lines(read_file(folder + "/state.txt"));
    for (std::string* field : {&state.status, &state.phase, &state.done, &state.total, &state.problem, &state.fix}) {
      std::getline(lines, *field);
    }
    return state;
  }
  // Atomic, but not forced to the disk: it is written while times are taken.
  void write(const std::string& folder) const {
    std::string text;
    for (std::string field : {status, phase, done, total, problem, fix}) {
      std::replace(field.begin(), field.end(), '\n', ' ');
      text += field + "\n";
    }
    write_atomic(folder + "/state.txt", text, true);
  }
  Fields json() const {
    Fields fields{{"status", status}};
    if (status == "running") {
      fields["phase"] = phase, fields["done"] = std::atoll(done.c_str()), fields["total"] = std::atoll(total.c_str());
    }
    if (status == "failed") fields["error"] = Json{{"problem", problem}, {"fix", fix}};
    return fields;
  }
};

inline std::string job_folder(const std::string& root, const std::string& identity) {
  const bool safe = !identity.empty() && identity.size() <= 64 &&
                    std::all_of(identity.begin(), identity.end(),
                                [](unsigned char c) { return std::isalnum(c) || c == '-'; });
  if (!safe) throw Refused("'" + identity + "' is no job", "use the id that start was given");
  return root + "/jobs/" + identity;
}

// The job itself; the end is written whatever happens.
inline void do_work(const std::string& job, const std::string& folder, const std::string& library) {
  State end;
  end.status = "finished";
  const auto fail = [&](const std::string& problem, const std::string& fix) {
    end.status = "failed", end.problem = problem, end.fix = fix;
  };
  std::int64_t last_ns = 0;
  std::string last_phase;
  try {
    Work(job, folder, library, [&](const std::string& phase, std::int64_t done, std::int64_t total) {
      const std::int64_t now = now_ns();
      if (phase == last_phase && now - last_ns < 1000000000) return;
      last_ns = now, last_phase = phase;
      State state;
      state.status = "running", state.phase = phase;
      state.done = std::to_string(done), state.total = std::to_string(total);
      state.write(folder);
    }).run();
  } catch (const Refused& error) {
    fail(error.what(), error.fix);
  } catch (const std::bad_alloc&) {
    fail("the board has not enough memory", "close other programs there");
  } catch (const std::exception& error) {
    fail(std::string("the runner broke: ") + error.what(), "report it with " + folder + "/log.txt of the board");
  }
  end.write(folder);
}

inline Json status(const std::string& root, const std::string& identity, double wait_s, const std::string& seen);

// Begin a job in a process of its own; asking twice for one id begins it once.
inline Json start(const std::string& root, const std::string& identity, const std::string& job,
                  const std::string& lock, const std::string& library) {
  const std::string folder = job_folder(root, identity);
  if (exists(folder + "/state.txt")) return status(root, identity, 0, "");
  make_folders(folder);
  const int alive = try_lock(folder + "/alive");
  if (alive < 0) return Json{{"status", "starting"}};  // an earlier, cut off call is about to
  char when[32];
  const std::time_t now = std::time(nullptr);
  std::strftime(when, sizeof when, "%F %T", std::localtime(&now));
  const int board = take_lock(lock, "job " + identity + " since " + when);
  State state;
  state.status = "running", state.phase = "start";
  state.write(folder);
  const Handle nothing("/dev/null", O_RDONLY);
  const Handle log(folder + "/log.txt", O_WRONLY | O_CREAT | O_TRUNC);
  const pid_t child = ::fork();
  if (child < 0) {
    throw Refused(std::string("the board cannot start a process: ") + std::strerror(errno),
                  "close other programs there");
  }
  if (child == 0) {
    // A session and streams of its own: the connection, which else stays open as long as we do, ends.
    ::setsid();
    ::signal(SIGHUP, SIG_IGN);
    ::dup2(nothing.fd(), 0), ::dup2(log.fd(), 1), ::dup2(log.fd(), 2);
    do_work(root + "/files/" + job, folder, library);
    ::_exit(0);
  }
  ::close(alive), ::close(board);  // the child holds them
  return Json{{"status", "running"}};
}

// The state; waits until its phase is another than `seen`, or the time is over. It sleeps meanwhile:
// asking all the time would slow what is measured.
inline Json status(const std::string& root, const std::string& identity, double wait_s, const std::string& seen) {
  const std::string folder = job_folder(root, identity);
  const std::int64_t until = now_ns() + static_cast<std::int64_t>(wait_s * 1e9);
  State state;
  for (;;) {
    bool alive = false;
    if (exists(folder + "/alive")) {  // before the state: an end is written before the process ends
      const int fd = try_lock(folder + "/alive");
      alive = fd < 0;
      if (fd >= 0) ::close(fd);
    }
    state = State::read(folder);
    if (state.status == "running" && !alive) state.status = "died";
    if (state.status != "running" || now_ns() >= until) break;
    if (!seen.empty() && state.phase != seen) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(250));
  }
  Fields found = state.json();
  if (state.status == "finished" || state.status == "failed" || state.status == "died") {
    Fields results;
    for (const char* name : {"result.json", "joints.npz", "model.f64", "end_to_end.f64", "log.txt"}) {
      const std::string path = folder + "/" + name;
      if (exists(path)) results[name] = Json{{"size", size_of(path)}, {"sha256", sha256_file(path)}};
    }
    found["results"] = results;
  }
  return found;
}

// Ask a job to end; it does so between two calls.
inline Json stop(const std::string& root, const std::string& identity) {
  const std::string folder = job_folder(root, identity);
  if (!exists(folder)) return Json{{"status", "unknown"}};
  write_atomic(folder + "/stop", "");
  return Json{{"status", "stopping"}};
}

// Remove what a host has put here, this program included; the folder too if it is then empty.
inline Json clean(const std::string& root, const std::string& lock) {
  const int held = take_lock(lock, "cleaning");
  std::error_code failed;
  for (const char* name : {"/files", "/jobs", "/engines"}) std::filesystem::remove_all(root + name, failed);
  ::rmdir(root.c_str());
  ::close(held);
  std::vector<std::string> left;
  for (const std::string& path : entries(root, "")) left.push_back(path.substr(root.size() + 1));
  return Json{{"cleaned", root}, {"left", left}};
}

}  // namespace edgepose
