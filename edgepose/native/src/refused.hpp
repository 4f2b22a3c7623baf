// The error that a user is meant to read: what is wrong, and what to do about it.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>

namespace edgepose {

struct Refused : std::runtime_error {
  Refused(const std::string& problem, std::string fix)
      : std::runtime_error(problem), fix(std::move(fix)) {}
  std::string fix;
};

}  // namespace edgepose
