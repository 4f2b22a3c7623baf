// Takes files in and gives files out: edgepose/device/receive.py. What comes in is named by its SHA-256
// and lands in <root>/files; it grows as <hash>.part, so a dropped connection continues.
#pragma once

#include <sys/file.h>
#include <sys/statvfs.h>

#include <climits>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "files.hpp"
#include "json.hpp"

namespace edgepose {

// One line of JSON on standard output, after a mark: a shell may have printed too.
inline void answer(const Json& document) {
  std::printf("\n@edgepose %s\n", document.text().c_str());
  std::fflush(stdout);
}

inline void hello(const std::string& root, const std::vector<std::string>& names) {
  make_folders(root + "/files");
  Fields have;
  for (const std::string& name : names) {
    const std::string path = root + "/files/" + name;
    const bool whole = exists(path);
    have[name] = std::vector<Json>{size_of(whole ? path : path + ".part"), whole};
  }
  struct statvfs disk {};
  if (::statvfs(root.c_str(), &disk) != 0) disk_error(root, errno);
  const auto free_bytes = static_cast<unsigned long long>(disk.f_bavail) * disk.f_frsize;
  char real[PATH_MAX];
  answer(Json{{"root", ::realpath(root.c_str(), real) ? real : root.c_str()},
              {"python", nullptr},
              {"free_bytes", free_bytes},
              {"have", have}});
}

// Append `from` (a file, which then goes, or standard input) to <name>.part at `offset`; it gets its
// name once it is whole.
inline void put(const std::string& root, const std::string& name, std::int64_t size,
                std::int64_t offset, const std::string& from) {
  const std::string path = root + "/files/" + name, part = path + ".part";
  const auto said = [](std::int64_t reached, bool complete) {
    answer(Json{{"size", reached}, {"complete", complete}});
  };
  if (exists(path)) return said(size, true);
  const Handle stream(part, O_RDWR | O_CREAT);
  ::flock(stream.fd(), LOCK_EX);  // what a dropped connection left behind may still write
  std::int64_t reached = ::lseek(stream.fd(), 0, SEEK_END);
  if (reached == offset) {
    const Handle source = from.empty() ? Handle(STDIN_FILENO, "standard input") : Handle(from, O_RDONLY);
    std::vector<char> block(1 << 18);
    while (const std::size_t count = source.read(block.data(), block.size())) {
      stream.write(block.data(), count);
      reached += static_cast<std::int64_t>(count);
    }
  }
  if (!from.empty()) ::unlink(from.c_str());
  if (reached < size) return said(reached, false);
  stream.sync();
  if (reached != size || sha256_file(part) != name) {
    if (::ftruncate(stream.fd(), 0) != 0) disk_error(part, errno);
    return said(0, false);  // start over
  }
  if (::rename(part.c_str(), path.c_str()) != 0 && !exists(path)) disk_error(path, errno);
  said(size, true);
}

// The bytes of a file from `offset` on, after a line that says its size.
inline void get(const std::string& root, const std::string& name, std::int64_t offset) {
  const std::string path = root + "/" + name;
  const Handle stream(path, O_RDONLY);
  answer(Json{{"size", size_of(path)}});
  ::lseek(stream.fd(), offset, SEEK_SET);
  std::vector<char> block(1 << 18);
  while (const std::size_t count = stream.read(block.data(), block.size())) {
    std::fwrite(block.data(), 1, count, stdout);
  }
  std::fflush(stdout);
}

}  // namespace edgepose
