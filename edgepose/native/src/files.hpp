// Files: read whole, written so that nothing half-written looks finished, named by their SHA-256.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "refused.hpp"

namespace edgepose {

[[noreturn]] inline void disk_error(const std::string& path, int error) {
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) {
    throw Refused("no space on the board: cannot write " + path + ": " + std::strerror(error),
                  "free some space there, or choose another folder with --device-folder");
  }
  throw Refused("the board cannot use " + path + ": " + std::strerror(error),
                "choose a folder that you may write in with --device-folder");
}

// A file descriptor that closes itself.
class Handle {
 public:
  Handle(const std::string& path, int flags, mode_t mode = 0644)
      : path_(path), fd_(::open(path.c_str(), flags | O_CLOEXEC, mode)) {
    if (fd_ < 0) disk_error(path, errno);
  }
  Handle(int fd, std::string name) : path_(std::move(name)), fd_(fd) {}  // one that is open
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;
  ~Handle() { if (fd_ >= 0) ::close(fd_); }
  int fd() const { return fd_; }

  void write(const void* data, std::size_t size) const {
    const char* at = static_cast<const char*>(data);
    while (size > 0) {
      const ssize_t count = ::write(fd_, at, size);
      if (count < 0 && errno == EINTR) continue;
      if (count < 0) disk_error(path_, errno);
      at += count, size -= static_cast<std::size_t>(count);
    }
  }
  // Up to `size` bytes; 0 at the end.
  std::size_t read(void* data, std::size_t size) const {
    for (;;) {
      const ssize_t count = ::read(fd_, data, size);
      if (count >= 0) return static_cast<std::size_t>(count);
      if (errno != EINTR) disk_error(path_, errno);
    }
  }
  void sync() const { if (::fsync(fd_) != 0) disk_error(path_, errno); }

 private:
  std::string path_;
  int fd_;
};

inline std::string read_file(const std::string& path) {
  const Handle file(path, O_RDONLY);
  std::string data;
  std::vector<char> block(1 << 18);
  while (const std::size_t count = file.read(block.data(), block.size())) data.append(block.data(), count);
  return data;
}

inline bool exists(const std::string& path) { return ::access(path.c_str(), F_OK) == 0; }

inline std::int64_t size_of(const std::string& path) {
  struct stat found {};
  return ::stat(path.c_str(), &found) == 0 ? static_cast<std::int64_t>(found.st_size) : 0;
}

inline void make_folders(const std::string& path) {
  for (std::size_t at = path.find('/', 1);; at = path.find('/', at + 1)) {
    const std::string part = path.substr(0, at);
    if (::mkdir(part.c_str(), 0755) != 0 && errno != EEXIST && at == std::string::npos) {
      disk_error(part, errno);
    }
    if (at == std::string::npos) return;
  }
}

// To a temporary name beside `path`, forced to the disk unless `quick`, renamed.
inline void write_atomic(const std::string& path, const std::string& data, bool quick = false) {
  const std::string temporary = path + ".new";
  try {
    const Handle file(temporary, O_WRONLY | O_CREAT | O_TRUNC);
    file.write(data.data(), data.size());
    if (!quick) file.sync();
  } catch (const Refused&) {
    ::unlink(temporary.c_str());
    throw;
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) disk_error(path, errno);
}

// FIPS 180-4.
class Sha256 {
 public:
  void add(const void* data, std::size_t size) {
    const auto* at = static_cast<const std::uint8_t*>(data);
    total_ += size;
    while (size > 0) {
      const std::size_t take = std::min(size, block_.size() - filled_);
      std::memcpy(block_.data() + filled_, at, take);
      at += take, size -= take, filled_ += take;
      if (filled_ == block_.size()) turn();
    }
  }
  std::string hex() {
    const std::uint64_t bits = total_ * 8;
    const std::uint8_t one = 0x80, zero = 0;
    add(&one, 1);
    while (filled_ != 56) add(&zero, 1);
    for (int i = 7; i >= 0; --i) block_[filled_++] = static_cast<std::uint8_t>(bits >> (8 * i));
    turn();
    std::string text;
    char part[9];
    for (const std::uint32_t word : state_) {
      std::snprintf(part, sizeof part, "%08x", word);
      text += part;
    }
    return text;
  }

 private:
  static std::uint32_t right(std::uint32_t v, int n) { return (v >> n) | (v << (32 - n)); }
  void turn() {
    static constexpr std::uint32_t k[64] = {
        0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
        0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
        0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
        0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
        0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
        0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
        0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
        0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};
    std::uint32_t w[64];
    for (int i = 0; i < 16; ++i) {
      w[i] = std::uint32_t(block_[4 * i]) << 24 | std::uint32_t(block_[4 * i + 1]) << 16 |
             std::uint32_t(block_[4 * i + 2]) << 8 | block_[4 * i + 3];
    }
    for (int i = 16; i < 64; ++i) {
      const std::uint32_t a = w[i - 15], b = w[i - 2];
      w[i] = w[i - 16] + (right(a, 7) ^ right(a, 18) ^ a >> 3) + w[i - 7] +
             (right(b, 17) ^ right(b, 19) ^ b >> 10);
    }
    std::array<std::uint32_t, 8> s = state_;
    for (int i = 0; i < 64; ++i) {
      const std::uint32_t choose = (s[4] & s[5]) ^ (~s[4] & s[6]);
      const std::uint32_t major = (s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]);
      const std::uint32_t one = s[7] + (right(s[4], 6) ^ right(s[4], 11) ^ right(s[4], 25)) + choose + k[i] + w[i];
      const std::uint32_t two = (right(s[0], 2) ^ right(s[0], 13) ^ right(s[0], 22)) + major;
      s = {one + two, s[0], s[1], s[2], s[3] + one, s[4], s[5], s[6]};
    }
    for (int i = 0; i < 8; ++i) state_[i] += s[i];
    filled_ = 0;
  }
  std::array<std::uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::uint8_t, 64> block_{};
  std::size_t filled_ = 0;
  std::uint64_t total_ = 0;
};

inline std::string sha256_file(const std::string& path) {
  const Handle file(path, O_RDONLY);
  Sha256 sum;
  std::vector<char> block(1 << 18);
  while (const std::size_t count = file.read(block.data(), block.size())) sum.add(block.data(), count);
  return sum.hex();
}

}  // namespace edgepose
