// Arrays in and out: several .npy one after another (what numpy.save writes to one open file) are read,
// an .npz is written.
#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "refused.hpp"

namespace edgepose {

// Bytes in C order; descr: numpy's word for the type, "<f4", "<f8", "|u1", ...
struct Array {
  std::string descr;
  std::vector<std::int64_t> shape;
  const char* data = nullptr;
  std::size_t bytes = 0;
};

inline std::string npy_header(const std::string& descr, const std::vector<std::int64_t>& shape) {
  std::string text = "{'descr': '" + descr + "', 'fortran_order': False, 'shape': (";
  for (const std::int64_t side : shape) text += std::to_string(side) + ", ";
  text += "), }";
  while ((10 + text.size() + 1) % 64 != 0) text += ' ';
  text += '\n';
  std::string head("\x93NUMPY\x01\x00", 8);
  head += static_cast<char>(text.size() & 0xff);
  head += static_cast<char>(text.size() >> 8);
  return head + text;
}

// The arrays of a file, pointing into `file`.
inline std::vector<Array> read_arrays(const std::string& file) {
  const Refused broken("the evaluation pack is cut off or of another version",
                       "run the benchmark again, with the runner of this edgepose");
  std::vector<Array> arrays;
  std::size_t at = 0;
  while (at < file.size()) {
    if (file.size() - at < 10 || file.compare(at, 8, std::string("\x93NUMPY\x01\x00", 8)) != 0) throw broken;
    const std::size_t length = static_cast<std::uint8_t>(file[at + 8]) |
                               static_cast<std::size_t>(static_cast<std::uint8_t>(file[at + 9])) << 8;
    if (file.size() - at - 10 < length) throw broken;
    const std::string text = file.substr(at + 10, length);
    at += 10 + length;
    Array array;
    const std::size_t descr = text.find("'descr': '"), shape = text.find("'shape': (");
    if (descr == std::string::npos || shape == std::string::npos ||
        text.find("'fortran_order': False") == std::string::npos) {
      throw broken;
    }
    array.descr = text.substr(descr + 10, text.find('\'', descr + 10) - descr - 10);
    if (array.descr.size() != 3 || array.descr[2] < '1' || array.descr[2] > '8') throw broken;
    array.bytes = static_cast<std::size_t>(array.descr[2] - '0');
    std::size_t p = shape + 10;
    while (p < text.size() && text[p] != ')') {
      if (text[p] < '0' || text[p] > '9') {
        ++p;
        continue;
      }
      std::int64_t side = 0;
      for (; p < text.size() && text[p] >= '0' && text[p] <= '9'; ++p) {
        side = side * 10 + (text[p] - '0');
        if (side > (std::int64_t(1) << 40)) throw broken;
      }
      array.shape.push_back(side);
      if (side != 0 && array.bytes > (std::size_t(1) << 48) / static_cast<std::size_t>(side)) throw broken;
      array.bytes *= static_cast<std::size_t>(side);
    }
    if (file.size() - at < array.bytes) throw broken;
    array.data = file.data() + at;
    at += array.bytes;
    arrays.push_back(array);
  }
  return arrays;
}

inline std::uint32_t crc32(const std::string& data) {
  std::uint32_t crc = 0xffffffff;
  for (const char byte : data) {
    crc ^= static_cast<std::uint8_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (0xedb88320 & (0 - (crc & 1)));
  }
  return ~crc;
}

// An .npz (a zip whose members are stored as they are) of named .npy files below 4 GiB.
inline std::string npz(const std::vector<std::pair<std::string, std::string>>& members) {
  std::string out, directory;
  const auto little = [](std::uint64_t value, int bytes) {
    std::string text;
    for (; bytes > 0; --bytes, value >>= 8) text += static_cast<char>(value & 0xff);
    return text;
  };
  for (const auto& [key, data] : members) {
    const std::string name = key + ".npy";
    // Version needed, flags, method, time, date (1980-01-01), CRC, both sizes, both name lengths.
    const std::string common = little(20, 2) + little(0, 2) + little(0, 2) + little(0, 2) + little(33, 2) +
                               little(crc32(data), 4) + little(data.size(), 4) + little(data.size(), 4) +
                               little(name.size(), 2) + little(0, 2);
    directory += "PK\x01\x02" + little(20, 2) + common + little(0, 10) + little(out.size(), 4) + name;
    out += "PK\x03\x04" + common + name + data;
  }
  const std::size_t start = out.size();
  return out + directory + "PK\x05\x06" + little(0, 4) + little(members.size(), 2) +
         little(members.size(), 2) + little(directory.size(), 4) + little(start, 4) + little(0, 2);
}

}  // namespace edgepose
